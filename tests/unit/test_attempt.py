"""A step's own name: the same for all its attempts, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from remit.attempt import Attempt
from remit.delegation import Reference
from remit.step import Call
from remit.vault.paths import join

ATTEMPT = Attempt(
    reference=Reference("4f2b0c9e-7d1a-4a52-9d6b-0d1f0a3c5e11", "A" * 43),
    namespace="default",
    task="task",
    run="run",
    first_run="first",
    activity="1",
    attempt=1,
    step=1,
    tool="pay",
    call=Call(action="pay", resource="account", input={"amount": 1}),
)


def test_it_is_the_same_for_every_attempt_in_whatever_run_and_under_whatever_delegation() -> None:
    other = Reference("00000000-0000-4000-8000-000000000000", "B" * 42 + "A")
    reworded = Call(action="pay", resource="account", input={"amount": 1, "note": "again"})
    for again in (
        replace(ATTEMPT, attempt=2, activity="9"),
        replace(ATTEMPT, run="another"),
        replace(ATTEMPT, reference=other),
        replace(ATTEMPT, call=reworded),
    ):
        assert again.name == ATTEMPT.name


@pytest.mark.parametrize(
    "other",
    [
        {"step": 2},
        {"task": "another"},
        {"first_run": "another"},
        {"namespace": "another"},
        {"namespace": "default\ntask", "task": ""},
        {"task": 'task","first', "first_run": ""},
    ],
)
def test_another_step_has_another(other: dict[str, object]) -> None:
    assert replace(ATTEMPT, **other).name != ATTEMPT.name  # type: ignore[arg-type]


def test_it_may_stand_in_a_path() -> None:
    hostile = replace(ATTEMPT, task="../../sys/policies/acl/root\x00*")
    assert join("once", hostile.name) == f"once/{hostile.name}"
