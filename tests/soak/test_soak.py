"""The soak, short: half a minute of random stops and kills, then every invariant."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from remit.bootstrap import logins
from tests.faults.conftest import LOGIN_SECONDS
from tests.soak import plan
from tests.soak.checks import Effect, effects, judged
from tests.soak.run import soaked
from tests.soak.soak import Reinstatement, Stop
from tests.unit import documents


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


CHAIN = documents.verified(documents.chain(2))
ROOT, LEAF = CHAIN.ids


def permit(at: float, user: str = "d-1") -> dict[str, Any]:
    return {"outcome": "permitted", "time": at, "chain": [ROOT, LEAF], "lease": {"user": user}, "task": "t", "step": 1}


def found(permits: list[dict[str, Any]], happened: list[Effect], *stops: Stop) -> list[str]:
    return judged(permits, happened, chains={LEAF: CHAIN}, stops=list(stops))


@pytest.mark.parametrize("subject", [ROOT, LEAF, "user/alice", "agent/agent-0", "agent/agent-1"])
def test_nothing_happens_under_a_stop_from_its_acknowledgement_until_it_is_lifted(subject: str) -> None:
    stop = Stop(subject, final=False, asked=99.5, acknowledged=100.0)
    effect = Effect(99.9, "d-1", "select 1")
    assert found([permit(99.0)], [effect], stop) == []
    assert len(found([permit(99.0)], [effect, replace(effect, at=100.1)], stop)) == 1
    assert len(found([permit(100.1)], [], stop)) == 1
    assert found([permit(101.0)], [replace(effect, at=101.1)], replace(stop, lifted=100.5)) == []
    assert found([permit(101.0)], [], Stop("agent/agent-2", final=True, asked=99.5, acknowledged=100.0)) == []


def test_what_went_through_a_revoked_principal_stays_dead_after_it_is_reinstated() -> None:
    dated = CHAIN.leaf.iat
    revoked = Stop("agent/agent-0", final=True, asked=dated, acknowledged=dated + 10.0, lifted=dated + 20.0)
    assert len(found([permit(dated + 30.0)], [], revoked)) == 1
    before = replace(revoked, acknowledged=dated - 20.0, lifted=dated - 10.0)
    assert found([permit(dated + 30.0)], [], before) == [], "it was delegated after the reinstatement"


def test_of_two_calls_that_overlap_either_may_come_last() -> None:
    stop = Stop(LEAF, final=False, asked=100.0, acknowledged=105.0)
    assert Reinstatement(LEAF, asked=99.0, returned=100.5).lifts(stop)
    assert Reinstatement(LEAF, asked=104.0, returned=107.0).lifts(stop)
    assert Reinstatement(LEAF, asked=110.0).lifts(stop), "it came later"
    assert not Reinstatement(LEAF, asked=98.0, returned=99.5).lifts(stop), "it was over before the stop was asked for"
    assert not Reinstatement(ROOT, asked=104.0).lifts(stop)
    assert not Reinstatement(LEAF, asked=110.0).lifts(replace(stop, final=True)), "a delegation's revocation is final"
    assert Reinstatement("user/bob", asked=110.0).lifts(replace(stop, subject="user/bob", final=True))


def test_an_effect_has_a_record_from_before_it() -> None:
    effect = Effect(99.9, "d-1", "select 1")
    assert found([permit(99.0)], [effect]) == []
    assert len(found([permit(99.95)], [effect])) == 1
    assert len(found([permit(99.0, user="d-2")], [effect])) == 1


@pytest.mark.servers
@pytest.mark.timeout(900)
async def test_nothing_breaks_while_work_is_stopped_and_servers_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", "20"))
    with mock.patch.object(logins, "STEP_SECONDS", LOGIN_SECONDS):
        done, violations = await soaked(tmp_path, seed=seed, tasks=20, seconds=25, kills=3, principals=1)
    assert not violations, "\n".join([f"seed {seed}", *violations])
    assert done["done"]["effects seen"] > done["done"]["permits seen"] > done["jobs"]
