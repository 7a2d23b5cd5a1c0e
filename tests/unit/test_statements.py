import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.delegation import Delegation
from remit.errors import InvalidDocument
from remit.statements import (
    MAX_REASON,
    DelegationSubject,
    Event,
    Statement,
    Status,
    check,
    fold,
    fold_principal,
    may_state,
    next_iat,
)
from tests.unit.documents import ALICE, AUDIENCE, BOB, CAROL, NOW, agent, link, uuid

LINKS = [Delegation.from_claims(link(0))] + [
    Delegation.from_claims({**link(depth), "par_hash": "A" * 43}) for depth in (1, 2)
]
SUBJECT = DelegationSubject(LINKS[1].jti, LINKS[1].iss)
REVOKE = Statement(jti=uuid(70), iss=ALICE, aud=AUDIENCE, iat=NOW, subject=SUBJECT, event=Event.REVOKED, reason="leak")


def said(event, *, iat=NOW, by=ALICE):
    return dataclasses.replace(REVOKE, event=event, iat=iat, iss=by)


def nobody(_principal, _whose):
    return False


def staff(principal, _whose):
    return principal == CAROL


def overrules(later, _earlier):
    return later == CAROL


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("subject", [SUBJECT, agent("agent-1"), BOB])
@pytest.mark.parametrize("reason", ["", "leak", "r" * MAX_REASON])
def test_claims_are_read_as_written(event, subject, reason):
    one = dataclasses.replace(REVOKE, event=event, subject=subject, reason=reason)
    assert Statement.from_claims(one.to_claims()) == one


def test_a_revocation_is_a_caep_event():
    assert REVOKE.to_claims() == {
        "iss": ALICE.spiffe_id,
        "aud": AUDIENCE,
        "jti": uuid(70),
        "iat": NOW,
        "sub_id": {"format": "jwt_id", "iss": agent("agent-0").spiffe_id, "jti": LINKS[1].jti},
        "events": {
            "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {"reason_admin": {"en": "leak"}}
        },
    }


# Attack 36: malformed.
URI = {"format": "uri", "uri": BOB.spiffe_id}
BAD = {
    "sub": ({"sub": "x"}, "statement.claims"),
    "exp": ({"exp": NOW + 1}, "statement.claims"),
    "nbf": ({"nbf": NOW}, "statement.claims"),
    "iat a float": ({"iat": 1.5}, "statement.time"),
    "no event": ({"events": {}}, "statement.claims"),
    "two events": ({"events": {Event.REVOKED.value: {}, Event.SUSPENDED.value: {}}}, "statement.claims"),
    "unknown event": ({"events": {"urn:remit:event:paused": {}}}, "statement.claims"),
    "event in other case": ({"events": {"URN:remit:event:suspended": {}}}, "statement.claims"),
    "events a number": ({"events": 5}, "statement.claims"),
    "events a list": ({"events": [Event.REVOKED.value]}, "statement.claims"),
    "event body null": ({"events": {Event.REVOKED.value: None}}, "statement.claims"),
    "event body with more": ({"events": {Event.REVOKED.value: {"x": 1}}}, "statement.claims"),
    "reason a string": ({"events": {Event.REVOKED.value: {"reason_admin": "x"}}}, "statement.claims"),
    "reason in two languages": (
        {"events": {Event.REVOKED.value: {"reason_admin": {"en": "x", "fr": "x"}}}},
        "statement.claims",
    ),
    "reason too long": (
        {"events": {Event.REVOKED.value: {"reason_admin": {"en": "x" * 501}}}},
        "statement.claims",
    ),
    "subject text": ({"sub_id": BOB.spiffe_id}, "statement.claims"),
    "subject of another format": ({"sub_id": {"format": "email", "iss": "x", "jti": "x"}}, "statement.claims"),
    "subject of another format, well filled": (
        {"sub_id": {"format": "iss_sub", "iss": ALICE.spiffe_id, "jti": uuid(1)}},
        "statement.claims",
    ),
    "subject mixed": ({"sub_id": {**URI, "jti": uuid(1)}}, "statement.claims"),
    "subject without format": ({"sub_id": {"uri": BOB.spiffe_id}}, "statement.claims"),
    "subject no principal": ({"sub_id": {"format": "uri", "uri": "bob"}}, "statement.claims"),
    "aud a list": ({"aud": [AUDIENCE]}, "statement.claims"),
    "jti a path": ({"jti": "../x"}, "statement.claims"),
}


@pytest.mark.parametrize(("changes", "code"), BAD.values(), ids=BAD)
def test_claims_are_closed_and_typed(changes, code):
    with pytest.raises(InvalidDocument) as refused:
        Statement.from_claims({**REVOKE.to_claims(), **changes})
    assert refused.value.code == code


@pytest.mark.parametrize("name", sorted(REVOKE.to_claims()))
def test_no_claim_may_be_missing(name):
    with pytest.raises(InvalidDocument):
        Statement.from_claims({key: value for key, value in REVOKE.to_claims().items() if key != name})


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (dataclasses.replace(REVOKE, aud="remit:other"), "statement.audience"),
        (dataclasses.replace(REVOKE, iss=dataclasses.replace(ALICE, trust_domain="other")), "statement.audience"),
        (dataclasses.replace(REVOKE, subject=BOB), "statement.subject"),
        (dataclasses.replace(REVOKE, subject=DelegationSubject(SUBJECT.jti, ALICE)), "statement.subject"),
        (said(Event.REINSTATED, iat=NOW + 31), "statement.not-yet"),
    ],
)
def test_a_statement_is_for_us_about_this_and_not_for_later(one, code):
    with pytest.raises(InvalidDocument) as refused:
        check(one, audience=AUDIENCE, subject=SUBJECT, now=NOW)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "one",
    [
        said(Event.REVOKED, iat=NOW + 300),  # a fast clock must not keep authority alive
        said(Event.SUSPENDED, iat=NOW + 300),
        said(Event.REINSTATED, iat=NOW + 30),
        said(Event.REINSTATED, iat=NOW - 86400),
    ],
)
def test_only_a_reinstatement_waits_for_its_date(one):
    check(one, audience=AUDIENCE, subject=SUBJECT, now=NOW)


@pytest.mark.parametrize(
    ("by", "permitted", "answer"),
    [
        (agent("agent-0"), nobody, True),  # the delegator of that link
        (ALICE, nobody, True),  # anyone above
        (agent("agent-1"), nobody, False),  # the delegate itself
        (agent("agent-2"), nobody, False),
        (BOB, nobody, False),
        (CAROL, nobody, False),
        (CAROL, staff, True),
        (BOB, staff, False),
        (agent("agent-1"), lambda _principal, _whose: True, False),  # policy lets users speak, never agents
    ],
)
@pytest.mark.parametrize("event", Event)
def test_who_may_speak_about_a_link(by, permitted, answer, event):
    assert may_state(said(event, by=by), LINKS, permitted=permitted) is answer


def test_it_is_asked_whose_it_is():
    asked = []
    for subject in (SUBJECT, agent("agent-1")):
        one = dataclasses.replace(REVOKE, iss=CAROL, subject=subject)
        may_state(one, LINKS, permitted=lambda *who: asked.append(who))
    assert asked == [(CAROL, ALICE), (CAROL, agent("agent-1"))]
    root = dataclasses.replace(REVOKE, iss=CAROL, subject=DelegationSubject(LINKS[0].jti, ALICE))
    assert may_state(root, LINKS[:1], permitted=staff) is True


def test_nobody_speaks_about_an_unknown_delegation():
    one = dataclasses.replace(REVOKE, subject=DelegationSubject(uuid(999), ALICE))
    assert may_state(one, LINKS, permitted=lambda _principal, _whose: True) is False
    assert may_state(REVOKE, [], permitted=lambda _principal, _whose: True) is False


def test_the_named_delegator_is_the_real_one():
    one = dataclasses.replace(REVOKE, subject=DelegationSubject(SUBJECT.jti, ALICE))
    assert may_state(one, LINKS, permitted=lambda _principal, _whose: True) is False


@pytest.mark.parametrize(
    ("by", "permitted", "answer"),
    [(CAROL, staff, True), (ALICE, staff, False), (agent("agent-0"), lambda _principal, _whose: True, False)],
)
def test_only_permitted_users_stop_a_whole_principal(by, permitted, answer):
    one = dataclasses.replace(REVOKE, iss=by, subject=agent("agent-1"))
    assert may_state(one, LINKS, permitted=permitted) is answer


FOLDS = {
    "nothing said": ([], Status.LIVE),
    "revoked": ([said(Event.REVOKED)], Status.REVOKED),
    "revoked stays revoked": ([said(Event.REVOKED), said(Event.REINSTATED, iat=NOW + 9)], Status.REVOKED),
    "suspended": ([said(Event.SUSPENDED)], Status.SUSPENDED),
    "reinstated": ([said(Event.SUSPENDED), said(Event.REINSTATED, iat=NOW + 1)], Status.LIVE),
    "in the same second": ([said(Event.SUSPENDED), said(Event.REINSTATED)], Status.SUSPENDED),
    "reinstated before": ([said(Event.SUSPENDED), said(Event.REINSTATED, iat=NOW - 1)], Status.SUSPENDED),
    "suspended again": (
        [said(Event.SUSPENDED), said(Event.REINSTATED, iat=NOW + 1), said(Event.SUSPENDED, iat=NOW + 2)],
        Status.SUSPENDED,
    ),
    "another's suspension": (
        [said(Event.SUSPENDED, by=CAROL), said(Event.REINSTATED, iat=NOW + 1)],
        Status.SUSPENDED,
    ),
    "overruled": ([said(Event.SUSPENDED), said(Event.REINSTATED, iat=NOW + 1, by=CAROL)], Status.LIVE),
    "one of two suspensions lifted": (
        [said(Event.SUSPENDED), said(Event.SUSPENDED, by=CAROL), said(Event.REINSTATED, iat=NOW + 1)],
        Status.SUSPENDED,
    ),
    "reinstated without a suspension": ([said(Event.REINSTATED)], Status.LIVE),
}


@pytest.mark.parametrize(("told", "status"), FOLDS.values(), ids=FOLDS)
def test_the_fold(told, status):
    assert fold(told, overrules=overrules) is status


STATEMENTS = st.lists(
    st.builds(
        said,
        st.sampled_from([Event.SUSPENDED, Event.REINSTATED, Event.REINSTATED, Event.REVOKED]),
        iat=st.integers(NOW, NOW + 5),
        by=st.sampled_from([ALICE, BOB, CAROL]),
    ),
    max_size=6,
)


@given(STATEMENTS, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(told, rng):
    again = told + told[: len(told) // 2]
    rng.shuffle(again)
    assert fold(again, overrules=overrules) is fold(told, overrules=overrules)


@given(STATEMENTS)
def test_a_suspension_holds_until_someone_entitled_lifts_it_later(told):
    status = fold(told, overrules=overrules)
    if status is Status.LIVE:
        for pause in (one for one in told if one.event is Event.SUSPENDED):
            assert any(
                lift.event is Event.REINSTATED and lift.iat > pause.iat and lift.iss in {pause.iss, CAROL}
                for lift in told
            )
    assert (status is Status.REVOKED) == any(one.event is Event.REVOKED for one in told)


PRINCIPALS = {
    "nothing said": ([], (Status.LIVE, 0)),
    "revoked": ([said(Event.REVOKED)], (Status.REVOKED, 0)),
    "reinstated": ([said(Event.REVOKED), said(Event.REINSTATED, iat=NOW + 3)], (Status.LIVE, NOW + 3)),
    "reinstated twice": (
        [said(Event.REVOKED), said(Event.REINSTATED, iat=NOW + 3), said(Event.REINSTATED, iat=NOW + 9)],
        (Status.LIVE, NOW + 3),
    ),
    "in the same second": ([said(Event.REVOKED), said(Event.REINSTATED)], (Status.REVOKED, 0)),
    "by somebody not entitled": (
        [said(Event.REVOKED, by=CAROL), said(Event.REINSTATED, iat=NOW + 3)],
        (Status.REVOKED, 0),
    ),
    "revoked, then suspended by the same": (
        [said(Event.REVOKED), said(Event.SUSPENDED, iat=NOW + 3)],
        (Status.REVOKED, 0),
    ),
    "revoked again": (
        [said(Event.REVOKED), said(Event.REINSTATED, iat=NOW + 3), said(Event.REVOKED, iat=NOW + 4)],
        (Status.REVOKED, 0),
    ),
    "revoked twice, reinstated twice": (
        [
            said(Event.REVOKED),
            said(Event.REINSTATED, iat=NOW + 3),
            said(Event.REVOKED, iat=NOW + 4),
            said(Event.REINSTATED, iat=NOW + 8),
        ],
        (Status.LIVE, NOW + 8),
    ),
    "only suspended": ([said(Event.SUSPENDED), said(Event.REINSTATED, iat=NOW + 1)], (Status.LIVE, 0)),
    "reinstated, then suspended": (
        [said(Event.REVOKED), said(Event.REINSTATED, iat=NOW + 3), said(Event.SUSPENDED, iat=NOW + 4)],
        (Status.SUSPENDED, NOW + 3),
    ),
}


def test_overruling_depends_on_whose_stop_it_is():
    told = [said(Event.SUSPENDED), said(Event.REINSTATED, iat=NOW + 1, by=BOB)]
    assert fold(told, overrules=lambda later, earlier: (later, earlier) == (BOB, ALICE)) is Status.LIVE
    assert fold(told, overrules=lambda later, earlier: (later, earlier) == (BOB, CAROL)) is Status.SUSPENDED


@pytest.mark.parametrize(("told", "expected"), PRINCIPALS.values(), ids=PRINCIPALS)
def test_the_fold_of_a_principal(told, expected):
    assert fold_principal(told, overrules=overrules) == expected


@given(STATEMENTS, st.randoms(use_true_random=False))
def test_a_principal_is_never_more_alive_than_its_statements_say(told, rng):
    again = told + told[: len(told) // 2]
    rng.shuffle(again)
    status, barred = fold_principal(told, overrules=overrules)
    assert fold_principal(again, overrules=overrules) == (status, barred)
    for stop in (one for one in told if one.event is Event.REVOKED and status is not Status.REVOKED):
        assert stop.iat < barred, "what was delegated until the revocation stays dead"


@pytest.mark.parametrize(
    ("dates", "expected"), [([], NOW), ([NOW - 5], NOW), ([NOW], NOW + 1), ([NOW + 4, NOW], NOW + 5)]
)
def test_a_new_statement_is_dated_after_every_earlier_one(dates, expected):
    assert next_iat([said(Event.SUSPENDED, iat=date) for date in dates], now=NOW) == expected
