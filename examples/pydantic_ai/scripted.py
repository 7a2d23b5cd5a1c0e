"""The model's part, played from the scenario: one call after the other, then everything it was told."""

from __future__ import annotations

import json

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from examples.scenario import CALLS


def _answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    told = [
        part
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]
    if len(told) < len(CALLS):
        call = CALLS[len(told)]
        return ModelResponse(parts=[ToolCallPart(call.tool, dict(call.arguments))])
    return ModelResponse(parts=[TextPart(json.dumps([part.content for part in told], default=str))])


model = FunctionModel(_answer, model_name="scripted")
