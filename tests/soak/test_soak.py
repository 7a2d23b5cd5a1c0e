"""The soak, short: about three quarters of a minute of random stops and kills, then every invariant."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak import plan
from tests.soak.checks import Effect, breaks, effects
from tests.soak.run import soaked
from tests.soak.soak import Stop


def test_the_same_seed_is_the_same_plan() -> None:
    one, other = (plan.make(seed, tasks=200, seconds=600, kills=20, principals=4) for seed in (7, 8))
    assert one == plan.make(7, tasks=200, seconds=600, kills=20, principals=4)
    assert one.acts != other.acts
    assert one.tasks >= 200
    assert {act.what for act in one.acts} == {"submit", "revoke", "suspend", "reinstate", "resume", "kill"}
    assert max(act.at for act in one.acts) <= 600


def test_what_minted_users_did_is_read_from_the_log(tmp_path: Path) -> None:
    (tmp_path / "postgres.log").write_text(
        "2026-01-02 03:04:05.678 UTC [7] d-1-x@flights LOG:  statement: BEGIN\n"
        "2026-01-02 03:04:05.679 UTC [7] d-1-x@flights LOG:  execute <unnamed>: select 1\n"
        "2026-01-02 03:04:05.680 UTC [8] postgres@flights LOG:  statement: select 2\n"
    )
    assert [one.statement for one in effects(tmp_path)] == ["BEGIN", "select 1"]
    assert next(effects(tmp_path)) == Effect(1767323045.678, "d-1-x", "BEGIN")


class _Chain:
    ids = ("a", "b")
    principals = ()
    links = ()


def test_a_stop_is_broken_from_its_acknowledgement_until_it_is_lifted() -> None:
    stop = Stop("b", final=False, acknowledged=100.0)
    assert breaks(99.0, _Chain(), [stop]) is None  # type: ignore[arg-type]
    assert breaks(101.0, _Chain(), [stop]) is stop  # type: ignore[arg-type]
    assert breaks(101.0, _Chain(), [replace(stop, lifted=100.5)]) is None  # type: ignore[arg-type]
    assert breaks(101.0, _Chain(), [replace(stop, subject="c")]) is None  # type: ignore[arg-type]


@pytest.mark.servers
@pytest.mark.timeout(900)
async def test_nothing_breaks_while_work_is_stopped_and_servers_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", "20"))
    done, violations = await soaked(tmp_path, seed=seed, tasks=20, seconds=40, kills=3, principals=1)
    assert not violations, "\n".join([f"seed {seed}", *violations])
    assert done["done"]["effects seen"] > done["done"]["permits seen"] > done["jobs"]
