"""A model that plays a script: no network, the same calls every time.

- A script is a list of turns; a turn is the tool calls the model makes at once. After the last one it answers with
  what each call gave it, as JSON.
- Where in its script a model is, it reads off the conversation, so that a retried request is answered the same.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from agents import Model, ModelProvider, ModelResponse, Usage
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseOutputMessage,
    ResponseOutputText,
)

from examples.scenario import CALLS, PROMPT, Call

Script = Sequence[Sequence[Call]]
SCRIPTS: Mapping[str, Script] = {PROMPT: [[call] for call in CALLS]}


class Scripted(ModelProvider, Model):
    """Models that play a script chosen by what they are first asked.

    Args:
        scripts: By the first message; another message is answered with itself.
        name: The model's.
    """

    def __init__(self, scripts: Mapping[str, Script] = SCRIPTS, *, name: str = "") -> None:
        self._scripts = scripts
        self._name = name

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of a name."""
        return Scripted(self._scripts, name=model_name or "")

    async def get_response(self, system_instructions: str | None, input: Any, *_: Any, **__: Any) -> ModelResponse:
        """Play the next turn."""
        return ModelResponse(output=self.answer(input).output, usage=Usage(), response_id=None)

    async def stream_response(
        self, system_instructions: str | None, input: Any, *_: Any, **__: Any
    ) -> AsyncIterator[ResponseCompletedEvent]:
        """Play the next turn as the one event of a stream."""
        yield ResponseCompletedEvent(response=self.answer(input), sequence_number=0, type="response.completed")

    def answer(self, input: str | list[Any]) -> Response:
        """Return the next turn as OpenAI's service answers it."""
        return Response(
            id="response",
            created_at=0,
            model=self._name,
            object="response",
            output=self._next(input),
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
        )

    def _next(self, input: str | list[Any]) -> list[ResponseOutputItem]:
        items: list[Any] = [{"role": "user", "content": input}] if isinstance(input, str) else input
        prompt = next((str(one["content"]) for one in items if one.get("role") == "user"), "")
        script = self._scripts.get(prompt, ())
        done = sum(one.get("type") == "function_call" for one in items)
        for number, turn in enumerate(script):
            if done < sum(len(one) for one in script[: number + 1]):
                return [_called(call, done + place) for place, call in enumerate(turn)]
        heard = [one["output"] for one in items if one.get("type") == "function_call_output"]
        return [_said(json.dumps(heard) if script else prompt)]


def _called(call: Call, number: int) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        type="function_call",
        id=f"item-{number}",
        call_id=f"call-{number}",
        name=call.tool,
        arguments=json.dumps(dict(call.arguments)),
        status="completed",
    )


def _said(text: str) -> ResponseOutputMessage:
    said = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(id="said", type="message", role="assistant", status="completed", content=[said])
