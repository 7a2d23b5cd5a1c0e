import json
import stat

import pytest

from remit.errors import Refused, Usage
from remit.session import MARGIN, Secrets, Session, Sessions

NOW = 1_800_000_000.0
ADDRESS = "https://127.0.0.1:8200"


def session(person="alice", *, address=ADDRESS, expires_at=NOW + 60):
    return Session(person, address, "s.secret-4711", "accessor", "entity", expires_at)


def test_what_is_kept_is_found_again(tmp_path):
    Sessions(tmp_path).keep(session())
    assert Sessions(tmp_path).find("alice", address=ADDRESS, now=NOW) == session()


def test_a_session_is_for_its_owner_only(tmp_path):
    Sessions(tmp_path).keep(session())
    assert stat.S_IMODE((tmp_path / "sessions").stat().st_mode) == 0o700
    for file in (tmp_path / "sessions").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("asked", "now"),
    [
        ({"person": "bob", "address": ADDRESS}, NOW),
        ({"person": "alice", "address": "https://elsewhere:8200"}, NOW),
        ({"person": "alice", "address": ADDRESS}, NOW + 60 - MARGIN),
        ({"person": "alice", "address": ADDRESS}, NOW + 3600),
    ],
)
def test_no_session_for_another_person_place_or_time(tmp_path, asked, now):
    Sessions(tmp_path).keep(session())
    assert Sessions(tmp_path).find(asked["person"], address=asked["address"], now=now) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"person": "alice"}', "\x00", json.dumps({"person": 1})])
def test_a_damaged_session_is_none(tmp_path, content):
    sessions = Sessions(tmp_path)
    sessions.keep(session())
    (tmp_path / "sessions" / "alice.json").write_text(content)
    assert sessions.find("alice", address=ADDRESS, now=NOW) is None


def test_the_token_is_not_in_its_repr():
    assert "4711" not in repr(session())


def test_who_acts_is_who_is_named_else_who_logged_in_last(tmp_path):
    sessions = Sessions(tmp_path)
    with pytest.raises(Refused) as refused:
        sessions.who(None)
    assert refused.value.code == "login.needed"
    sessions.keep(session("alice"))
    sessions.keep(session("bob"))
    assert sessions.who(None) == "bob"
    assert sessions.who("alice") == "alice"
    sessions.keep(session("carol"), last=False)
    assert sessions.who(None) == "bob"


@pytest.mark.parametrize("name", ["../alice", "", "Alice", "a/b", "a" * 42, "alice\n", "al\x00ice", "аlice"])
def test_a_name_that_is_none_reaches_no_path(tmp_path, name):
    sessions = Sessions(tmp_path)
    for call in (
        lambda: sessions.find(name, address=ADDRESS, now=NOW),
        lambda: sessions.password(name),
        lambda: sessions.forget(name),
        lambda: sessions.keep(session(name)),
    ):
        with pytest.raises(Usage) as refused:
            call()
        assert refused.value.code == "login.name"
    assert list(tmp_path.iterdir()) == []


def test_a_last_name_that_is_none_is_nobody(tmp_path):
    sessions = Sessions(tmp_path)
    sessions.keep(session())
    (tmp_path / "sessions" / "last").write_text("../../etc/passwd\n")
    assert sessions.last() is None


def test_a_generated_password_is_read_and_none_is_made_up(tmp_path):
    sessions = Sessions(tmp_path)
    assert sessions.password("alice") is None
    made = Secrets(tmp_path).made("passwords/alice")
    assert sessions.password("alice") == made == Secrets(tmp_path).made("passwords/alice")
    assert stat.S_IMODE((tmp_path / "passwords" / "alice").stat().st_mode) == 0o600


def test_forgetting(tmp_path):
    sessions = Sessions(tmp_path)
    sessions.forget("alice")
    sessions.keep(session())
    sessions.forget("alice")
    assert sessions.find("alice", address=ADDRESS, now=NOW) is None
