"""What the reaper reports, and the SQL it lends itself."""

from __future__ import annotations

import json

import pytest

from remit.reaping import report, sweep
from remit.reaping.leases import _seconds
from remit.reaping.report import Findings


def test_a_run_that_found_nothing_says_so_and_is_not_audited() -> None:
    found = Findings()
    assert not found
    plain = found.document(ms=3.14159)
    assert plain["ms"] == 3.1
    assert set(plain["done"]) == set(report.WORDS)
    assert report.summary(plain) == "nothing to do"
    assert report.well(plain)


def test_what_was_done_is_counted_and_the_first_few_are_named() -> None:
    found = Findings()
    for number in range(30):
        found.did(report.ORPHANS, f"sha256:{number}")
        found.left(report.REVOKED, f"sha256:{number}", "vault.rejected")
    assert found
    plain = json.loads(json.dumps(found.document(ms=1)))
    assert (plain["done"][report.ORPHANS], plain["pending"]) == (30, 30)
    assert len(plain["named"][report.ORPHANS]) == len(plain["pending_first"]) == report.NAMED
    assert report.summary(plain) == "30 orphans, 30 pending"
    assert not report.well(plain)
    shown = report.markdown(plain)
    assert "| 30 | leases nobody had recorded revoked |" in shown
    assert "`vault.rejected`" in shown


def test_an_outage_is_told_and_is_nothing_to_audit() -> None:
    found = Findings(unreachable={"database": "vault.failed"}, not_set_up={"other": "postgres.3F000"})
    assert not found
    plain = found.document(ms=1)
    assert report.summary(plain) == "database unreachable (vault.failed), other not set up (postgres.3F000)"
    assert not report.well(plain)


def test_a_run_that_failed_says_why() -> None:
    assert report.summary({"failed": "TimeoutError"}) == "failed: TimeoutError"
    assert "TimeoutError" in report.markdown({"failed": "TimeoutError"})
    assert not report.well({"failed": "TimeoutError"})


def test_a_lease_is_named_as_in_audit_records() -> None:
    assert report.digest("database/creds/flights-ro/x").startswith("sha256:")
    assert "flights" not in report.digest("database/creds/flights-ro/x")


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-01-01T00:00:00.123456789Z", 1767225600.123456),
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T01:00:00.5+01:00", 1767225600.5),
    ],
)
def test_times_of_openbao_are_read_to_the_microsecond(moment: str, seconds: float) -> None:
    assert _seconds(moment) == pytest.approx(seconds, abs=1e-6)


def test_every_lent_function_looks_nowhere_else_and_is_nobody_elses() -> None:
    functions = [one for one in sweep.SETUP if one.startswith("CREATE OR REPLACE FUNCTION")]
    assert len(functions) == len(sweep.NAMES) == 3
    for one in functions:
        assert "SECURITY DEFINER SET search_path = pg_catalog, pg_temp" in one
        assert "remit.expired_users" in one
    revoked = next(one for one in sweep.SETUP if one.startswith("REVOKE"))
    assert "FROM PUBLIC" in revoked
    assert all(name in revoked for name in sweep.NAMES)
    assert sweep.SETUP.index(revoked) > sweep.SETUP.index(functions[-1])
