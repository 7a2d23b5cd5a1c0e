import inspect
import json

import pytest

from remit import errors
from remit.errors import (
    Denied,
    Held,
    InvalidDocument,
    NeedsApproval,
    NotLive,
    OverBudget,
    Refused,
    Rejected,
    RemitError,
    Usage,
)

EXAMPLES = [
    (Refused("no"), "refused", 1),
    (InvalidDocument("bad", code="chain.exp", rule=9), "chain.exp", 1),
    (Denied("no", policies=("p1",)), "policy.denied", 1),
    (NeedsApproval("wait", request={"request": "r"}), "approval.needed", 1),
    (Rejected("no"), "approval.rejected", 1),
    (NotLive("stop", status="revoked", subject="d"), "chain.revoked", 1),
    (OverBudget("enough"), "budget.exceeded", 1),
    (Usage("what?"), "usage", 2),
    (Held("down"), "held", 3),
]


@pytest.mark.parametrize(("error", "code", "status"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_code_exit_status_and_facts(error, code, status):
    assert (error.code, error.exit_status) == (code, status)
    assert json.loads(json.dumps(error.facts()))["code"] == code


@pytest.mark.parametrize(("error", "_code", "_status"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_only_an_outage_is_tried_again(error, _code, _status):
    assert error.retryable is isinstance(error, Held)


def test_every_error_is_in_the_examples():
    tree = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RemitError)}
    assert tree - {RemitError} == {type(error) for error, _, _ in EXAMPLES}


def test_facts_carry_what_each_error_adds():
    assert InvalidDocument("bad", rule=7).facts()["rule"] == 7
    assert Denied("no", policies=("p1", "p2")).facts()["policies"] == ["p1", "p2"]
    assert NotLive("stop", status="suspended", subject="d").facts()["subject"] == "d"


def test_diagnostics_are_one_or_two_lines():
    assert Held("down").diagnostics() == "down [held]"
    assert Held("down", next_action="Start it.").diagnostics() == "down [held]\nStart it."
