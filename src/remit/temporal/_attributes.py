"""Search attributes of a task that starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.common import (
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeValues,
    TypedSearchAttributes,
)

from remit.temporal import _names as names


def with_attributes(
    given: TypedSearchAttributes | SearchAttributes | None,
    *,
    root: str,
    agent: str,
    delegations: Sequence[str],
) -> TypedSearchAttributes | SearchAttributes:
    """Return search attributes with those of a task that starts; empty ones are left for the workflow to set."""
    ours: list[SearchAttributePair[Any]] = [
        SearchAttributePair(names.STATE, "running"),
        SearchAttributePair(names.DELEGATIONS, list(delegations)),
    ]
    ours += [SearchAttributePair(names.ROOT, root)] if root else []
    ours += [SearchAttributePair(names.AGENT, agent)] if agent else []
    if isinstance(given, Mapping):
        values: dict[str, SearchAttributeValues] = {
            pair.key.name: pair.value if isinstance(pair.value, list) else [pair.value] for pair in ours
        }
        return {**given, **values}
    mine = {pair.key.name for pair in ours}
    kept = [pair for pair in given or () if pair.key.name not in mine]
    return TypedSearchAttributes([*kept, *ours])
