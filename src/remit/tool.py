"""A tool: one declaration that says what an activity does before it does it.

- `action` is a Cedar action, `resource` names the Cedar entity it touches, `credential` the profile it needs.
- The input model is the contract: arguments that do not fit it are refused before anything is decided.
- `once` is for what must not happen twice: an attempt that may have begun it is never repeated by itself.
- A `Call` made here is exactly what is decided, approved, digested and run: read back, its input is the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from remit.errors import Refused
from remit.step import Call


@dataclass(frozen=True, slots=True)
class Use:
    """What one use of a tool asks for.

    Args:
        tool: The tool's name, as people are shown it.
        call: Action, resource and exact input.
        credential, cost, once: As of a `Tool`.
    """

    tool: str
    call: Call
    credential: str | None = None
    cost: int = 1
    once: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """What an activity type means in Cedar's words.

    Args:
        name: Activity type, e.g. ``sql.query``.
        action: Cedar action, e.g. ``dataset:query``.
        resource: From the validated input to a Cedar entity id, e.g. ``flights``.
        input: The model of its single argument.
        credential: Credential profile of the catalogue, or None for a tool that needs none.
        cost: Whole budget units one step costs.
        once: At most once: a step that was begun is never begun again.
    """

    name: str
    action: str
    resource: Callable[[Any], str]
    input: type[BaseModel]
    credential: str | None = None
    cost: int = 1
    once: bool = False

    def use(self, arguments: Sequence[Any]) -> Use:
        """Return what these activity arguments ask for.

        Raises:
            Refused: ``tool.input`` when they do not fit the input model.
        """
        return Use(
            tool=self.name, call=self.call(arguments), credential=self.credential, cost=self.cost, once=self.once
        )

    def call(self, arguments: Sequence[Any]) -> Call:
        """Return the call these activity arguments mean.

        Raises:
            Refused: ``tool.input`` when they do not fit the input model.
        """
        try:
            (argument,) = arguments
            value = argument if isinstance(argument, self.input) else self.input.model_validate(argument)
        except (ValueError, ValidationError) as error:
            raise Refused(
                f"{self.name}: the input does not fit {self.input.__name__}: {_first(error)}",
                code="tool.input",
                next_action=f"Its fields are: {', '.join(self.input.model_fields)}.",
            ) from None
        return Call(action=self.action, resource=self.resource(value), input=self._whole(value))

    def _whole(self, value: BaseModel) -> dict[str, Any]:
        """Return the JSON that says everything about an input: a person approves it, and a digest binds it."""
        for brief in (True, False):
            try:
                said = value.model_dump(mode="json", exclude_none=brief, by_alias=True)
                if self.input.model_validate(said) == value:
                    return value.model_dump(mode="json", exclude_none=brief)
            except ValueError:
                continue
        raise Refused(
            f"{self.name}: the input cannot be shown whole",
            code="tool.input",
            next_action=f"Give {self.input.__name__} only fields that JSON carries, none hidden or left out of it.",
        )


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        finding = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, finding['loc'])) or 'input'}: {finding['msg']}"
    return "exactly one argument is expected"
