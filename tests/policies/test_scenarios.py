"""Every scenario file gets its answer, from the sliced and from the whole policy set, and every policy matters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

import pytest
import yaml

from remit.catalogue import Catalogue
from remit.policy import PolicyEngine
from remit.policy.source import Source
from remit.verdict import Verdict
from tests.policies.questions import POLICIES, Scenario

SCENARIOS = Scenario.all()
SOURCE = Source.read(POLICIES)
NAMES = PolicyEngine.load(POLICIES).policies


@cache
def engine(catalogue: str, without: str | None = None) -> PolicyEngine:
    kept = {
        file: "\n".join(
            statement.text
            for statement in SOURCE.statements()
            if statement.file == file and f'@id("{without}")' not in statement.text
        )
        for file in SOURCE.policies
    }
    source = SOURCE if without is None else Source(SOURCE.folder, SOURCE.schema, kept)
    return PolicyEngine(source, Catalogue.parse(catalogue))


@cache
def catalogue(place: int) -> str:
    return yaml.safe_dump(SCENARIOS[place].catalogue().model_dump(mode="json"))


def asked(scenario: Scenario, without: str | None = None) -> Verdict:
    return scenario.put(engine(catalogue(SCENARIOS.index(scenario)), without))


@contextmanager
def unsliced() -> Iterator[None]:
    with patch("remit.policy.asking.can_match", return_value=True):
        yield


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario) -> None:
    verdict = asked(scenario)
    assert verdict.decision == scenario.answer, verdict
    expected = scenario.asked.get("expect", {})
    for field in ("policies", "approvers"):
        if field in expected:
            assert sorted(getattr(verdict, field)) == sorted(expected[field]), verdict
    for field in ("ttl", "wait"):
        if field in expected:
            assert getattr(verdict, field) == expected[field], verdict
    assert bool(verdict.errors) == expected.get("errors", False), verdict
    assert verdict.reason


def test_a_slice_answers_as_the_whole_set_does() -> None:
    for scenario in SCENARIOS:
        with unsliced():
            whole = scenario.put(PolicyEngine(SOURCE, scenario.catalogue()))
        assert whole == asked(scenario), scenario.name


@pytest.mark.parametrize("name", NAMES)
def test_dropping_a_policy_flips_a_scenario(name: str) -> None:
    assert any(asked(one, without=name).decision != one.answer for one in SCENARIOS), f"nothing notices: {name}"
