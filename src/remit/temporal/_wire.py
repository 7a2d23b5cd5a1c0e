"""The wire: values as the JSON that Temporal carries, whatever objects a framework makes of them.

- What is decided and digested is what stands on the wire, so that it does not depend on a framework's classes.
- What is not JSON there cannot be shown to an approver, and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.converter import PayloadConverter

from remit.errors import Refused

_JSON = frozenset({b"json/plain", b"json/protobuf"})


def plain(values: Sequence[Any]) -> list[Any]:
    """Return values as JSON; only inside a workflow or an activity.

    Raises:
        Refused: ``tool.input`` for one that is no JSON there.
    """
    return [_json(payload.metadata.get("encoding"), payload.data) for payload in _converter().to_payloads(values)]


def whole(values: Sequence[Any]) -> None:
    """Refuse values of which the wire leaves something out: it would be done, and neither decided nor approved.

    Raises:
        Refused: ``tool.input`` for an object that is not equal to what its own JSON makes of it.
    """
    for value in values:
        if isinstance(value, Mapping):
            whole(list(value.values()))
        elif isinstance(value, list | tuple | set | frozenset):
            whole(list(value))
        elif isinstance(value, BaseModel) or is_dataclass(value):
            _same(value)


def typed(value: Any, hint: Any) -> Any:
    """Return JSON as the object that a result of this type is decoded to; only inside a workflow."""
    (payload,) = workflow.payload_converter().to_payloads([value])
    return workflow.payload_converter().from_payload(payload, hint)


def _same(value: Any) -> None:
    converter, name = _converter(), type(value).__name__
    try:
        again = converter.from_payload(converter.to_payloads([value])[0], type(value))
    except Exception:  # whatever a class does with what it wrote itself
        again = None
    if again != value:
        raise Refused(
            f"an argument cannot be shown whole: {name}",
            code="tool.input",
            next_action=f"Give {name} only fields that JSON carries, none hidden or left out of it.",
        )


def _json(encoding: bytes | None, data: bytes) -> Any:
    if encoding == b"binary/null":
        return None
    if encoding not in _JSON:
        raise Refused("the arguments are not JSON", code="tool.input", next_action="Pass what JSON carries.")
    return json.loads(data)


def _converter() -> PayloadConverter:
    return workflow.payload_converter() if workflow.in_workflow() else activity.payload_converter()
