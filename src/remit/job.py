"""Job: what a person asks an agent to do, and what they hand it for that.

- Closed: an unknown key is an error that names the key and the nearest right one; a key twice is an error.
- What no delegation could carry (budget 0, more than 30 days) is refused here, before anything is made.
- A sub-agent is handed at most the budget and the spaces of whoever hands it on.
- Inputs are plain JSON values, so that what is shown, signed and run is the same.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from remit.catalogue import nearest
from remit.delegation import ACTION, MAX_LIFETIME, MAX_LINKS, SPACE
from remit.duration import seconds
from remit.errors import Usage
from remit.principals import PRINCIPAL_NAME, SAFE_NAME

ASK = "plan.ask"
"""The tool that asks a model what to do next."""
MOST_TOKENS = 128_000
"""Of one answer of a model: it is kept, twice, in a payload of at most 2 MiB."""
LONGEST_FILE = 256 * 1024
MOST_STEPS = 1000


def _matching(pattern: Any, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is not {what}")
        return value

    return AfterValidator(check)


def _span(value: object) -> int:
    length = seconds(value)
    if not 1 <= length <= MAX_LIFETIME:
        raise ValueError(f"{value} is not between 1s and {MAX_LIFETIME // 86_400}d")
    return length


def _plain(value: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        raise ValueError("it holds a value that is not plain JSON; put dates and the like in quotes") from None
    return value


AgentName = Annotated[str, _matching(PRINCIPAL_NAME, "an agent's name: a-z, 0-9 and '-'")]
Slug = Annotated[str, _matching(SAFE_NAME, "a slug: a-z, 0-9 and '-', at most 63 characters")]
Action = Annotated[str, _matching(ACTION, "an action or a group of actions")]
Space = Annotated[str, _matching(SPACE, "a space")]
Span = Annotated[int, BeforeValidator(_span)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Handout(_Entry):
    """What a delegation is to carry; times in seconds."""

    actions: Annotated[tuple[Action, ...], Field(min_length=1)]
    spaces: Annotated[tuple[Space, ...], Field(min_length=1)]
    budget: Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]
    expires_in: Span
    max_depth: Annotated[int, Field(strict=True, ge=0, lt=MAX_LINKS)] = MAX_LINKS - 1


class Part(_Entry):
    """What a sub-agent does under a delegation of its own."""

    agent: AgentName
    delegation: Handout
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]


class Step(_Entry):
    """One entry of a plan: a tool with its input, or something handed on."""

    tool: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    input: Annotated[dict[str, Any], AfterValidator(_plain)] | None = None
    delegate: Part | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Step:
        if (self.tool is None) == (self.delegate is None):
            raise ValueError("a step is either a tool with its input, or a delegate")
        if self.delegate is not None and self.input is not None:
            raise ValueError("a delegate takes its inputs in its own steps")
        return self


class Wait(_Entry):
    """How long to wait for a fresh delegation."""

    wait: Span


class Planner(_Entry):
    """A planner besides the fixed steps.

    `follow: output` does what a tool's output asks for: a naive agent that obeys what it reads.
    """

    follow: Literal["output"]
    most: Annotated[int, Field(strict=True, ge=1, le=100)] = 10


class ModelPlanner(_Entry):
    """A model that plans, once the fixed steps are taken.

    Args:
        model: Name of the catalogue's model.
        goal: What it is to reach, in words.
        most: How often it is asked at most. max_tokens: How long one answer may be.
    """

    model: Slug
    goal: Annotated[str, Field(min_length=1, max_length=20_000)]
    most: Annotated[int, Field(strict=True, ge=1, le=200)] = 20
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=MOST_TOKENS)] = 4096


def _kind_of_planner(value: object) -> str:
    named = value if isinstance(value, dict) else {} if isinstance(value, Planner) else {"model"}
    return _MODEL if "model" in named or "goal" in named else _FOLLOW


_MODEL, _FOLLOW = "planner by model", "planner by output"
AnyPlanner = Annotated[
    Annotated[Planner, Tag(_FOLLOW)] | Annotated[ModelPlanner, Tag(_MODEL)], Discriminator(_kind_of_planner)
]


class Job(_Entry):
    """One job file.

    Args:
        agent: Who is to do it.
        purpose: A slug; the same on every delegation below.
        delegation: What is handed over.
        on_revocation: What the task does when its chain is revoked; in the file ``halt`` or ``{wait: 24h}``. An expired
            one is waited for as long, without a wait for a week.
        on_denied: Whether a denied step fails the task, or is noted and passed over. A model is told, unless the job
            says ``fail``.
        steps: The plan; may be left out where a model plans.
        planner: What plans beyond it.
    """

    agent: AgentName
    purpose: Slug
    delegation: Handout
    steps: tuple[Step, ...] = ()
    revocation: Annotated[Literal["halt"] | Wait, Field(alias="on_revocation")] = "halt"
    on_denied: Literal["fail", "continue"] = "fail"
    planner: AnyPlanner | None = None

    @model_validator(mode="after")
    def _hands_on_less(self) -> Job:
        if not self.steps and not isinstance(self.planner, ModelPlanner):
            raise ValueError("steps is missing")
        if sum(1 for _ in _walk(self.steps)) > MOST_STEPS:
            raise ValueError(f"it has more than {MOST_STEPS} steps")
        _check_parts(self.delegation, self.steps, where="steps")
        return self

    @property
    def on_revocation(self) -> timedelta | Literal["halt"]:
        """What `remit.temporal.delegated` takes."""
        return "halt" if self.revocation == "halt" else timedelta(seconds=self.revocation.wait)

    @property
    def tools(self) -> frozenset[str]:
        """Every tool the plan names, and the one by which a model plans."""
        asked = {ASK} if isinstance(self.planner, ModelPlanner) else set()
        return frozenset(step.tool for step in _walk(self.steps) if step.tool) | asked

    def task(self) -> dict[str, Any]:
        """Return the input of the workflow ``AgentTask``."""
        return {
            "agent": self.agent,
            "purpose": self.purpose,
            "steps": [_entry(step) for step in self.steps],
            "on_denied": self.on_denied,
            "planner": self._planner(),
        }

    def _planner(self) -> dict[str, Any] | None:
        if not isinstance(self.planner, ModelPlanner):
            return self.planner.model_dump() if self.planner else None
        told = "continue" if "on_denied" not in self.model_fields_set else self.on_denied
        return {**self.planner.model_dump(), "on_denied": told}

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read a job file.

        Raises:
            Usage: ``job.invalid``.
        """
        try:
            text = path.read_bytes()[: LONGEST_FILE + 1].decode()
        except OSError as error:
            raise _invalid(str(path), error.strerror or "it cannot be read") from None
        except UnicodeDecodeError:
            raise _invalid(str(path), "it is not UTF-8 text") from None
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str = "job") -> Job:
        """Read a job from YAML.

        Raises:
            Usage: ``job.invalid``, with what is wrong first.
        """
        if len(text) > LONGEST_FILE:
            raise _invalid(source, f"it is longer than {LONGEST_FILE // 1024} KiB")
        try:
            data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise _invalid(source, f"line {line}: {error.problem or 'it is not YAML'}") from None
        except (yaml.YAMLError, ValueError, RecursionError):
            raise _invalid(source, "it is not YAML") from None
        if not isinstance(data, dict):
            raise _invalid(source, "it is not a mapping of keys to values")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _invalid(source, next(_findings(error))) from None
        except RecursionError:
            raise _invalid(source, "it is nested too deeply") from None


def _walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        if step.delegate:
            yield from _walk(step.delegate.steps)


def _check_parts(held: Handout, steps: tuple[Step, ...], *, where: str) -> None:
    for number, step in enumerate(steps):
        if step.delegate is None:
            continue
        place, handed = f"{where}.{number}.delegate", step.delegate.delegation
        if handed.budget > held.budget:
            raise ValueError(f"{place}: its budget {handed.budget} is above the {held.budget} it comes from")
        if extra := sorted(set(handed.spaces) - set(held.spaces)):
            raise ValueError(f"{place}: the space {extra[0]!r} is not among those it comes from")
        _check_parts(handed, step.delegate.steps, where=f"{place}.steps")


def _entry(step: Step) -> dict[str, Any]:
    if step.delegate is None:
        return {"tool": step.tool, "input": step.input or {}}
    part = step.delegate
    return {
        "delegate": {
            "agent": part.agent,
            "delegation": part.delegation.model_dump(mode="json"),
            "steps": [_entry(inner) for inner in part.steps],
        }
    }


def _findings(error: ValidationError) -> Iterator[str]:
    """Say what is wrong; unknown keys first, for they are usually what a missing one is about."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    for finding in sorted(found, key=lambda one: one["type"] != "extra_forbidden"):
        where = ".".join(str(part) for part in finding["loc"] if part not in _BRANCHES)
        if finding["type"] == "extra_forbidden":
            key = str(finding["loc"][-1])
            hint = nearest(key, _keys(finding["loc"]), cutoff=0.5)
            yield f"unknown key {where!r}" + (f"; did you mean {hint!r}?" if hint else "")
        elif finding["type"] == "missing":
            yield f"{where} is missing"
        else:
            message = finding["msg"].removeprefix("Value error, ")
            yield f"{where}: {message}" if where else message


_BRANCHES = frozenset({"literal['halt']", "Wait", _MODEL, _FOLLOW})
_PLACES: Mapping[str, type[_Entry]] = {
    "delegation": Handout,
    "delegate": Part,
    "planner": Planner,
    "on_revocation": Wait,
    "steps": Step,
}


def _keys(where: tuple[int | str, ...]) -> frozenset[str]:
    """Return the keys there could be at the place of an unknown one."""
    inside = [part for part in where[:-1] if isinstance(part, str) and part not in _BRANCHES]
    model = ModelPlanner if _MODEL in where else _PLACES.get(inside[-1], Job) if inside else Job
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _invalid(source: str, what: str) -> Usage:
    return Usage(
        f"{source} is not a valid job: {what}",
        code="job.invalid",
        next_action="Correct it there; jobs/delay-review.yaml shows every key.",
    )


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys (the last would win silently) and aliases (a few lines could become a million)."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            value = self.construct_object(key, deep=True)
            if not isinstance(value, str) or value in seen:
                problem = f"the key {value!r} is there twice" if isinstance(value, str) else f"{value!r} is no key"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(value)
        return super().construct_mapping(node, deep)
