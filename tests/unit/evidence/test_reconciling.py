"""OpenBao's log and the records: what each knows and the other does not, and what neither can know yet."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from remit.catalogue import Catalogue
from remit.evidence import openbao
from remit.evidence.openbao import Paths
from remit.evidence.reconciling import Reconciliation, reconcile
from tests.policies.questions import POLICIES

NOW = 1_800_000_000.0
PATHS = Paths.of(Catalogue.load(Path(POLICIES) / "catalogue.yaml"))
Entry = dict[str, Any]


def entry(at: float, path: str, *, session: str = "s1", operation: str = "read", **more: Any) -> Entry:
    auth = {"accessor": session, "display_name": "remit-step", "metadata": more.pop("metadata", {})}
    return {
        "time": datetime.fromtimestamp(NOW + at, UTC).isoformat(),
        "type": "response",
        "auth": auth,
        "request": {"id": f"{path}-{at}", "path": path, "operation": operation},
        "response": {"data": {"k": "v"}, "auth": auth if "login" in path else None, **more},
    }


def step(number: int = 1, task: str = "t", attempt: int = 1) -> dict[str, str]:
    return {"delegation": "d", "task": task, "step": str(number), "attempt": str(attempt)}


def login(at: float, number: int = 1, *, session: str = "s1") -> Entry:
    return entry(at, "auth/remit-step/cel/login", session=session, operation="update", metadata=step(number))


def creds(at: float, number: int = 1, *, session: str = "s1", lease: str = "l1") -> Entry:
    made = {"data": {"username": "d-1"}, "secret": {"lease_id": lease}, "metadata": step(number)}
    return entry(at, "database/creds/flights-ro", session=session, **made)


def named(lease: str) -> str:
    return "sha256:" + hashlib.sha256(lease.encode()).hexdigest()


def record(at: float, outcome: str, number: int = 1, *, lease: str | None = None, kind: str = "postgres") -> Entry:
    made: Entry = {"event": "attempt", "delegation": "d", "task": "t", "step": number, "attempt": 1, "ms": 50.0}
    made |= {"time": NOW + at, "outcome": outcome}
    if lease is not None:
        made |= {"grant": "g", "lease": {"kind": kind, "id": named(lease), "user": "d-1"}}
    return made


def compared(records: list[Entry], log: list[Entry], *, since: float = -100, now: float = 1000) -> Reconciliation:
    read = openbao.read(map(json.dumps, [entry(-50, "sys/health"), *log, entry(900, "sys/health")]), paths=PATHS)
    return reconcile(records, read, since=NOW + since, now=NOW + now)


def codes(found: Reconciliation) -> list[str]:
    return [one.code for one in found.findings]


DONE = [record(1, "permitted", lease="l1"), record(2, "ok", lease="l1")]


class TestBothWays:
    def test_they_agree(self) -> None:
        found = compared(DONE, [login(0.9), creds(0.95)])
        assert found.document()["agrees"] is True
        assert (found.counted["matched"], found.counted["leases"], found.counted["logins"]) == (1, 1, 1)

    def test_a_credential_without_a_record(self) -> None:
        found = compared(
            DONE, [login(0.9), creds(0.95), login(5, 7, session="s2"), creds(6, 7, session="s2", lease="l2")]
        )
        assert codes(found) == ["evidence.unrecorded"]
        assert found.findings[0].where["path"] == "database/creds/flights-ro"
        assert (found.findings[0].where["task"], found.findings[0].where["step"]) == ("t", "7")

    def test_one_that_passes_itself_off_as_a_recorded_attempt(self) -> None:
        again = [login(5, session="s2"), creds(6, session="s2", lease="l2")]
        assert codes(compared(DONE, [login(0.9), creds(0.95), *again])) == ["evidence.unrecorded"]

    def test_a_second_read_with_a_steps_own_login(self) -> None:
        assert codes(compared(DONE, [login(0.9), creds(0.95), creds(5, lease="l2")])) == ["evidence.unrecorded"]

    def test_a_login_alone(self) -> None:
        assert codes(compared([], [login(5)])) == ["evidence.unrecorded"]

    def test_a_record_of_what_was_never_given_out(self) -> None:
        found = compared(DONE, [])
        assert codes(found) == ["evidence.unread"]
        assert found.findings[0].where["lease"] == named("l1")

    def test_one_that_was_given_to_another_attempt(self) -> None:
        assert codes(compared(DONE, [login(0.9, 3), creds(0.95, 3)])) == ["evidence.mismatch"]

    def test_somebodys_own_read_of_a_secret(self) -> None:
        own = entry(5, "remit-secrets/data/weather-api", session="operator")
        assert codes(compared(DONE, [login(0.9), creds(0.95), own])) == ["evidence.unrecorded"]

    def test_a_static_secret_is_known_by_its_login(self) -> None:
        secret = entry(0.95, "remit-secrets/data/weather-api", metadata=step())
        assert codes(compared([record(1, "permitted", lease="s1", kind="secret")], [login(0.9), secret])) == []

    def test_where_accessors_are_hidden_the_attempt_tells(self) -> None:
        records = [record(1, "permitted", lease="s1", kind="secret")]
        hidden = {"session": "hmac-sha256:1"}
        secret = entry(0.95, "remit-secrets/data/weather-api", metadata=step(), **hidden)
        other = entry(0.95, "remit-secrets/data/weather-api", metadata=step(9), **hidden)
        assert codes(compared(records, [login(0.9, **hidden), secret])) == []
        assert codes(compared(records, [login(0.9, 9, **hidden), other])) == ["evidence.unrecorded", "evidence.unread"]


class TestRefused:
    def test_what_was_undone_has_its_refusal(self) -> None:
        found = compared([record(1, "refused")], [login(0.9), creds(0.95)])
        assert codes(found) == []
        assert found.counted["refused"] == 1

    def test_one_refusal_explains_one(self) -> None:
        twice = [login(0.9), creds(0.95), login(5, session="s2"), creds(6, session="s2", lease="l2")]
        assert codes(compared([record(1, "refused")], twice)) == ["evidence.unrecorded"]

    def test_one_that_was_refused_after_its_credential_was_made(self) -> None:
        assert codes(compared([record(1, "refused", lease="l1")], [login(0.9), creds(0.95)])) == []

    def test_what_openbao_refused_gave_nothing_out(self) -> None:
        refused = creds(5, 7) | {"error": "permission denied"}
        assert codes(compared([], [refused, login(5) | {"type": "request"}])) == []


class TestTokens:
    SIGNED = "transit/sign/remit-token"

    def test_a_signature_belongs_to_a_record_of_its_moment(self) -> None:
        assert codes(compared([record(1, "permitted", lease="g", kind="token")], [entry(0.97, self.SIGNED)])) == []

    @pytest.mark.parametrize("at", [-2, 5])
    def test_one_at_another_moment(self, at: float) -> None:
        found = compared([record(1, "permitted", lease="g", kind="token")], [entry(at, self.SIGNED)])
        assert codes(found) == ["evidence.unrecorded", "evidence.unread"]

    def test_one_without_any_attempt(self) -> None:
        assert codes(compared(DONE, [login(0.9), creds(0.95), entry(1, self.SIGNED)])) == ["evidence.unrecorded"]


class TestOutOfSight:
    def test_a_record_older_than_the_log(self) -> None:
        found = compared([record(-60, "permitted", lease="l1")], [])
        assert (codes(found), found.counted["before_log"]) == ([], 1)

    def test_a_record_younger_than_the_log(self) -> None:
        found = compared([record(950, "permitted", lease="l1")], [])
        assert (codes(found), found.counted["after_log"]) == ([], 1)

    def test_a_credential_older_than_the_records(self) -> None:
        found = compared([], [login(1), creds(2)], since=10)
        assert (codes(found), found.counted["before_records"]) == ([], 1)

    def test_a_credential_whose_record_is_under_way(self) -> None:
        found = compared([], [login(1), creds(2)], now=20)
        assert (codes(found), found.counted["too_young"]) == ([], 1)

    def test_the_reapers_own_user_is_counted(self) -> None:
        found = compared([], [entry(5, "database/creds/sweep", session="authority")])
        assert (codes(found), found.counted["sweeps"]) == ([], 1)

    def test_an_empty_log_knows_nothing(self) -> None:
        found = reconcile(DONE, openbao.Log(), since=NOW, now=NOW + 1000)
        assert (codes(found), found.counted["before_log"]) == ([], 1)


class TestLog:
    def test_lines_that_are_no_entries_are_counted(self) -> None:
        log = openbao.read(["", "x", "[]", '{"time": 1}', json.dumps(login(1))], paths=PATHS)
        assert (log.unreadable, len(log.reads)) == (3, 1)

    @pytest.mark.parametrize("other", [{"time": "x"}, {"time": None}, {"lease": [1]}, {"ms": "fast"}], ids=str)
    def test_a_record_that_was_tampered_with_is_counted(self, other: Entry) -> None:
        found = compared([*DONE, record(5, "permitted", lease="l9") | other], [login(0.9), creds(0.95)])
        assert (codes(found), found.counted["unreadable"]) == ([], 1)

    def test_a_log_in_parts(self) -> None:
        log = openbao.read([json.dumps(login(1))], paths=PATHS)
        openbao.read([json.dumps(creds(2))], paths=PATHS, into=log)
        assert [one.kind for one in log.reads] == ["login", "credential"]
        assert (log.begins, log.ends) == (NOW + 1, NOW + 2)

    @pytest.mark.parametrize("path", ["remit-secrets/config", "remit-secrets/metadata/weather-api", "transit/sign/x"])
    def test_what_gives_nothing_out(self, path: str) -> None:
        assert openbao.read([json.dumps(entry(1, path))], paths=PATHS).reads == []

    def test_a_secret_that_is_written(self) -> None:
        written = entry(1, "remit-secrets/data/weather-api", operation="create")
        assert openbao.read([json.dumps(written)], paths=PATHS).reads == []
