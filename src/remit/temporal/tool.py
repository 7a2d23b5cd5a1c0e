"""`@tool`: one declaration that makes a function a governed activity.

- It names the Cedar action, the resource and the credential; the input model is read from the function.
- The argument reaches the decision as it came, so a malformed one is refused and recorded, not retried.
- Inside Temporal a declared tool runs for what was decided and for nothing else: not on a worker that lacks the plugin,
  not called by workflow code, a Nexus handler or another tool, not with arguments that changed after the decision.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel
from temporalio import activity, nexus, workflow
from temporalio.exceptions import ApplicationError

from remit.attempt import GRANT
from remit.errors import Denied, Usage
from remit.temporal._failure import to_application_error
from remit.temporal._names import RESERVED
from remit.tool import Tool

_F = TypeVar("_F", bound=Callable[..., Any])
ATTRIBUTE = "__remit_tool__"


def tool(
    *,
    name: str,
    action: str,
    resource: str | Callable[[Any], str],
    credential: str | None = None,
    cost: int = 1,
    once: bool = False,
) -> Callable[[_F], _F]:
    """Declare a governed activity; its only argument is a pydantic model.

    Args:
        name: Activity type, e.g. ``sql.query``.
        action: Cedar action, e.g. ``dataset:query``.
        resource: A Cedar entity id, or how to read it off the input.
        credential: Credential profile of the catalogue; the function finds it with `current_credential`.
        cost: Whole budget units a step costs.
        once: At most once. A step that was begun is never begun again: its failure is final, and what interrupted it
            (a crash, a time-out, a suspension) leaves the question whether it was done to a person.

    Raises:
        Usage: ``tool.declaration`` for a function that does not fit.

    Example:
        @tool(name="sql.query", action="dataset:query", resource=lambda q: q.dataset, credential="flights-ro")
        async def query(input: Query) -> dict[str, Any]: ...
    """

    def declare(function: _F) -> _F:
        parameter, model = _input_of(function)
        declared = Tool(
            name=_checked(name),
            action=action,
            resource=resource if callable(resource) else lambda _: resource,
            input=model,
            credential=credential,
            cost=cost,
            once=once,
        )
        governed = (
            _asynchronous(function, declared)
            if inspect.iscoroutinefunction(function)
            else _threaded(function, declared)
        )
        # Temporal decodes by these annotations: as plain JSON, so that decoding never fails before the decision.
        governed.__annotations__ = {parameter: Any, "return": get_type_hints(function).get("return", Any)}
        governed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(parameter, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any)]
        )
        setattr(governed, ATTRIBUTE, declared)
        return activity.defn(name=declared.name)(governed)  # type: ignore[return-value]

    return declare


def declared_by(function: object) -> Tool | None:
    """Return what a function declares, None when it declares nothing."""
    found = getattr(function, ATTRIBUTE, None)
    return found if isinstance(found, Tool) else None


def names_of(functions: Iterable[object]) -> frozenset[str]:
    """Return the activity types of those of these functions that are declared tools."""
    return frozenset(found.name for one in functions if (found := declared_by(one)) is not None)


def _asynchronous(function: Callable[..., Any], declared: Tool) -> Callable[..., Any]:
    @wraps(function)
    async def governed(argument: Any) -> Any:
        return await function(_decided(declared, argument))

    return governed


def _threaded(function: Callable[..., Any], declared: Tool) -> Callable[..., Any]:
    @wraps(function)
    def governed(argument: Any) -> Any:
        return function(_decided(declared, argument))

    return governed


def _decided(declared: Tool, argument: Any) -> BaseModel:
    """Return the input, if the grant that is here is for exactly this call; outside Temporal there is none to have."""
    grant = GRANT.get()
    if grant is None:
        if activity.in_activity() or workflow.in_workflow() or nexus.in_operation():
            raise _undecided(f"{declared.name} runs where nobody governs it", code="activity.ungoverned")
    elif grant.attempt.tool != declared.name or grant.attempt.call != declared.call([argument]):
        raise _undecided(f"{declared.name} was not decided with these arguments", code="activity.undecided")
    return argument if isinstance(argument, declared.input) else declared.input.model_validate(argument)


def _undecided(message: str, *, code: str) -> ApplicationError:
    return to_application_error(
        Denied(
            message,
            code=code,
            next_action="Have a workflow start it as an activity, on a worker whose client has the RemitPlugin.",
        )
    )


def _input_of(function: Callable[..., Any]) -> tuple[str, type[BaseModel]]:
    parameters = list(inspect.signature(function).parameters.values())
    hints = get_type_hints(function)
    model = hints.get(parameters[0].name) if len(parameters) == 1 else None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise Usage(
            f"the tool {function.__qualname__} must take exactly one argument, a pydantic model",
            code="tool.declaration",
            next_action="Put its arguments into one model and annotate the parameter with it.",
        )
    return parameters[0].name, model


def _checked(name: str) -> str:
    if not name or name.startswith(RESERVED) or len(name) > 100 or not name.isascii() or not name.isprintable():
        raise Usage(
            f"{name[:100]!r} cannot name a tool",
            code="tool.declaration",
            next_action="Use a short ASCII name that does not begin with 'remit.'.",
        )
    return name
