"""What OpenBao's answers mean."""

from __future__ import annotations

import json

import pytest

from remit.errors import Held, Refused
from remit.vault import answers

MEANINGS = {
    301: "vault.redirect",
    302: "vault.redirect",
    307: "vault.standby",
    308: "vault.redirect",
    400: "vault.rejected",
    401: "vault.rejected",
    403: "vault.forbidden",
    405: "vault.rejected",
    408: "vault.failed",
    412: "vault.failed",
    413: "vault.rejected",
    429: "vault.busy",
    472: "vault.failed",
    473: "vault.failed",
    500: "vault.failed",
    502: "vault.failed",
    503: "vault.sealed",
    504: "vault.failed",
}
FINAL = {"vault.redirect", "vault.rejected", "vault.forbidden"}


@pytest.mark.parametrize("status", MEANINGS)
def test_each_status_has_one_meaning(status: int) -> None:
    with pytest.raises((Refused, Held)) as caught:
        answers.read(status, b'{"errors":["why"]}', asked="read x")
    assert caught.value.code == MEANINGS[status]
    assert caught.value.retryable is (caught.value.code not in FINAL)
    assert "read x" in caught.value.message


@pytest.mark.parametrize("status", range(100, 600))
def test_no_status_but_three_passes(status: int) -> None:
    if status == 200:
        assert answers.read(status, b"{}", asked="x") == {}
    elif status in (204, 404):
        assert answers.read(status, b"{}", asked="x") is None
    else:
        with pytest.raises((Refused, Held)):
            answers.read(status, b"{}", asked="x")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"1", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_a_body_that_is_no_object_holds(body: bytes) -> None:
    with pytest.raises(Held):
        answers.read(200, body, asked="x")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"errors":1}', b'{"errors":null}', b"\xff\xfe", b"[" * 100_000])
def test_an_error_without_words_is_still_that_error(body: bytes) -> None:
    assert answers.failure(500, body, asked="x").code == "vault.failed"
    assert answers.said(body) == ""


def test_the_servers_words_are_bounded_and_printable() -> None:
    said = answers.said(json.dumps({"errors": ["a\n\tb\x1b[31m", "c" * 1000]}).encode())
    assert said.startswith("a b?[31m; ccc")
    assert len(said) <= 240


def test_conflicts_and_stale_tokens_are_told_apart() -> None:
    conflict = b'{"errors":["check-and-set parameter did not match the current version"]}'
    assert answers.is_conflict(400, conflict)
    assert not answers.is_conflict(403, conflict)
    assert not answers.is_conflict(400, b'{"errors":["missing cas"]}')
    assert answers.is_stale_token(403, b'{"errors":["permission denied"]}')
    assert answers.is_stale_token(403, b'{"errors":["2 errors occurred:\\n* permission denied\\n* invalid token"]}')
    assert not answers.is_stale_token(403, b'{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}')
    assert not answers.is_stale_token(400, b'{"errors":["permission denied"]}')
