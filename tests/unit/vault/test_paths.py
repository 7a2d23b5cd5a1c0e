"""What may be asked of OpenBao at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.errors import Refused
from remit.principals import SAFE_NAME
from remit.vault.paths import checked, join, under

GOOD = [
    "/".join(["a"] * 256) + "b",
    "sys/health",
    "remit/data/epoch",
    "auth/remit-step/cel/login",
    "a",
    "transit/keys/x.Y_z-1",
    "v1/" + "a" * 63,
]
BAD = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "a/../b",
    "a/./b",
    "..",
    "a/..",
    "a/%2e%2e",
    "a?b",
    "a#b",
    "a b",
    "a\n",
    "a\x00",
    "a/*",
]
BAD += ["a/+", "a;b", "a'b", 'a"b', "a\\b", "ä", "a/" + "a" * 64, "a/-b", "a/_b", "/".join(["a"] * 300), "ａ"]


@pytest.mark.parametrize("path", GOOD)
def test_good_paths(path: str) -> None:
    assert checked(path) == path


@pytest.mark.parametrize("path", BAD)
def test_bad_paths(path: str) -> None:
    with pytest.raises(Refused) as caught:
        checked(path)
    assert caught.value.code == "vault.name"
    assert not caught.value.retryable


@pytest.mark.parametrize("name", [*BAD, "a/b", "A", "a.b", "a_b"])
def test_a_name_is_one_segment_or_nothing(name: str) -> None:
    with pytest.raises(Refused) as caught:
        join("remit/data", "good", name)
    assert caught.value.code == "vault.name"


@pytest.mark.parametrize("name", [*BAD, "a/b"])
def test_an_id_of_openbaos_own_is_one_segment_too(name: str) -> None:
    if name == "a":
        return
    with pytest.raises(Refused):
        under("transit/keys", name)
    assert under("transit/keys", "267ad7cf-6635.fyG7fa") == "transit/keys/267ad7cf-6635.fyG7fa"


@given(st.text(max_size=80))
def test_whatever_is_joined_adds_exactly_one_segment(name: str) -> None:
    try:
        path = join("remit/data", name)
    except Refused:
        assert not SAFE_NAME.fullmatch(name)
    else:
        assert checked(path).split("/") == ["remit", "data", name]


@given(st.text(max_size=200))
def test_nothing_that_passes_means_another_path(path: str) -> None:
    try:
        checked(path)
    except Refused:
        return
    assert path.isascii()
    assert not set(path) & set("%?#*+;:'\"\\ \r\n\t\x00")
    assert all(segment.strip(".") and not segment.startswith(".") for segment in path.split("/"))


def test_the_refusal_shows_the_name_escaped_and_short() -> None:
    with pytest.raises(Refused) as caught:
        checked("x\x1b[31m\r\n" + "y" * 500)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 200
