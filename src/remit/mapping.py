"""Mapping: what the tools, models and agents of other people's frameworks mean in Cedar's words.

- Read from `remit.toml`, where settings may stand beside it, or written in Python; closed and frozen, an unknown key
  names the nearest right one.
- It says what a call is called, not whether it may be made: that is decided at each attempt.
- What is mapped nowhere is refused; what carries no authority is listed by name as ungoverned.
- A call's input is always the tool and all of its arguments, so that what is approved is what runs.
"""

from __future__ import annotations

import re
import tomllib
from collections import abc
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from remit.catalogue import nearest
from remit.delegation import MAX_LIFETIME, MAX_LINKS, Scope
from remit.duration import seconds
from remit.errors import Refused, Usage
from remit.settings import Settings
from remit.step import Call
from remit.tool import Use

_T = TypeVar("_T")

FRAMEWORKS = ("openai-agents", "pydantic-ai", "langgraph", "mcp")
TOOL = "_tool"
"""Names the tool in the input of a call: an approver sees it, and two tools of one action are never one call."""
MODEL_ACTION = "model:invoke"
_FIELD = re.compile(r"\{([^{}]*)\}")
_NAME = r"^[^\x00-\x1f\x7f]{1,200}$"

Names = Annotated[str, Field(pattern=_NAME)]
Span = Annotated[int, BeforeValidator(lambda value: value if type(value) is int else seconds(value))]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Entry):
    """What one tool does.

    Args:
        action: Cedar action, e.g. ``dataset:query``.
        resource: Cedar entity id, with fields of the arguments in braces: ``{dataset}``, ``{query.dataset}``.
        credential: Credential profile of the catalogue, or None.
        cost: Whole budget units one call costs.
        once: At most once: a call that was begun is never begun again.
    """

    action: Names
    resource: Names
    credential: Names | None = None
    cost: Annotated[int, Field(strict=True, ge=0)] = 1
    once: bool = False

    @model_validator(mode="after")
    def _reads_one_way(self) -> Rule:
        if "}{" in self.resource:
            raise ValueError("between two fields of a resource there is text, or nobody can tell them apart")
        return self

    def use(self, tool: str, arguments: abc.Mapping[str, Any]) -> Use:
        """Return what a call of the tool with these arguments asks for; the tool's name is `TOOL` in the input.

        Raises:
            Refused: ``tool.input`` when the arguments lack what the resource is read from.
        """
        if TOOL in arguments:
            raise Refused(f"an argument has the name {TOOL!r}, which stands for the tool", code="tool.input")
        call = Call(action=self.action, resource=filled(self.resource, arguments), input={TOOL: tool, **arguments})
        return Use(tool=tool, call=call, credential=self.credential, cost=self.cost, once=self.once)


class ToolRule(Rule):
    """A tool that a framework knows by its name.

    Args:
        activity: Its activity type; None: the tool's name.
        inline: It runs inside the workflow, where no activity is seen: it is decided when a model proposes it.
    """

    activity: Names | None = None
    inline: bool = False

    @model_validator(mode="after")
    def _fits(self) -> ToolRule:
        if self.inline and (self.credential or self.activity):
            raise ValueError("a tool inside the workflow has no activity, and no credential reaches it")
        return self


class ModelRule(_Entry):
    """A model, decided as ``model:invoke``.

    Args:
        resource: Id of the catalogue's model.
        credential: Credential profile with its API key, or None.
        cost: Whole budget units one request costs.
    """

    resource: Names
    credential: Names | None = None
    cost: Annotated[int, Field(strict=True, ge=0)] = 1

    @property
    def rule(self) -> Rule:
        """The rule of its requests."""
        return Rule(action=MODEL_ACTION, resource=self.resource, credential=self.credential, cost=self.cost)


class Server(_Entry):
    """An MCP server: its tools, and other operations, e.g. ``read-resource``. Listing them needs no rule."""

    tools: abc.Mapping[Names, Rule] = {}
    other: abc.Mapping[Names, Rule] = {}


class Node(_Entry):
    """A LangGraph node that is more than one tool.

    Args:
        runs: ``tools``: it makes the tool calls of the last message; ``model``: it asks a model.
        model: The model's name, looked up under ``models``.
    """

    runs: Literal["tools", "model"]
    model: Names | None = None

    @model_validator(mode="after")
    def _fits(self) -> Node:
        if (self.runs == "model") != (self.model is not None):
            raise ValueError('a node that runs = "model" names its model, and no other does')
        return self


class Handover(_Entry):
    """What another agent, or a child workflow, is handed: a delegation of its own, or the task's.

    Args:
        agent: Agent of the catalogue.
        actions, spaces, budget: What it may do, at most what the task holds.
        max_depth: How many links it may make below itself: 0 hands nothing on.
        expires_in: Seconds, or a span such as ``1h``.
        share: It goes on under the task's own delegation instead.
    """

    agent: Names | None = None
    actions: tuple[Names, ...] = ()
    spaces: tuple[Names, ...] = ()
    budget: Annotated[int, Field(strict=True, ge=1)] | None = None
    expires_in: Annotated[Span, Field(ge=1, le=MAX_LIFETIME)] = 3600
    max_depth: Annotated[int, Field(strict=True, ge=0, lt=MAX_LINKS)] = 0
    share: bool = False

    @model_validator(mode="after")
    def _is_one_thing(self) -> Handover:
        handed = bool(self.agent and self.actions and self.spaces and self.budget)
        if self.share == handed or (self.share and self.model_fields_set - {"share"}):
            raise ValueError("it takes either share = true, or an agent with actions, spaces and a budget")
        return self

    @property
    def scope(self) -> Scope:
        """What the delegation is to carry; only where nothing is shared."""
        return Scope(self.actions, self.spaces, self.budget or 1)


class Mapping(_Entry):
    """What a worker's frameworks mean.

    Args:
        frameworks: Ready readings: ``openai-agents``, ``pydantic-ai``, ``langgraph``, ``mcp``.
        on_denied: ``continue``: the model is told and goes on; ``fail``: the run fails.
        ungoverned: Activity and workflow types that carry no authority; ``*`` stands for any text.
        models: By the model's name; ``*`` stands for any text.
        tools: By the tool's name. servers: MCP servers, by name. nodes: LangGraph nodes, by activity type.
        agents: Other agents of a framework, by name. children: Child workflow types; ``*`` stands for any text.

    Raises:
        Usage: ``mapping.invalid`` from `parse` and `load`.
    """

    frameworks: tuple[Literal["openai-agents", "pydantic-ai", "langgraph", "mcp"], ...] = ()
    on_denied: Literal["continue", "fail"] = "continue"
    ungoverned: tuple[Names, ...] = ()
    models: abc.Mapping[Names, ModelRule] = {}
    tools: abc.Mapping[Names, ToolRule] = {}
    servers: abc.Mapping[Names, Server] = {}
    nodes: abc.Mapping[Names, Node] = {}
    agents: abc.Mapping[Names, Handover] = {}
    children: abc.Mapping[Names, Handover] = {}

    @model_validator(mode="after")
    def _tells_apart(self) -> Mapping:
        kinds = [rule.activity or name for name, rule in self.tools.items() if not rule.inline]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"two tools are the activity {twice[0]!r}")
        return self

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read a mapping file."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _invalid(str(path), f"it cannot be read: {error}") from None
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str = "mapping") -> Mapping:
        """Read a mapping from TOML text."""
        try:
            data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise _invalid(source, str(error)) from None
        try:
            return cls.model_validate({key: value for key, value in data.items() if key not in Settings.model_fields})
        except ValidationError as error:
            raise _invalid(source, "; ".join(_findings(error))) from None

    def tool(self, name: str, *, server: str | None = None, other: bool = False) -> Rule | None:
        """Return the rule of a tool; with a server, of that server's tool or of another operation of it."""
        if server is None:
            return self.tools.get(name)
        found = self.servers.get(server, Server())
        return (found.other if other else found.tools).get(name)

    def model(self, name: str) -> Rule | None:
        """Return the rule of a model's requests."""
        found = _matching(name, self.models)
        return found.rule if found else None

    def of_activity(self, activity: str) -> tuple[str, ToolRule] | None:
        """Return the tool whose activity type this is, with its rule."""
        found = ((name, rule) for name, rule in self.tools.items() if not rule.inline)
        return next(((name, rule) for name, rule in found if (rule.activity or name) == activity), None)

    def agent(self, name: str) -> Handover | None:
        """Return what another agent of the framework is handed."""
        return self.agents.get(name)

    def child(self, workflow: str) -> Handover | None:
        """Return what a child workflow of this type is handed."""
        return _matching(workflow, self.children)


def filled(template: str, arguments: abc.Mapping[str, Any]) -> str:
    """Return a resource's id with the fields in braces taken from the arguments.

    Raises:
        Refused: ``tool.input`` when there is no such field, it holds no text, or the text that stands between it and
            the next field, so that the id could be read in two ways.
    """

    def value(match: re.Match[str]) -> str:
        found: Any = arguments
        for name in match[1].split("."):
            found = found.get(name) if isinstance(found, abc.Mapping) else None
        if not isinstance(found, str) or not found:
            raise Refused(
                f"the call says no {match[1]!r}, which tells what it touches",
                code="tool.input",
                next_action=f"Give {match[1]} as text.",
            )
        between, another, _ = template[match.end() :].partition("{")
        if another and (found + between).index(between) != len(found):
            raise Refused(
                f"{match[1]!r} holds {between!r}, by which the parts of the resource are told apart",
                code="tool.input",
                next_action=f"Give {match[1]} without it.",
            )
        return found

    return _FIELD.sub(value, template)


def _matching(name: str, entries: abc.Mapping[str, _T]) -> _T | None:
    exact = entries.get(name)
    return exact if exact is not None else next((one for key, one in entries.items() if fnmatchcase(name, key)), None)


def _invalid(source: str, what: str) -> Usage:
    return Usage(f"{source} is not a valid mapping: {what}", code="mapping.invalid", next_action="Correct it there.")


def _findings(error: ValidationError) -> Iterator[str]:
    for finding in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(map(str, finding["loc"])).encode("unicode_escape").decode()
        if finding["type"] == "extra_forbidden":
            hint = nearest(str(finding["loc"][-1]), _keys(finding["loc"]))
            yield f"unknown key {where!r}" + (f" (did you mean {hint!r}?)" if hint else "")
        elif finding["type"] == "missing":
            yield f"{where} is missing"
        else:
            message = finding["msg"].removeprefix("Value error, ")
            yield f"{where}: {message}" if where else message


def _keys(where: tuple[int | str, ...]) -> Collection[str]:
    """Return the keys there could be at the place of an unknown one."""
    tables: dict[str, type[_Entry]] = {
        "models": ModelRule,
        "tools": ToolRule,
        "servers": Rule if len(where) > 3 else Server,
        "nodes": Node,
        "agents": Handover,
        "children": Handover,
    }
    model: type[_Entry] = Mapping if len(where) == 1 else tables.get(str(where[0]), Mapping)
    return model.model_fields.keys()
