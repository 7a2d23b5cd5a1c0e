"""Drafting: Cedar actions and mapping entries for the tools of an MCP server, for a person to review and add.

- Nothing the server says gets out of its quotes: names are escaped, properties are plain names, and no description is
  taken over.
- What is drafted is what was checked: the schema with the actions added is linted as `remit policy check` does, and the
  entries are read as a worker reads them. An action that is there already is a clash, never replaced.
- A draft grants nothing by itself; where a policy that exists may permit an agent a new action, that is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from remit.catalogue import Catalogue
from remit.delegation import ACTION
from remit.errors import Refused, RemitError, Usage
from remit.mapping import Mapping
from remit.policy.engine import PolicyEngine
from remit.policy.offered import Claims, Listing, Offered, told
from remit.policy.source import Source

TYPES = ("Service", "Dataset", "Model")
SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_LONGEST_ACTION = 63


@dataclass(frozen=True, slots=True)
class Server:
    """Whose tools they are, and what they act on.

    Args:
        name: Under ``[servers]`` of the mapping, and before the colon of each action.
        resource: Id of the catalogue's resource; fields of the arguments in braces: ``{dataset}``.
        type: Its entity type, one of `TYPES`.

    Raises:
        Usage: ``mcp.name``.
    """

    name: str
    resource: str
    type: str = "Service"

    def __post_init__(self) -> None:
        if not SERVER.fullmatch(self.name):
            raise Usage(
                f"{told(self.name)} cannot name a server here",
                code="mcp.name",
                next_action="Give --name with letters, digits, '.', '_' and '-', at most 31 characters.",
            )
        if self.type not in TYPES:
            raise Usage(
                f"{told(self.type)} is no type of resource",
                code="mcp.name",
                next_action=f"Give --type with one of {', '.join(TYPES)}.",
            )


@dataclass(frozen=True, slots=True)
class Drafted:
    """One tool's action.

    Args:
        action: Its Cedar id.
        tool: What the server offers.
        permitted: Whether a policy that exists may permit an agent the action.
    """

    action: str
    tool: Offered
    permitted: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """What to add.

    Args:
        cedar: For ``schema.cedarschema``.
        toml: For ``remit.toml``.
        actions: One for each tool.
        left_out: Tools without one, escaped, each with the reason.
    """

    cedar: str
    toml: str
    actions: tuple[Drafted, ...]
    left_out: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "cedar": self.cedar,
            "toml": self.toml,
            "actions": [
                {
                    "tool": one.tool.name,
                    "action": one.action,
                    "groups": list(one.tool.claims.groups),
                    "inputs": {each.name: each.type for each in one.tool.inputs},
                    "left_out": list(one.tool.left_out),
                    "permitted": one.permitted,
                }
                for one in self.actions
            ],
            "left_out": list(self.left_out),
        }


def draft(server: Server, listing: Listing, *, source: Source, catalogue: Catalogue) -> Draft:
    """Return what to add for these tools, checked against a policy folder.

    Raises:
        PolicyInvalid: The folder is not valid, before or with the actions.
        Refused: ``mcp.clash`` when an action is there already; ``mcp.tools`` when no tool can be mapped.
    """
    if not listing.tools:
        raise Refused(
            f"{server.name} offers no tool that can be mapped",
            code="mcp.tools",
            next_action="; ".join(listing.left_out)[:300] or "Its list is empty.",
        )
    before = PolicyEngine(source, catalogue)
    drafted = tuple(Drafted(action_of(server, tool.name), tool) for tool in listing.tools)
    _refuse_clashes(drafted, before)
    cedar = "\n".join(_cedar(server, drafted, listing)) + "\n"
    toml = "\n".join(_toml(server, drafted)) + "\n"
    after = PolicyEngine(replace(source, schema=f"{source.schema.rstrip()}\n\n{cedar}"), catalogue)
    _check(server, drafted, added=after.actions - before.actions, toml=toml)
    # No policy can name an action that was not there, so it is their groups that permit them.
    like = {one.tool.claims.groups: one.action for one in drafted}
    permitted = {groups: _delegable(action, after) for groups, action in like.items()}
    drafted = tuple(replace(one, permitted=permitted[one.tool.claims.groups]) for one in drafted)
    return Draft(cedar, toml, drafted, listing.left_out)


def action_of(server: Server, tool: str) -> str:
    """Return the action of a tool: ``server:tool``, or where no delegation could name that, one that ends in a hash."""
    name = f"{server.name}:{tool}"
    if ACTION.fullmatch(name):
        return name
    mark = sha256(tool.encode()).hexdigest()[:8]
    room = _LONGEST_ACTION - len(server.name) - len(mark) - 2
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", tool)[:room].strip("-")
    return f"{server.name}:{words}-{mark}"


def _refuse_clashes(drafted: tuple[Drafted, ...], engine: PolicyEngine) -> None:
    names = [one.action for one in drafted]
    clashes = sorted({name for name in names if name in engine.groups or names.count(name) > 1})
    if clashes:
        raise Refused(
            f"the schema would have these actions twice: {', '.join(clashes[:5])}" + ("…" if len(clashes) > 5 else ""),
            code="mcp.clash",
            next_action="Give the server another --name, or take the actions it has now out of the schema first.",
        )


def _check(server: Server, drafted: tuple[Drafted, ...], *, added: frozenset[str], toml: str) -> None:
    """Refuse a draft that says anything but what was meant."""
    mapped = Mapping.parse(toml).servers[server.name].tools
    meant = {one.tool.name: one.action for one in drafted}
    if added != frozenset(meant.values()) or {name: rule.action for name, rule in mapped.items()} != meant:
        raise RemitError("the draft does not read as it was written", code="mcp.draft", next_action="Report it.")


def _delegable(action: str, engine: PolicyEngine) -> bool:
    try:
        engine.delegable([action])
    except Refused:
        return False
    return True


def _cedar(server: Server, drafted: tuple[Drafted, ...], listing: Listing) -> Iterator[str]:
    yield f"// Tools of the MCP server {server.name}, drafted by `remit policy from-mcp`. Review before adding:"
    yield "// groups and inputs follow what the server says of itself, and it may say anything."
    for why in listing.left_out:
        yield f"// Left out, and so refused: tool {why}."
    for one in drafted:
        yield ""
        yield f"// The server says: {_said(one.tool.claims)}."
        for why in one.tool.left_out:
            yield f"// Policies cannot read {why}."
        yield f'action "{one.action}" in [{", ".join(one.tool.claims.groups)}] appliesTo {{'
        yield "  principal: [Agent, User],"
        yield f"  resource: [{server.type}],"
        yield "  context: { delegation: Delegation, run: Run, approvals: Approvals, input: {"
        for each in one.tool.inputs:
            yield f'    "{each.name}"{"" if each.required else "?"}: {each.type},'
        yield "  } },"
        yield "};"


def _said(claims: Claims) -> str:
    words = {
        "read-only": claims.read_only,
        "destructive": claims.destructive,
        "idempotent": claims.idempotent,
        "open world": claims.open_world,
    }
    said = [name if value else f"not {name}" for name, value in words.items() if value is not None]
    return ", ".join(said) or "nothing; so the strictest groups"


def _toml(server: Server, drafted: tuple[Drafted, ...]) -> Iterator[str]:
    yield f"# Tools of the MCP server {server.name}, drafted by `remit policy from-mcp`. Review before adding."
    for one in drafted:
        yield ""
        yield f"[servers.{_key(server.name)}.tools.{_key(one.tool.name)}]"
        yield f"action = {_quoted(one.action)}"
        yield f"resource = {_quoted(server.resource)}"
        if one.tool.claims.once:
            yield "once = true  # not said to be idempotent: a call that was begun is not begun again"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """Return a TOML string of visible ASCII."""
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isascii() and character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
