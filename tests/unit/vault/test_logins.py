"""Sessions and step logins as values."""

from __future__ import annotations

import pytest

from remit.errors import Refused
from remit.vault import Session, StepLogin, Token
from remit.vault.steps import answered, request

AUTH = {"client_token": "s.secret", "accessor": "acc", "entity_id": "e", "lease_duration": 100}


def test_a_session_is_read_from_a_login() -> None:
    session = Session.from_answer({"auth": AUTH}, now=1000.0)
    assert (session.token, session.accessor, session.entity_id) == ("s.secret", "acc", "e")
    assert session.expires_at == 1100.0
    assert session.fresh(1079.0)
    assert not session.fresh(1080.0)


def test_a_long_session_is_renewed_a_minute_before_its_end() -> None:
    session = Session("t", expires_at=10_000.0, ttl=9000)
    assert session.fresh(9939.0)
    assert not session.fresh(9940.0)
    assert Session("t").fresh(1e12)


@pytest.mark.parametrize("answer", [{}, {"auth": None}, {"auth": {}}, {"auth": {"client_token": ""}}, {"auth": "x"}])
def test_a_login_without_a_token_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(Refused) as caught:
        Session.from_answer(answer, now=0)
    assert caught.value.code == "vault.login"
    with pytest.raises(Refused):
        answered(answer)
    with pytest.raises(Refused):
        answered(None)


def test_secrets_are_in_no_repr() -> None:
    assert "s.secret" not in repr(Session.from_answer({"auth": AUTH}, now=0))
    assert "s.secret" not in repr(StepLogin("s.secret", "acc", 60)) + repr(Token("s.secret"))
    assert "acc" not in repr(StepLogin("s.secret", "acc", 60)).replace("accessor", "")


def test_where_a_step_logs_in() -> None:
    assert request("j", role="flights-ro", profile="openbao") == (
        "auth/remit-step/cel/login",
        {"role": "step", "jwt": "j"},
    )
    assert request("j", role="flights-ro", profile="vault") == (
        "auth/remit-step/login",
        {"role": "step-flights-ro", "jwt": "j"},
    )
    with pytest.raises(Refused):
        request("j", role="../admin", profile="vault")
    assert answered({"auth": AUTH}) == StepLogin("s.secret", "acc", 100)
