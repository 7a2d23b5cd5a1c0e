"""Schema: the actions, their groups and the inputs policies may read.

- Cedar parses the schema; the hierarchy is read from the action entities it derives, never from the text.
- Context shapes are read from Cedar's own rendering of the schema, which has one fixed form.
- A tool is an action under ``tool`` that agents and people can be asked about; ``tool`` itself is no name to delegate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cedarpy

from remit.delegation import ActionGroups

TOOL = "tool"
LIFE = ("submit", "delegate", "resume", "revoke", "approve")
_CONTEXT = ("delegation", "run", "approvals", "input")
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*|[^\s]')


@dataclass(frozen=True, slots=True)
class ToolAction:
    """One action a tool can declare.

    Args:
        name: Its Cedar id.
        resources: Entity types it applies to.
        inputs: The arguments policies may read, in ``context.input``.
    """

    name: str
    resources: frozenset[str]
    inputs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Actions:
    """What the schema says about actions.

    Args:
        tools: Every tool action by name.
        groups: Action or group name → everything it stands under, itself included; without ``tool``.
        above: The same for every action of the schema, ``tool`` included.
        faults: What is wrong with the schema, for the lint.
    """

    tools: Mapping[str, ToolAction]
    groups: ActionGroups
    above: ActionGroups
    faults: tuple[str, ...]

    def expand(self, names: Iterable[str]) -> frozenset[str]:
        """Return the tool actions these names cover; an unknown name covers nothing."""
        wanted = frozenset(names)
        return frozenset(action for action in self.tools if self.groups[action] & wanted)


def read_actions(schema: cedarpy.Schema) -> Actions:
    """Read the actions of a parsed schema."""
    above: dict[str, frozenset[str]] = {}
    for entity in json.loads(str(cedarpy.Entities.from_json_str("[]", schema))):
        if entity["uid"]["type"] == "Action":
            name = entity["uid"]["id"]
            above[name] = frozenset({name, *(parent["id"] for parent in entity["parents"])})
    applies = _Rendering(str(schema)).actions()
    tools: dict[str, ToolAction] = {}
    faults = [f"there is no action {name!r}" for name in (TOOL, *LIFE) if name not in above]
    for name, (principals, resources, context) in sorted(applies.items()):
        if TOOL not in above.get(name, ()) or name == TOOL:
            continue
        missing = [member for member in _CONTEXT if member not in context]
        if missing or not {"Agent", "User"} <= principals:
            faults.append(f"action {name!r} must apply to Agent and User, with {', '.join(_CONTEXT)} in its context")
            continue
        tools[name] = ToolAction(name, resources, frozenset(context["input"]))
    groups = {name: up - {TOOL} for name, up in above.items() if TOOL in up and name != TOOL}
    return Actions(MappingProxyType(tools), MappingProxyType(groups), MappingProxyType(above), tuple(faults))


_Shape = dict[str, dict[str, object]]


class _Rendering:
    """Cedar's rendering of a schema, read for ``appliesTo`` and the members of contexts."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(text)
        self._types: dict[str, dict[str, object]] = {}
        self._at = 0

    def actions(self) -> dict[str, tuple[frozenset[str], frozenset[str], _Shape]]:
        """Return principals, resources and context (member → its members) of each action that applies to anything."""
        found: dict[str, tuple[list[str], list[str], object]] = {}
        while self._at < len(self._tokens):
            word = self._next()
            if word == "type":
                name = self._next()
                self._expect("=")
                shape = self._type()
                if isinstance(shape, dict):
                    self._types[name] = shape
            elif word == "action":
                name = json.loads(self._next())
                while (word := self._next()) not in (";", "appliesTo"):
                    pass
                if word == "appliesTo":
                    found[name] = self._applies()
        return {
            name: (frozenset(principals), frozenset(resources), self._members(context))
            for name, (principals, resources, context) in found.items()
        }

    def _applies(self) -> tuple[list[str], list[str], object]:
        parts: dict[str, object] = {}
        self._expect("{")
        while (word := self._next()) != "}":
            if word == ",":
                continue
            self._expect(":")
            parts[word] = self._list() if word in ("principal", "resource") else self._type()
        principals, resources = parts.get("principal"), parts.get("resource")
        return (
            principals if isinstance(principals, list) else [],
            resources if isinstance(resources, list) else [],
            parts.get("context", {}),
        )

    def _list(self) -> list[str]:
        if self._peek() != "[":
            return [self._next()]
        self._next()
        names = []
        while (word := self._next()) != "]":
            if word != ",":
                names.append(word)
        return names

    def _type(self) -> object:
        """Read one type: a record as a dict of its members, anything else as its name."""
        word = self._next()
        if word == "{":
            record: dict[str, object] = {}
            while (member := self._next()) != "}":
                if member == ",":
                    continue
                name = json.loads(member) if member.startswith('"') else member
                if self._peek() == "?":
                    self._next()
                self._expect(":")
                record[name] = self._type()
            return record
        if self._peek() == "<":
            self._next()
            self._type()
            self._expect(">")
        return word

    def _members(self, context: object) -> _Shape:
        record = self._resolve(context)
        return {name: self._resolve(value) for name, value in record.items()}

    def _resolve(self, shape: object) -> dict[str, object]:
        seen: set[str] = set()
        while isinstance(shape, str) and shape in self._types and shape not in seen:
            seen.add(shape)
            shape = self._types[shape]
        return shape if isinstance(shape, dict) else {}

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _expect(self, word: str) -> None:
        if self._next() != word:
            raise ValueError(f"the schema's rendering is not understood near {self._tokens[self._at - 1]!r}")
