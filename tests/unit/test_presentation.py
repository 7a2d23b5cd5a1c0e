import dataclasses

import pytest

from remit.delegation import Reference, Scope
from remit.errors import InvalidDocument
from remit.presentation import (
    MAX_LIFETIME,
    Presentation,
    access_token_claims,
    check,
    step_token_claims,
)
from remit.step import Call, arguments_digest
from tests.unit.documents import ALICE, AUDIENCE, NOW, agent, uuid

ARGUMENTS = arguments_digest(Call("dataset:query", "flights", {"sql": "select 1"}))
OTHER = arguments_digest(Call("dataset:query", "flights", {"sql": "select 2"}))
REFERENCE = Reference(uuid(7), "A" * 43)
SHOWN = Presentation(
    jti=uuid(90),
    iss=agent("agent-1"),
    aud=AUDIENCE,
    iat=NOW,
    exp=NOW + 60,
    delegation=REFERENCE.delegation,
    digest=REFERENCE.digest,
    workflow="task-1",
    run="run-1",
    activity="5",
    attempt=1,
    arguments=ARGUMENTS,
)


def checked(shown, **changes):
    expected = {
        "agent": agent("agent-1"),
        "audience": AUDIENCE,
        "reference": REFERENCE,
        "workflow": "task-1",
        "run": "run-1",
        "activity": "5",
        "attempt": 1,
        "arguments": ARGUMENTS,
        "now": NOW,
    }
    check(shown, **{**expected, **changes})


def test_claims_are_read_as_written():
    assert Presentation.from_claims(SHOWN.to_claims()) == SHOWN
    checked(SHOWN)


def test_the_longest_ids_pass():
    longest = dataclasses.replace(SHOWN, workflow="w" * 1000, run="r" * 1000, activity="a" * 1000)
    assert Presentation.from_claims(longest.to_claims()) == longest


# Attacks 14 and 15: another agent, chain, workflow, run, activity, attempt or arguments.
WRONG = {
    "another agent": ({"iss": agent("agent-0")}, "presentation.agent"),
    "a user": ({"iss": ALICE}, "presentation.agent"),
    "another audience": ({"aud": "remit:other"}, "presentation.audience"),
    "another delegation": ({"delegation": uuid(8)}, "presentation.chain"),
    "another chain": ({"digest": "B" * 42 + "A"}, "presentation.chain"),
    "another workflow": ({"workflow": "task-2"}, "presentation.attempt"),
    "another run": ({"run": "run-2"}, "presentation.attempt"),
    "another activity": ({"activity": "6"}, "presentation.attempt"),
    "another attempt": ({"attempt": 2}, "presentation.attempt"),
    "other arguments": ({"arguments": OTHER}, "presentation.arguments"),
    "too long": ({"exp": NOW + MAX_LIFETIME + 1}, "presentation.lifetime"),
    "ends as it begins": ({"exp": NOW}, "presentation.lifetime"),
    "dated later": ({"iat": NOW + 31, "exp": NOW + 40}, "presentation.not-yet"),
    "expired": ({"iat": NOW - 90, "exp": NOW - 30}, "presentation.expired"),
}


@pytest.mark.parametrize(("changes", "code"), WRONG.values(), ids=WRONG)
def test_a_presentation_is_for_one_attempt(changes, code):
    with pytest.raises(InvalidDocument) as refused:
        checked(dataclasses.replace(SHOWN, **changes))
    assert (refused.value.code, refused.value.rule) == (code, 15)


@pytest.mark.parametrize("now", [NOW - 30, NOW + 60, NOW + 89])
def test_clocks_may_differ_by_30_seconds(now):
    checked(SHOWN, now=now)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("sub", "x", "presentation.claims"),
        ("attempt", 1.0, "presentation.claims"),
        ("attempt", True, "presentation.claims"),
        ("workflow", "", "presentation.claims"),
        ("workflow", "w" * 1001, "presentation.claims"),
        ("run", None, "presentation.claims"),
        ("delegation", "x", "presentation.claims"),
        ("digest", "x", "presentation.claims"),
        ("arguments", "x", "presentation.claims"),
        ("exp", "1", "presentation.time"),
    ],
)
def test_claims_are_closed_and_typed(name, value, code):
    with pytest.raises(InvalidDocument) as refused:
        Presentation.from_claims({**SHOWN.to_claims(), name: value})
    assert (refused.value.code, refused.value.rule) == (code, 9 if code.endswith("time") else 8)


@pytest.mark.parametrize("name", sorted(SHOWN.to_claims()))
def test_no_claim_may_be_missing(name):
    with pytest.raises(InvalidDocument):
        Presentation.from_claims({key: value for key, value in SHOWN.to_claims().items() if key != name})


def test_a_step_token_names_the_step_and_lives_ten_seconds():
    claims = step_token_claims(
        jti=uuid(1),
        issuer="remit-authority",
        audience="vault",
        now=NOW,
        root=uuid(2),
        delegation=uuid(3),
        chain="A" * 43,
        human=ALICE,
        agent=agent("agent-1"),
        task="task-1",
        step=4,
        attempt=2,
        role="flights-ro",
    )
    assert claims == {
        "typ": "step",
        "iss": "remit-authority",
        "aud": "vault",
        "sub": uuid(2),
        "jti": uuid(1),
        "iat": NOW,
        "exp": NOW + 10,
        "root": uuid(2),
        "delegation": uuid(3),
        "chain": "A" * 43,
        "act": {"sub": agent("agent-1").spiffe_id},
        "task": "task-1",
        "step": "4",
        "attempt": "2",
        "principal": "alice",
        "dbrole": "flights-ro",
    }


def access(**changes):
    named = {
        "jti": uuid(1),
        "issuer": "https://remit.local",
        "audience": "weather",
        "now": NOW,
        "expires_at": NOW + 3600,
        "human": ALICE,
        "agents": [agent("agent-0"), agent("agent-1"), agent("agent-2")],
        "scope": Scope(("http:request",), ("flights",), 1),
        "task": "task-1",
    }
    return access_token_claims(**{**named, **changes})


def test_an_access_token_nests_the_actors_current_one_outermost():
    claims = access()
    assert {name: claims[name] for name in ("iss", "sub", "client_id", "jti", "iat", "txn")} == {
        "iss": "https://remit.local",
        "sub": ALICE.spiffe_id,
        "client_id": agent("agent-2").spiffe_id,
        "jti": uuid(1),
        "iat": NOW,
        "txn": "task-1",
    }
    assert claims["act"] == {
        "sub": agent("agent-2").spiffe_id,
        "act": {"sub": agent("agent-1").spiffe_id, "act": {"sub": agent("agent-0").spiffe_id}},
    }
    assert claims["aud"] == "weather"
    assert claims["authorization_details"] == [
        {"type": "urn:remit:grant", "actions": ["http:request"], "spaces": ["flights"], "budget": 1}
    ]
    assert access(agents=[agent("agent-0")])["act"] == {"sub": agent("agent-0").spiffe_id}


@pytest.mark.parametrize(("left", "life"), [(3600, 120), (120, 120), (119, 119), (1, 1)])
def test_an_access_token_ends_with_the_chain(left, life):
    assert access(expires_at=NOW + left)["exp"] == NOW + life


@pytest.mark.parametrize("left", [0, -5])
def test_an_expired_chain_gets_no_access_token(left):
    with pytest.raises(InvalidDocument) as refused:
        access(expires_at=NOW + left)
    assert (refused.value.code, refused.value.rule) == ("chain.expired", 9)
