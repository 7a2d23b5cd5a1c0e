"""Claims: the bounds of what a member may be, by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from remit.claims import Claims
from remit.errors import InvalidDocument


def read(value: Any) -> Claims:
    return Claims({"a": value}, document="x", required=frozenset({"a"}))


@pytest.mark.parametrize("length", [1, 2, 256])
def test_text_within_its_bounds(length: int) -> None:
    assert read("t" * length).text("a") == "t" * length
    assert read("t" * length).text("a", most=length) == "t" * length


@pytest.mark.parametrize("value", ["", "t" * 257, 1, None, ["t"]])
def test_text_beyond_them(value: Any) -> None:
    with pytest.raises(InvalidDocument) as refused:
        read(value).text("a")
    assert (refused.value.code, refused.value.rule) == ("x.claims", 8)


@pytest.mark.parametrize("value", [0, 1, 2**53 - 1])
def test_numbers_begin_at_nought(value: int) -> None:
    assert (read(value).number("a"), read(value).time("a")) == (value, value)


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None])
def test_what_is_no_number(value: Any) -> None:
    for taken, code, rule in ((read(value).number, "x.claims", 8), (read(value).time, "x.time", 9)):
        with pytest.raises(InvalidDocument) as refused:
            taken("a")
        assert (refused.value.code, refused.value.rule) == (code, rule)
