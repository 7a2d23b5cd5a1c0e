"""A credential: what it says, and that it can be forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from remit.credentials import CREDENTIAL, Credential, current_credential
from remit.errors import Refused

SECRET = "canary-of-a-credential-3141"


def made() -> Credential:
    return Credential("p", "secret", "u", 1, {"username": "u", "token": SECRET})


def test_it_gives_its_fields_and_names_them_when_there_is_none() -> None:
    assert (made()["token"], made().secrets) == (SECRET, (SECRET,))
    with pytest.raises(Refused) as refused:
        made()["dsn"]
    assert refused.value.code == "credential.field"
    assert "token, username" in (refused.value.next_action or "")


def test_forgotten_it_gives_nothing_nor_does_its_copy() -> None:
    credential = made()
    renewed = replace(credential, expires_at=2)
    token = CREDENTIAL.set(credential)
    try:
        assert current_credential() is credential
        credential.forget()
        for ask in (current_credential, lambda: credential["token"], lambda: renewed["token"]):
            with pytest.raises(Refused) as refused:
                ask()
            assert refused.value.code == "credential.none"
    finally:
        CREDENTIAL.reset(token)
    assert credential.secrets == renewed.secrets == ()
    assert (credential.profile, credential.user) == ("p", "u"), "what is not secret stays"
