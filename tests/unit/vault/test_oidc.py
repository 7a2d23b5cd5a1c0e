"""Which visits to the loopback listener count as the browser coming back."""

from __future__ import annotations

import pytest

from remit.vault.oidc import _came_back, _page

STATE = "st_abc"


def head(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1")


def test_the_code_of_this_login() -> None:
    assert _came_back(head(f"/oidc/callback?code=c%2B1&state={STATE}"), STATE) == ("c+1", None)


def test_a_refusal_of_this_login() -> None:
    code, error = _came_back(head(f"/oidc/callback?error=access_denied&state={STATE}"), STATE)
    assert code is None
    assert error == "the provider says 'access_denied'"
    _, error = _came_back(head(f"/oidc/callback?error=%3Cscript%3E%0d%0aX&state={STATE}"), STATE)
    assert error is not None
    assert not set(error) & set("<>\r\n")


@pytest.mark.parametrize(
    "request_head",
    [
        head("/oidc/callback?code=c&state=other"),
        head("/oidc/callback?code=c"),
        head(f"/oidc/callback?code=c&state={STATE}&state=other"),
        head(f"/elsewhere?code=c&state={STATE}"),
        head(f"/oidc/callback?code=c&state={STATE}", "POST"),
        b"\xff\xfe\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_anything_else_is_ignored(request_head: bytes) -> None:
    assert _came_back(request_head, STATE) == (None, None)


def test_two_codes_are_a_refusal() -> None:
    code, error = _came_back(head(f"/oidc/callback?code=a&code=b&state={STATE}"), STATE)
    assert code is None
    assert error


def test_a_page_is_a_whole_answer() -> None:
    top, body = _page(200, "done").split(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in top
