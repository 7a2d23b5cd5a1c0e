"""What a task and a model said to each other stays small, and says where it was cut."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workflows import conversation

CALL = {"call": "c-1", "name": "sql_query"}


def tools(*contents: str) -> dict[str, Any]:
    return {"role": "tools", "returns": [conversation.returned(CALL, content) for content in contents]}


def test_what_a_tool_returns_is_read_as_text() -> None:
    assert conversation.returned(CALL, "42") == {"call": "c-1", "tool": "sql_query", "content": "42"}
    assert conversation.returned(CALL, {"b": 1, "a": "é"})["content"] == '{"a": "é", "b": 1}'
    long = conversation.returned(CALL, "x" * 100_000)["content"]
    assert len(long) < 33_000
    assert long.endswith("(shortened)")


def test_what_fits_is_left_alone() -> None:
    short = [*conversation.begun("go"), tools("42")]
    assert conversation.fitted(short) == short


def test_the_oldest_returns_are_shortened_first() -> None:
    long = [*conversation.begun("go"), *(tools("x" * 30_000) for _ in range(12))]
    fitted = conversation.fitted(long)
    assert fitted is not None
    sizes = [len(turn["returns"][0]["content"]) for turn in fitted[1:]]
    assert sizes == sorted(sizes)
    assert sizes[0] < 600
    assert sizes[-1] == 30_000
    assert len(json.dumps(fitted)) <= conversation.LONGEST
    assert long[1]["returns"][0]["content"] == "x" * 30_000, "what was given is left alone"


def test_what_came_last_is_shortened_when_nothing_else_helps() -> None:
    old, new = tools("x" * 30_000), tools(*("é" * 30_000 for _ in range(10)))
    fitted = conversation.fitted([*conversation.begun("go"), old, new])
    assert fitted is not None
    assert len(fitted[1]["returns"][0]["content"]) < 600
    assert {len(one["content"]) for one in fitted[2]["returns"]} == {2 * 1024 + len(" … (shortened)")}


def test_what_no_digest_carries_is_told_otherwise() -> None:
    assert conversation.returned(CALL, {"a": "x\ud800"})["content"] == '{"a": "x?"}'


def test_what_cannot_be_shortened_is_too_long() -> None:
    said = {"role": "model", "message": {"parts": ["x" * 300_000]}}
    assert conversation.fitted([*conversation.begun("go"), said]) is None
    assert conversation.fitted(conversation.begun("x" * 300_000)) is None


@given(st.lists(st.lists(st.text(max_size=60_000).map(lambda text: text * 8), max_size=3), max_size=12))
def test_what_fits_always_fits(returns: list[list[str]]) -> None:
    fitted = conversation.fitted([*conversation.begun("go"), *(tools(*one) for one in returns)])
    assert fitted is None or len(json.dumps(fitted)) <= conversation.LONGEST
