"""What an assistant is given: escaped, bounded, and honest about what was cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.assistant import answers
from remit.assistant.answers import answer, refusal
from remit.audit import plain
from remit.errors import Held, Refused

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


def room(value: Any) -> int:
    return len(json.dumps(value))


class TestAnswer:
    @given(document=st.dictionaries(st.text(), VALUES, max_size=5))
    def test_it_is_json_without_control_or_direction_characters(self, document: dict[str, Any]) -> None:
        said = answer(document)
        assert json.loads(json.dumps(said, allow_nan=False)) == said
        assert plain(said) == said
        assert json.dumps(said).isprintable()

    def test_what_is_short_and_plain_is_as_it_was(self) -> None:
        document = {"task": "task-1", "steps": [{"n": 1, "ok": True, "ms": 1.5, "none": None}], "who": "José"}
        assert answer(document) == {"note": answers.NOTE, **document}

    def test_a_tuple_is_a_list_and_a_number_json_cannot_carry_is_named(self) -> None:
        said = answer({"a": (1, 2), "b": float("nan"), "c": 10**5000})
        assert (said["a"], said["b"], said["c"]) == ([1, 2], "float", "int")

    def test_a_long_text_is_cut_and_says_by_how_much(self) -> None:
        said = answer({"a": "x" * 5000})["a"]
        assert said.startswith("x" * answers.LONGEST_TEXT + "…")
        assert said.endswith("1000 more characters]")

    @pytest.mark.parametrize(
        "huge",
        [
            {"a": ["x" * 3000] * 1000}, {f"k{n}": "x" * 3000 for n in range(1000)}, {"a": [[[0] * 150] * 150] * 150},
            {"a": [{"b": ["y" * 100] * 150} for _ in range(150)]}, {"x" * 100_000: 1}, {"a": ["\x1b" * 4000] * 100},
        ],
        ids=["texts", "keys", "numbers", "objects", "name", "escapes"],
    )  # fmt: skip
    def test_all_of_it_is_bounded_and_says_that_it_was_cut(self, huge: dict[str, Any]) -> None:
        said = answer(huge)
        assert room(said) < 4 * answers.LARGEST
        assert "cut here" in json.dumps(said)

    @pytest.mark.parametrize("room", range(answers.LARGEST - 60, answers.LARGEST + 10))
    def test_no_name_is_cut_for_want_of_room(self, room: int) -> None:
        said = answer({"delegations": [{"delegation": "x" * 3000}] * 100, "after": 1})
        assert said.keys() == {"note", "delegations", "cut"}
        assert all(one.keys() == {"delegation"} for one in said["delegations"][:-1])
        filled = answer({"a": ["x" * 3000] * (room // 3002) + ["x" * (room % 3002)], "after": {"inner": 1}})
        assert filled.keys() <= {"note", "a", "after", "cut"}
        assert filled.get("after", {}).keys() <= {"inner", "cut"}

    def test_depth_is_bounded(self) -> None:
        deep: Any = 1
        for _ in range(500):
            deep = [deep]
        assert "cut here" in json.dumps(answer({"a": deep}))


class TestRefusal:
    def test_it_is_the_code_and_what_to_do(self) -> None:
        assert refusal(Refused("no\x1b", code="a.b", next_action="Do this.")) == {
            "error": {"code": "a.b", "message": "no\\u001b", "next_action": "Do this."}
        }
        assert refusal(Held("no answer", code="c"))["error"]["code"] == "c"

    def test_of_what_nobody_foresaw_only_the_type_is_told(self) -> None:
        said = refusal(KeyError("s.secret-token"))["error"]
        assert said["code"] == "internal"
        assert "KeyError" in said["message"]
        assert "secret" not in json.dumps(said)
