"""Answers: what OpenBao's HTTP answers mean.

- 403 and other 4xx are a no (`Refused`); it stays a no when asked again.
- Sealed, busy, standby, failing or silent is not a no (`Held`): the step waits and asks again.
- A redirect is never followed: it would carry the token to wherever it points. The plain one a standby gives (307)
  holds, any other refuses.
- 404 is None for whoever reads; what that means is the reader's decision, and never "fine".
"""

from __future__ import annotations

import json
from typing import Any, cast

from remit.errors import Held, Refused, RemitError

CONFLICT = b"check-and-set parameter did not match"
_ADDRESS = "Point the address at the active node itself (REMIT_OPENBAO_ADDRESS)."
_AGAIN = "It is tried again; see OpenBao's health and log."


def read(status: int, body: bytes, *, asked: str) -> dict[str, Any] | None:
    """Return the JSON object of a good answer; None when there is none (204) or nothing is there (404).

    Args:
        asked: Method and path, for messages.

    Raises:
        Refused: ``vault.forbidden``, ``vault.redirect`` or ``vault.rejected``.
        Held: ``vault.sealed``, ``vault.busy``, ``vault.standby`` or ``vault.failed``.
    """
    if status == 200:
        return parse(body, asked=asked)
    if status in (204, 404):
        return None
    raise failure(status, body, asked=asked)


def parse(body: bytes, *, asked: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Held: ``vault.failed`` for anything else: this is no answer of OpenBao's.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Held(f"{asked}: the answer is not JSON", code="vault.failed", next_action=_AGAIN)
    return cast(dict[str, Any], value)


def failure(status: int, body: bytes, *, asked: str) -> RemitError:
    """Return the error that a bad status stands for."""
    words = said(body)
    if status == 403:
        return Refused(
            f"OpenBao forbids {asked}",
            code="vault.forbidden",
            next_action="Log in again, or ask the operator which policy covers it.",
        )
    if status == 307:
        return Held(f"{asked}: a standby answered", code="vault.standby", next_action=_ADDRESS)
    if 300 <= status < 400:
        return Refused(f"{asked}: a redirect ({status}) is not followed", code="vault.redirect", next_action=_ADDRESS)
    if status == 503:
        return Held(f"{asked}: OpenBao is sealed or down", code="vault.sealed", next_action="Unseal it.")
    if status == 429:
        return Held(f"{asked}: OpenBao is busy or a standby", code="vault.busy", next_action=_AGAIN)
    if status in (408, 412, 472, 473) or status >= 500 or status < 200:
        return Held(f"{asked}: OpenBao failed ({status}) {words}", code="vault.failed", next_action=_AGAIN)
    return Refused(f"{asked}: OpenBao rejects it ({status}) {words}", code="vault.rejected")


def is_conflict(status: int, body: bytes) -> bool:
    """Tell whether a compare-and-set lost."""
    return status == 400 and CONFLICT in body


def is_stale_token(status: int, body: bytes) -> bool:
    """Tell whether the token itself was not known (expired or revoked), rather than its policies too narrow.

    OpenBao words a policy's no as a list ("1 error occurred: …"), an unknown token's as a bare sentence; HashiCorp
    Vault adds "invalid token" to the latter.
    """
    return status == 403 and (b"invalid token" in body or b"1 error occurred" not in body)


def said(body: bytes) -> str:
    """Return the server's own words, bounded and printable."""
    try:
        errors = json.loads(body)["errors"]
        text = "; ".join(str(error) for error in errors)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    text = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in text[:240])
