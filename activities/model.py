"""`plan.ask`: one request to a model that plans, with a key leased for this attempt.

- The model is offered the tools whose action the task's own chain carries now, and no other.
- It proposes; what it proposes becomes steps of the task, each decided by itself. A call of a tool that it was not
  offered is answered, and nothing runs.
- The provider's key is given to a client that lives as long as the request.
- Any pydantic-ai model will do: named in the settings, or made by a function in Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from temporalio.exceptions import ApplicationError

from remit.attempt import GRANT
from remit.errors import Usage
from remit.job import ASK, MOST_TOKENS
from remit.settings import ModelSettings
from remit.temporal import current_credential, tool
from remit.temporal.tool import declared_by
from remit.tool import Tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
    from pydantic_ai.models import Model

    from remit.assembly import Parts

SECONDS = 100.0
"""How long a provider may take; less than the step's own time."""
MOST_CALLS = 32
"""Calls of one answer that are made."""

Opens = Callable[[], AbstractAsyncContextManager["Model"]]
"""Opens a model for one request, within the attempt whose credential it uses."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Said(_Closed):
    """What the task says to the model."""

    role: Literal["user"]
    text: str


class Spoke(_Closed):
    """What the model said, as pydantic-ai writes it."""

    role: Literal["model"]
    message: dict[str, Any]


class Returned(_Closed):
    """What one call gave."""

    call: str
    tool: str
    content: str


class Told(_Closed):
    """What the calls of one answer gave."""

    role: Literal["tools"]
    returns: list[Returned]


class Question(_Closed):
    """What a model is asked: which one, as whom, and the whole conversation so far."""

    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    instructions: str
    conversation: list[Annotated[Said | Spoke | Told, Field(discriminator="role")]]
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=MOST_TOKENS)] = 4096


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as a model is offered it.

    Args:
        name: As models can say it. tool: Activity type. action: Cedar action.
        description: What it does. schema: JSON schema of its input.
    """

    name: str
    tool: str
    action: str
    description: str
    schema: Mapping[str, Any]


def offers_of(tools: Iterable[object]) -> tuple[Offer, ...]:
    """Return the declared tools among these functions, as models are offered them.

    Raises:
        Usage: ``tool.declaration`` when two would have one name.
    """
    found = [_offer(function, declared) for function in tools if (declared := declared_by(function)) is not None]
    names = [one.name for one in found]
    for one in found:
        if names.count(one.name) > 1:
            raise Usage(
                f"two tools would be {one.name!r} to a model",
                code="tool.declaration",
                next_action="Give one another name.",
            )
    return tuple(found)


def asking(parts: Parts, models: Mapping[str, Opens], tools: Sequence[object]) -> Any:
    """Return the tool.

    Args:
        parts: Whose authority tells what a chain carries.
        models: How the catalogue's models are opened, by name.
        tools: The functions whose use may be planned.
    """
    offers = offers_of(tools)

    @tool(name=ASK, action="model:invoke", resource=lambda question: question.model, credential="model-key")
    async def ask(question: Question) -> dict[str, Any]:
        """Return ``{"message", "text", "calls", "offered": [name…]}``.

        A call is ``{"call": id, "name", "tool": activity type, "input", "fault": why it cannot be made}``.
        """
        opens = models.get(question.model)
        if opens is None:
            raise _final(f"no worker here knows how to reach the model {question.model!r}", "model.unknown")
        grant = GRANT.get()
        if grant is None:
            raise RuntimeError("asked outside an attempt")
        chain, _ = await parts.authority.describe(grant.attempt.reference)
        allowed = parts.policy.expand(chain.leaf.scope.actions)
        offered = [one for one in offers if one.action in allowed]
        async with opens() as model:
            response = await _request(model, question, offered)
        return _answer(response, offered)

    return ask


def configured(models: Mapping[str, ModelSettings]) -> dict[str, Opens]:
    """Return how the models that settings name are opened.

    Raises:
        Usage: ``model.library`` when pydantic-ai is not installed.
    """
    if models:
        try:
            import pydantic_ai.providers  # noqa: F401 - so that a worker without it does not start
        except ImportError:
            raise Usage(
                "the settings name models, and pydantic-ai is not installed",
                code="model.library",
                next_action="Install remit[planner], or take REMIT_PLANNERS away.",
            ) from None
    return {name: _opens(one) for name, one in models.items()}


def _opens(wanted: ModelSettings) -> Opens:
    @asynccontextmanager
    async def open_model() -> AsyncIterator[Model]:
        from pydantic_ai.models import infer_model
        from pydantic_ai.providers import Provider, infer_provider_class

        def provider(name: str) -> Provider[Any]:
            options = {"base_url": wanted.base_url} if wanted.base_url else {}
            return infer_provider_class(name)(api_key=current_credential()[wanted.key], **options)  # type: ignore[call-arg]

        async with infer_model(wanted.model, provider_factory=provider) as model:
            yield model

    return open_model


async def _request(model: Model, question: Question, offered: Sequence[Offer]) -> ModelResponse:
    from pydantic_ai.direct import model_request
    from pydantic_ai.exceptions import ModelHTTPError, UnexpectedModelBehavior, UserError
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.tools import ToolDefinition

    wanted = ModelRequestParameters(
        function_tools=[
            ToolDefinition(name=one.name, description=one.description, parameters_json_schema=dict(one.schema))
            for one in offered
        ]
    )
    try:
        return await model_request(
            model,
            _messages(question),
            model_settings={"max_tokens": question.max_tokens, "timeout": SECONDS},
            model_request_parameters=wanted,
        )
    except ModelHTTPError as error:
        if error.status_code in (408, 409, 429) or error.status_code >= 500:
            raise
        said = f"the model's provider refused the request with status {error.status_code}"
        raise _final(said, "model.refused") from None
    except (UnexpectedModelBehavior, UserError) as error:
        raise _final(str(error)[:500], "model.refused") from None


def _messages(question: Question) -> list[ModelMessage]:
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelRequest, ToolReturnPart, UserPromptPart

    made: list[ModelMessage] = []
    for turn in question.conversation:
        match turn:
            case Said():
                made.append(ModelRequest(parts=[UserPromptPart(turn.text)], instructions=question.instructions))
            case Told():
                returns = [ToolReturnPart(one.tool, one.content, one.call) for one in turn.returns]
                made.append(ModelRequest(parts=returns, instructions=question.instructions))
            case Spoke():
                try:
                    made += ModelMessagesTypeAdapter.validate_python([turn.message])
                except ValueError:
                    raise _final("the conversation holds what this pydantic-ai does not read", "tool.input") from None
    return made


def _answer(response: ModelResponse, offered: Sequence[Offer]) -> dict[str, Any]:
    """Return what was answered as JSON, each call checked against what was offered.

    Arguments are kept as the text they are: a number in them that no record can carry is that call's fault alone.
    """
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ToolCallPart

    asked = [part for part in response.parts if isinstance(part, ToolCallPart)]
    if not asked and response.finish_reason in ("length", "content_filter", "error"):
        raise _final(f"the model did not finish its answer: {response.finish_reason}", "model.unfinished")
    by_name = {one.name: one.tool for one in offered}
    calls = [_call(part, by_name, late=number >= MOST_CALLS) for number, part in enumerate(asked)]
    kept = [
        replace(one, args=one.args_as_json_str()) if isinstance(one, ToolCallPart) else one for one in response.parts
    ]
    try:
        (message,) = json.loads(ModelMessagesTypeAdapter.dump_json([replace(response, parts=kept)]))
    except ValueError:
        raise _final("the model's answer holds text that JSON cannot carry", "model.refused") from None
    return {"message": message, "text": response.text or "", "calls": calls, "offered": sorted(by_name)}


def _call(part: ToolCallPart, by_name: Mapping[str, str], *, late: bool) -> dict[str, Any]:
    fault, given = "", {}
    try:
        given = part.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        fault = "the arguments are not a JSON object"
    if part.tool_name not in by_name:
        fault = f"there is no tool {part.tool_name!r}; there are: {', '.join(sorted(by_name)) or 'none'}"
    elif late:
        fault = f"at most {MOST_CALLS} calls are made of one answer; make the others in the next"
    tool = by_name.get(part.tool_name, "")
    return {"call": part.tool_call_id, "name": part.tool_name, "tool": tool, "input": given, "fault": fault}


def _offer(function: object, declared: Tool) -> Offer:
    return Offer(
        name=re.sub(r"[^A-Za-z0-9_-]", "_", declared.name)[:64],
        tool=declared.name,
        action=declared.action,
        description=(getdoc(function) or declared.name)[:1000],
        schema=declared.input.model_json_schema(),
    )


def _final(message: str, code: str) -> ApplicationError:
    return ApplicationError(message, type=code, non_retryable=True)
