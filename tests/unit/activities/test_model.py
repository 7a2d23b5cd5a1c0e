"""What a model is asked, offered and heard of: pydantic-ai's messages, read closely."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from temporalio.exceptions import ApplicationError

from activities import model, sql
from remit.errors import Refused, Usage
from remit.settings import ModelSettings
from remit.step import arguments_digest
from remit.temporal import tool
from remit.temporal.tool import declared_by

OFFERED = model.offers_of([sql.query])
SQL = {"dataset": "flights", "sql": "select 1"}


def answered(*parts: Any, **more: Any) -> dict[str, Any]:
    return model._answer(ModelResponse(list(parts), **more), OFFERED)


def question(*turns: dict[str, Any]) -> dict[str, Any]:
    return {"model": "planner", "instructions": "Go.", "conversation": list(turns)}


def asks(argument: dict[str, Any]) -> Any:
    declared = declared_by(model.asking(SimpleNamespace(), {}, [sql.query]))  # type: ignore[arg-type]
    assert declared is not None
    return declared.call([argument])


def test_a_call_is_read() -> None:
    answer = answered(TextPart("First:"), ToolCallPart("sql_query", SQL, "c-1"))
    assert answer["calls"] == [{"call": "c-1", "name": "sql_query", "tool": "sql.query", "input": SQL, "fault": ""}]
    assert (answer["text"], answer["offered"]) == ("First:", ["sql_query"])


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (ToolCallPart("drop", {}), "there is no tool 'drop'; there are: sql_query"),
        (ToolCallPart("sql.query", SQL), "there is no tool 'sql.query'"),
        (ToolCallPart("plan_ask", {}), "there is no tool 'plan_ask'"),
        (ToolCallPart("sql_query", "{"), "the arguments are not a JSON object"),
        (ToolCallPart("sql_query", "[1]"), "the arguments are not a JSON object"),
    ],
)
def test_what_cannot_be_called_is_said(part: ToolCallPart, fault: str) -> None:
    (call,) = answered(part)["calls"]
    assert fault in call["fault"]


def test_too_many_calls_at_once_are_not_made() -> None:
    calls = answered(*(ToolCallPart("sql_query", SQL, f"c-{number}") for number in range(40)))["calls"]
    assert [bool(call["fault"]) for call in calls] == [False] * 32 + [True] * 8


@pytest.mark.parametrize("reason", ["length", "content_filter", "error"])
def test_an_answer_that_breaks_off_is_no_result(reason: Any) -> None:
    with pytest.raises(ApplicationError) as refused:
        answered(TextPart("The three carri"), finish_reason=reason)
    assert (refused.value.type, refused.value.non_retryable) == ("model.unfinished", True)
    assert answered(ToolCallPart("sql_query", SQL), finish_reason=reason)["calls"]


def test_no_number_a_model_says_spoils_the_conversation() -> None:
    answer = answered(ToolCallPart("sql_query", {**SQL, "limit": 10**30}, "c-1"))
    told = {"role": "tools", "returns": [{"call": "c-1", "tool": "sql_query", "content": "Refused"}]}
    asked = asks(question({"role": "user", "text": "Go."}, {"role": "model", "message": answer["message"]}, told))
    assert arguments_digest(asked)
    assert answer["calls"][0]["input"]["limit"] == 10**30, "that call itself is refused as any such input is"


def test_half_a_character_is_no_answer() -> None:
    with pytest.raises(ApplicationError) as refused:
        answered(TextPart("x\ud800"))
    assert refused.value.type == "model.refused"


async def test_the_conversation_is_said_as_it_was() -> None:
    heard: list[list[ModelMessage]] = []

    def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        heard.append(messages)
        return ModelResponse([TextPart("Done.")])

    message = answered(ToolCallPart("sql_query", SQL, "c-1"))["message"]
    told = {"role": "tools", "returns": [{"call": "c-1", "tool": "sql_query", "content": "42"}]}
    asked = model.Question(**question({"role": "user", "text": "Go."}, {"role": "model", "message": message}, told))
    await model._request(FunctionModel(speak), asked, OFFERED)
    first, call, returned = heard[0]
    assert (first.parts[0].content, first.instructions) == ("Go.", "Go.")  # type: ignore[union-attr]
    assert call.parts[0].args_as_dict() == SQL  # type: ignore[union-attr]
    assert (returned.parts[0].content, returned.parts[0].tool_call_id) == ("42", "c-1")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "turn",
    [{}, {"role": "system", "text": "x"}, {"role": "user"}, {"role": "tools", "returns": [{"call": "c"}]}, "x"],
)
def test_a_conversation_that_is_none_is_refused(turn: Any) -> None:
    with pytest.raises(Refused) as refused:
        asks(question(turn))
    assert refused.value.code == "tool.input"


def test_a_message_of_another_library_is_final() -> None:
    with pytest.raises(ApplicationError) as refused:
        model._messages(model.Question(**question({"role": "model", "message": {"kind": "poem"}})))
    assert (refused.value.type, refused.value.non_retryable) == ("tool.input", True)


class Nothing(BaseModel):
    pass


@tool(name="crew/notes & more", action="dataset:query", resource="flights")
async def notes(nothing: Nothing) -> None:
    """Return nothing."""


def test_a_tool_has_a_name_every_provider_takes() -> None:
    assert [one.name for one in model.offers_of([sql.query, notes, len])] == ["sql_query", "crew_notes___more"]
    with pytest.raises(Usage):
        model.offers_of([sql.query, sql.query])


def test_without_the_library_a_worker_with_models_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai.providers", None)
    with pytest.raises(Usage) as refused:
        model.configured({"planner": ModelSettings(model="openai:x")})
    assert refused.value.code == "model.library"
    assert "REMIT_PLANNERS" in refused.value.diagnostics()
    assert model.configured({}) == {}
