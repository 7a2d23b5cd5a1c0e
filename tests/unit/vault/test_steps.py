"""Step logins: what is sent for each profile, and what counts as an answer."""

from __future__ import annotations

from typing import Any

import pytest

from remit.errors import Refused
from remit.vault.steps import StepLogin, answered, request


def test_one_role_for_all_steps_or_one_for_each_credential_role() -> None:
    assert request("jwt", role="flights-ro", profile="openbao") == (
        "auth/remit-step/cel/login",
        {"role": "step", "jwt": "jwt"},
    )
    assert request("jwt", role="flights-ro", profile="vault") == (
        "auth/remit-step/login",
        {"role": "step-flights-ro", "jwt": "jwt"},
    )


def test_a_role_is_a_name() -> None:
    with pytest.raises(Refused) as refused:
        request("jwt", role="../x", profile="vault")
    assert refused.value.code == "vault.name"


def test_a_login() -> None:
    auth = {"client_token": "s.1", "accessor": "a1", "lease_duration": 60, "policies": ["step-x"]}
    assert answered({"auth": auth}) == StepLogin("s.1", "a1", 60)
    assert answered({"auth": {**auth, "lease_duration": None}}).ttl == 0
    assert "s.1" not in repr(answered({"auth": auth}))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"auth": None},
        {"auth": "s.1"},
        {"auth": {}},
        {"auth": {"client_token": "s.1"}},
        {"auth": {"client_token": "", "accessor": "a1"}},
        {"auth": {"client_token": "s.1", "accessor": None}},
    ],
)
def test_what_is_no_login(answer: Any) -> None:
    with pytest.raises(Refused) as refused:
        answered(answer)
    assert refused.value.code == "vault.login"
