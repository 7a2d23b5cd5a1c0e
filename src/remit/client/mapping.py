"""What is wrong with a mapping, judged by the policies and the catalogue it is used with.

- A name that leads nowhere would deny every call; here it is found before one is made.
- What the mapping leaves ungoverned is told, so that it is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from remit.catalogue import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

    from remit.catalogue import Catalogue
    from remit.mapping import Handover, Mapping, Rule
    from remit.policy import PolicyEngine


def findings(mapping: Mapping, *, catalogue: Catalogue, policy: PolicyEngine) -> list[str]:
    """Return what is wrong, one line each."""
    found: list[str] = []
    for where, rule in _rules(mapping):
        if policy.expand([rule.action]) != {rule.action}:
            found.append(f"{where}: there is no action {rule.action!r}")
        if "{" not in rule.resource:
            found += _unknown(where, "resource", rule.resource, catalogue.resources)
        if rule.credential is not None:
            found += _unknown(where, "credential", rule.credential, catalogue.credentials)
    for name, one in mapping.models.items():
        if one.resource not in catalogue.models:
            found.append(f"models.{name}: {one.resource!r} is no model of the catalogue")
    for where, handed in _handovers(mapping):
        if handed.agent is not None:
            found += _unknown(where, "agent", handed.agent, catalogue.agents)
        for space in handed.spaces:
            found += _unknown(where, "space", space, catalogue.spaces)
        for action in handed.actions:
            if not policy.expand([action]):
                found.append(f"{where}: there is no action {action!r}")
    return found


def _rules(mapping: Mapping) -> Iterator[tuple[str, Rule]]:
    for name, model in mapping.models.items():
        yield f"models.{name}", model.rule
    for name, tool in mapping.tools.items():
        yield f"tools.{name}", tool
    for server, one in mapping.servers.items():
        for name, rule in (*one.tools.items(), *one.other.items()):
            yield f"servers.{server}.{name}", rule


def _handovers(mapping: Mapping) -> Iterator[tuple[str, Handover]]:
    for name, handed in mapping.agents.items():
        yield f"agents.{name}", handed
    for name, handed in mapping.children.items():
        yield f"children.{name}", handed


def _unknown(where: str, kind: str, name: str, known: Collection[str]) -> list[str]:
    if name in known:
        return []
    near = nearest(name, known)
    return [f"{where}: there is no {kind} {name!r}" + (f" (did you mean {near!r}?)" if near else "")]
