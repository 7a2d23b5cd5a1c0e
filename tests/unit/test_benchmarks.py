"""The benchmarks' pure parts: figures, table, JSON, and that what needs no server runs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import pure, report, stops
from benchmarks.__main__ import options
from benchmarks.figures import Measure, Pair, compared, median_of, percentile
from remit.policy import PolicyEngine

POLICIES = Path(__file__).parents[2] / "policies"


def test_a_cost_is_governed_over_ungoverned_and_a_rate_the_other_way_round() -> None:
    pairs = [Pair(12.0, 10.0), Pair(30.0, 20.0), Pair(11.0, 10.0)]
    cost = compared("a", "a", pairs, unit="ms", target=1.25)
    assert (cost.measured, cost.against, cost.ratio, cost.met) == (12.0, 10.0, 1.2, True)
    assert (cost.details["ratio_low"], cost.details["ratio_high"]) == (1.1, 1.5)
    rate = compared("b", "b", [Pair(80.0, 100.0)], unit="/s", target=1.2, rate=True)
    assert (rate.ratio, rate.met) == (1.25, False)


def test_the_ratio_is_the_median_of_rounds_not_the_ratio_of_medians() -> None:
    pairs = [Pair(10.0, 10.0), Pair(40.0, 20.0), Pair(60.0, 30.0)]
    assert compared("a", "a", pairs, unit="ms", target=None).ratio == 2.0


@pytest.mark.parametrize(("judged", "met"), [("ratio", True), ("measured", False), ("difference", True)])
def test_a_target_is_about_one_figure(judged: str, met: bool) -> None:
    measure = Measure("a", "a", "B", measured=865.0, against=672.0, ratio=1.29, target=200.0, judged=judged)
    assert measure.met is met


def test_without_a_target_nothing_is_met_or_missed() -> None:
    assert Measure("a", "a", "ms", measured=1.0).met is None


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50.0, 99.0, 100.0)
    assert percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_median_is_per_call() -> None:
    now = iter([0.0, 2.0, 2.0, 6.0, 6.0, 12.0])
    assert median_of(lambda: None, clock=lambda: next(now), times=3, each=2) == 2.0


def test_the_document_says_what_was_measured_and_against_what() -> None:
    measures = [
        compared("sequential", "step", [Pair(12.0, 10.0)], unit="ms", target=1.25),
        Measure("chain-1", "chain", "ms", measured=0.3, target=0.2, judged="measured"),
    ]
    document = json.loads(json.dumps(report.document(measures, machine={"cpus": 2}, quick=True)))
    assert document["version"] == report.VERSION
    assert (document["quick"], document["machine"]) == (True, {"cpus": 2})
    first, second = document["measures"]
    assert first | {"details": None} == {
        "name": "sequential",
        "title": "step",
        "unit": "ms",
        "measured": 12.0,
        "against": 10.0,
        "ratio": 1.2,
        "difference": 2.0,
        "target": 1.25,
        "judged": "ratio",
        "met": True,
        "details": None,
    }
    assert first["details"]["rounds"] == [[12.0, 10.0]]
    assert (second["met"], second["against"], second["ratio"]) == (False, None, None)


def test_the_table_shows_each_measure_with_its_target() -> None:
    measures = [
        compared("a", "a step", [Pair(12.0, 10.0)], unit="ms", target=1.25),
        Measure("b", "history", "B", measured=865.0, against=672.0, ratio=1.29, target=200, judged="difference"),
        Measure("c", "chain", "ms", measured=0.3, target=0.2, judged="measured"),
        Measure("d", "no promise", "ms", measured=5.0),
    ]
    text = io.StringIO()
    Console(file=text, width=120, no_color=True).print(report.table(measures))
    lines = text.getvalue().splitlines()
    row = {key: next(line for line in lines if key in line) for key in ("a step", "history", "chain", "no promise")}
    assert "1.20×" in row["a step"]
    assert "≤ 1.25×" in row["a step"]
    assert "≤ +200 B" in row["history"]
    assert "not met" in row["chain"]
    assert "met" not in row["no promise"]


def stop(returned: float, *, dead: list[float], cancelled: list[float], closed: list[float]) -> stops.Stop:
    return stops.Stop(returned=returned, dead=dead, cancelled=cancelled, closed=closed, document={})


def test_a_revocation_counts_by_the_last_that_stopped_and_from_the_return_only_what_came_after() -> None:
    made = [stop(50, dead=[10, 40], cancelled=[30, 60], closed=[70, 90]) for _ in range(99)]
    made.append(stop(50, dead=[10, 170], cancelled=[30, 60], closed=[70, 20_000]))
    found = {one.name: one for one in stops.measures(2, made)}
    assert found["revoke-2-dead-from-call"].measured == 40
    assert found["revoke-2-dead-from-call"].details["max"] == 170
    assert (found["revoke-2-dead"].measured, found["revoke-2-dead"].met) == (0, True)
    assert found["revoke-2-dead"].details == {"p50": 0, "p99": 0, "max": 120, "count": 100, "revocations": 100}
    assert found["revoke-2-cancelled"].measured == 10
    assert (found["revoke-2-all"].measured, found["revoke-2-all"].details["max"]) == (90, 20_000)
    assert found["revoke-2-every-all"].details["count"] == 200


def test_tasks_that_do_not_stop_are_a_promise_not_kept() -> None:
    assert stops.broken(200, "199 sessions dead after 60 s", waited=60_000).met is False


def test_percentiles_have_a_table_of_their_own_that_says_when_they_are_few() -> None:
    spread = stops.measures(1, [stop(50, dead=[40], cancelled=[60], closed=[70])])
    assert len(report.tables([Measure("d", "no promise", "ms", measured=5.0), *spread])) == 2
    text = io.StringIO()
    Console(file=text, width=120, no_color=True).print(*report.tables(spread))
    assert "1 revocations are few" in text.getvalue()
    assert "last session dead, from the call" in text.getvalue()


def test_chains_and_decisions_are_measured_without_servers(tmp_path: Path) -> None:
    engine = PolicyEngine.load(POLICIES)
    chains = pure.verification(engine.groups, times=2)
    assert [one.name for one in chains] == ["chain-1", "chain-2", "chain-4", "chain-8", "chain-cached"]
    decisions = pure.decisions(POLICIES, tmp_path / "policies", times=1)
    assert [one.name for one in decisions] == ["decision-10", "decision-100", "decision-1000"]
    assert all(one.measured > 0 for one in chains + decisions)


def test_options_have_defaults_that_measure_everything() -> None:
    given = options([])
    assert (given.quick, given.only, given.json, given.tasks) == (False, None, Path("bench.json"), None)
    given = options(["--quick", "--only", "chain", "--only", "history", "--json", "x.json", "--tasks", "5"])
    assert (given.quick, given.only, given.json, given.tasks) == (True, ["chain", "history"], Path("x.json"), [5])
    with pytest.raises(SystemExit):
        options(["--only", "nothing"])
