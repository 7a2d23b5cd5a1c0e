"""Offered: the tools an MCP server says it has, read for what policies can use.

- All of it is the server's word. What its annotations leave open, or contradict, is read as the strictest.
- An input is one that Cedar has a type for and policies can name; every other is named as left out, with the reason.
- A tool whose name cannot be read as it is written is left out too: it stays unmapped, and so refused.
- A list with the same name twice, or too long to be read by a person, is refused as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.errors import Usage
from remit.step import shown

MOST_TOOLS = 500
MOST_INPUTS = 100
LONGEST_NAME = 128
"""Characters of a tool's name, as MCP bounds them."""
LONGEST_LIST = 8 * 2**20
"""Bytes of a saved list."""

_INPUT = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$@-]{0,62}", re.ASCII)
_SCALARS = {"string": "String", "integer": "Long", "boolean": "Bool"}
_REFERENCES = 8
"""Most references followed for one input."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a server's annotations say of a tool; None where they say nothing."""

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None

    @property
    def reads(self) -> bool:
        """Whether it is said to change nothing, and nothing else is said against that."""
        return self.read_only is True and self.destructive is not True

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of its action."""
        return ("read" if self.reads else "write", *(() if self.open_world is False else ("egress",)))

    @property
    def once(self) -> bool:
        """Whether a call that was begun may do harm when it is begun again."""
        return not (self.reads or self.idempotent is True)


@dataclass(frozen=True, slots=True)
class Input:
    """One argument that policies can read.

    Args:
        name: The property. type: Its Cedar type. required: Whether the server wants it.
    """

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Offered:
    """One tool.

    Args:
        name: As the server says it.
        claims: What its annotations say.
        inputs: What policies can read.
        left_out: The other properties, escaped, each with the reason.
    """

    name: str
    claims: Claims
    inputs: tuple[Input, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of tools, in the order of their names.

    Args:
        tools: Those that can be mapped.
        left_out: The names of the others, escaped, each with the reason.
    """

    tools: tuple[Offered, ...]
    left_out: tuple[str, ...]


def load(text: bytes) -> list[Any]:
    """Return the tools of a saved answer to ``tools/list``: the array itself, or the object or JSON-RPC answer around.

    Raises:
        Usage: ``mcp.tools``.
    """
    if len(text) > LONGEST_LIST:
        raise _unusable(f"it is longer than {LONGEST_LIST // 2**20} MiB")
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _unusable("it is not JSON, or says something twice") from None
    if isinstance(found, dict) and isinstance(found.get("result"), dict):
        found = found["result"]
    if isinstance(found, dict):
        if found.get("nextCursor"):
            raise _unusable("it is only a part: it names a next page")
        found = found.get("tools")
    if not isinstance(found, list):
        raise _unusable('it has no array "tools"')
    return found


def read(tools: Sequence[Any]) -> Listing:
    """Read the tools a server offers, each as ``tools/list`` carries it.

    Raises:
        Usage: ``mcp.tools`` for a list that is none, is too long, or names a tool twice.
    """
    if len(tools) > MOST_TOOLS:
        raise _unusable(f"it has {len(tools)} tools; at most {MOST_TOOLS} are read")
    named: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        name = tool.get("name") if isinstance(tool, Mapping) else None
        if not isinstance(name, str):
            raise _unusable("it has an entry without a name")
        if name in named:
            raise _unusable(f"it has two tools {told(name)}: which one is called is not known")
        named[name] = tool
    read_, left_out = [], []
    for name in sorted(named):
        if why := _unmappable(name):
            left_out.append(f"{told(name)}: {why}")
        else:
            read_.append(_tool(name, named[name]))
    return Listing(tuple(read_), tuple(left_out))


def told(text: str) -> str:
    """Return a foreign text as it can stand in a comment: quoted, on one line, escaped, at most 80 characters of it."""
    return shown(text[:80]) + ("…" if len(text) > 80 else "")


def _unmappable(name: str) -> str:
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"its name has not between 1 and {LONGEST_NAME} characters"
    if not name.isprintable() or shown(name) != json.dumps(name, ensure_ascii=False):
        return "its name has characters that do not show as they are"
    return ""


def _tool(name: str, tool: Mapping[str, Any]) -> Offered:
    inputs, left_out = _inputs(tool.get("inputSchema"))
    return Offered(name, _claims(tool.get("annotations")), inputs, left_out)


def _claims(said: object) -> Claims:
    hints = said if isinstance(said, Mapping) else {}

    def hint(name: str) -> bool | None:
        value = hints.get(name)
        return value if isinstance(value, bool) else None

    return Claims(hint("readOnlyHint"), hint("destructiveHint"), hint("idempotentHint"), hint("openWorldHint"))


def _inputs(schema: object) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping) or not isinstance(properties, Mapping):
        return (), ()
    wanted = schema.get("required")
    required = {name for name in wanted if isinstance(name, str)} if isinstance(wanted, list) else set()
    inputs, left_out = [], []
    for name in sorted(properties)[:MOST_INPUTS]:
        kind, null = _type(properties[name], schema)
        if not _INPUT.fullmatch(name):
            left_out.append(f"{told(name)}: no name policies can read")
        elif kind is None:
            left_out.append(f"{told(name)}: no single Cedar type")
        else:
            inputs.append(Input(name, kind, name in required and not null))
    if len(properties) > MOST_INPUTS:
        left_out.append(f"{len(properties) - MOST_INPUTS} more: only the first {MOST_INPUTS} are read")
    return tuple(inputs), tuple(left_out)


def _type(schema: object, root: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return a property's Cedar type, None where it has none, and whether it may be null (which policies never see)."""
    schema = _followed(schema, root)
    if schema is None:
        return None, False
    for word in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(word), list):
            return _chosen([_followed(choice, root) for choice in choices], root)
    kind = schema.get("type")
    if isinstance(kind, list):
        rest = [one for one in kind if one != "null"]
        only = rest[0] if len(rest) == 1 else None
        return _of(only, schema, root), "null" in kind
    return _of(kind, schema, root), False


def _chosen(choices: list[Mapping[str, Any] | None], root: Mapping[str, Any]) -> tuple[str | None, bool]:
    rest = [choice for choice in choices if choice is None or choice.get("type") != "null"]
    if len(rest) != 1 or rest[0] is None:
        return None, False
    return _of(rest[0].get("type"), rest[0], root), len(rest) < len(choices)


def _of(kind: object, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str | None:
    if kind == "array":
        items = _followed(schema.get("items"), root)
        element = _SCALARS.get(str(items.get("type"))) if items is not None else None
        return f"Set<{element}>" if element else None
    if isinstance(kind, str):
        return _SCALARS.get(kind)
    listed = schema.get("enum")
    return "String" if kind is None and isinstance(listed, list) and listed and _texts(listed) else None


def _texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _followed(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a schema, or the definition of the same document it refers to."""
    for _ in range(_REFERENCES):
        if not isinstance(schema, Mapping):
            return None
        reference = schema.get("$ref")
        if reference is None:
            return schema
        place = re.fullmatch(r"#/(\$defs|definitions)/([^/~%]+)", reference) if isinstance(reference, str) else None
        definitions = root.get(place[1]) if place else None
        schema = definitions.get(place[2]) if place and isinstance(definitions, Mapping) else None
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _unusable(why: str) -> Usage:
    return Usage(
        f"this list of tools cannot be used: {why}",
        code="mcp.tools",
        next_action="Give the whole answer of the server to tools/list.",
    )
