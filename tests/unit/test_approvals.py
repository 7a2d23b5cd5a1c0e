import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit import approvals
from remit.approvals import MAX_LIFETIME, Approval, check, distinct, rejection
from remit.errors import InvalidDocument
from remit.step import Call, binding, request_id
from tests.unit.documents import ALICE, AUDIENCE, BOB, CAROL, NOW, agent, user, uuid

CALL = Call("report:publish", "reports", {"table": "delays"})
WHERE = {"task": "task-1", "run": "run-1", "delegation": uuid(1)}
BINDING = binding(**WHERE, call=CALL)
REQUEST = request_id(BINDING, 3)
YES = Approval(
    jti=uuid(50),
    iss=BOB,
    aud=AUDIENCE,
    iat=NOW,
    exp=NOW + 600,
    request=REQUEST,
    binding=BINDING,
    decision="approve",
    reason="looks right",
)
PRINCIPALS = (ALICE, agent("agent-0"), agent("agent-1"))


def checked(approval, *, request=REQUEST, bound=BINDING, now=NOW):
    check(approval, request=request, binding=bound, audience=AUDIENCE, root=ALICE, principals=PRINCIPALS, now=now)


def refusal(approval, **named):
    with pytest.raises(InvalidDocument) as refused:
        checked(approval, **named)
    return refused.value.code


@pytest.mark.parametrize("one", [YES, dataclasses.replace(YES, decision="reject", reason=None)])
def test_claims_are_read_as_written(one):
    assert Approval.from_claims(one.to_claims()) == one
    checked(one)


def test_the_longest_words_pass():
    longest = dataclasses.replace(YES, reason="r" * approvals.MAX_REASON, request="r" * 64, iat=0)
    assert Approval.from_claims(longest.to_claims()) == longest


@pytest.mark.parametrize("name", sorted(set(YES.to_claims()) - {"reason"}))
def test_no_claim_may_be_missing(name):
    with pytest.raises(InvalidDocument) as refused:
        Approval.from_claims({key: value for key, value in YES.to_claims().items() if key != name})
    assert refused.value.code == "approval.claims"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("sub", "x", "approval.claims"),
        ("decision", "Approve", "approval.claims"),
        ("decision", True, "approval.claims"),
        ("decision", None, "approval.claims"),
        ("decision", ["approve"], "approval.claims"),
        ("binding", "short", "approval.claims"),
        ("binding", "é" * 43, "approval.claims"),
        ("request", "", "approval.claims"),
        ("request", "r" * 65, "approval.claims"),
        ("reason", "", "approval.claims"),
        ("reason", "r" * 501, "approval.claims"),
        ("reason", 1, "approval.claims"),
        ("iss", "bob", "approval.claims"),
        ("jti", "1", "approval.claims"),
        ("aud", [AUDIENCE], "approval.claims"),
        ("iat", 1.0, "approval.time"),
        ("exp", "1", "approval.time"),
        ("exp", True, "approval.time"),
    ],
)
def test_claims_are_closed_and_typed(name, value, code):
    with pytest.raises(InvalidDocument) as refused:
        Approval.from_claims({**YES.to_claims(), name: value})
    assert refused.value.code == code


# Attack 17: for exactly this step.
@pytest.mark.parametrize(
    "other",
    [
        binding(**{**WHERE, "task": "task-2"}, call=CALL),
        binding(**{**WHERE, "run": "run-2"}, call=CALL),
        binding(**{**WHERE, "delegation": uuid(2)}, call=CALL),
        binding(**WHERE, call=Call("report:publish", "reports", {"table": "payroll"})),
    ],
)
def test_an_approval_fits_one_step_with_these_arguments(other):
    assert refusal(YES, bound=other) == "approval.binding"


def test_an_approval_fits_one_request():
    assert refusal(YES, request=request_id(BINDING, 4)) == "approval.request"


# Attack 19: four eyes.
@pytest.mark.parametrize(
    ("approver", "code"),
    [
        (ALICE, "approval.four-eyes"),
        (agent("agent-0"), "approval.person"),
        (agent("agent-1"), "approval.person"),
        (agent("outsider"), "approval.person"),
    ],
)
def test_the_approver_is_a_person_outside_the_chain(approver, code):
    assert refusal(dataclasses.replace(YES, iss=approver)) == code


def test_the_root_is_refused_even_if_the_chain_does_not_name_it():
    with pytest.raises(InvalidDocument):
        check(
            dataclasses.replace(YES, iss=ALICE),
            request=REQUEST,
            binding=BINDING,
            audience=AUDIENCE,
            root=ALICE,
            principals=(),
            now=NOW,
        )


def test_a_person_named_in_the_chain_is_refused_even_if_not_the_root():
    with pytest.raises(InvalidDocument) as refused:
        check(YES, request=REQUEST, binding=BINDING, audience=AUDIENCE, root=ALICE, principals=(BOB,), now=NOW)
    assert refused.value.code == "approval.four-eyes"


# Attack 21: time.
@pytest.mark.parametrize(
    ("changes", "now", "code"),
    [
        ({}, YES.exp + 30, "approval.expired"),
        ({}, NOW + 5 * 86400, "approval.expired"),
        ({"iat": NOW + 31}, NOW, "approval.not-yet"),
        ({"exp": NOW + MAX_LIFETIME + 1}, NOW, "approval.lifetime"),
        ({"iat": NOW + 10, "exp": NOW + 10}, NOW, "approval.lifetime"),
        ({"aud": "remit:other"}, NOW, "approval.audience"),
        ({"iss": dataclasses.replace(BOB, trust_domain="other")}, NOW, "approval.audience"),
    ],
)
def test_time_and_audience(changes, now, code):
    assert refusal(dataclasses.replace(YES, **changes), now=now) == code


def test_24_hours_pass():
    checked(dataclasses.replace(YES, exp=NOW + MAX_LIFETIME))


@pytest.mark.parametrize("now", [NOW - 30, NOW, YES.exp + 29])
def test_clocks_may_differ_by_30_seconds(now):
    checked(YES, now=now)


# Attack 20: two where two are wanted.
def decided(who, kid, decision="approve"):
    return dataclasses.replace(YES, iss=who, decision=decision), kid


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ([], 0),
        ([decided(BOB, "k1")], 1),
        ([decided(BOB, "k1"), decided(BOB, "k1")], 1),
        ([decided(BOB, "k1"), decided(BOB, "k2")], 1),
        ([decided(BOB, "k1"), decided(CAROL, "k1")], 1),
        ([decided(BOB, "k1"), decided(CAROL, "k2")], 2),
        ([decided(BOB, "k1", "reject"), decided(CAROL, "k2")], 1),
    ],
)
def test_one_person_and_one_key_count_once(given, count):
    assert len(distinct(given)) == count


# Attack 21: reject wins, whatever the order.
def test_a_rejection_wins():
    no = dataclasses.replace(YES, iss=CAROL, decision="reject")
    assert rejection([YES, no]) is no
    assert rejection([no, YES]) is no
    assert rejection([YES]) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=8))
def test_what_counts_is_distinct_in_both_ways(given):
    pairs = [decided(user(name), kid, "approve" if yes else "reject") for name, kid, yes in given]
    counted = distinct(pairs)
    kids = [next(kid for approval, kid in pairs if approval is one) for one in counted]
    assert len(counted) == len({one.iss for one in counted}) == len(set(kids))
    assert all(one.decision == "approve" for one in counted)
    if any(yes for _, _, yes in given):
        assert counted


def test_its_type_is_its_own():
    assert approvals.TYP == "approval+jwt"
