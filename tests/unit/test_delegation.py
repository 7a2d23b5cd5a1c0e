import dataclasses
import subprocess
import sys

import pytest

from remit.delegation import MAX_LIFETIME, Delegation, Reference, Scope, check_grantable, narrows
from remit.errors import InvalidDocument
from remit.principals import Principal
from tests.unit.documents import ALICE, AUDIENCE, BOB, GROUPS, NOW, agent, link, signer, uuid

HASH = "A" * 43
ROOT = Delegation.from_claims(link(0))
CHILD = Delegation.from_claims({**link(1), "par_hash": HASH})


def refusal(claims):
    with pytest.raises(InvalidDocument) as refused:
        Delegation.from_claims(claims)
    return refused.value.code, refused.value.rule


def with_(name, value, depth=0):
    claims = link(depth) if depth == 0 else {**link(depth), "par_hash": HASH}
    *path, last = name.split(".")
    target = claims
    for part in path:
        target = target[int(part) if part.isdigit() else part]
    target[last] = value
    return claims


@pytest.mark.parametrize("one", [ROOT, CHILD])
def test_claims_are_read_as_written(one):
    assert Delegation.from_claims(one.to_claims()) == one
    assert hash(one) == hash(Delegation.from_claims(one.to_claims()))


# Attack 9 and rule 8: nothing missing, nothing more.
@pytest.mark.parametrize("name", sorted(link(0)))
def test_no_claim_may_be_missing(name):
    assert refusal({key: value for key, value in link(0).items() if key != name}) == ("chain.claims", 8)


@pytest.mark.parametrize("name", ["act", "scope", "ISS", "iss ", "crit", "del_depth2", "nonce"])
def test_no_claim_may_be_added(name):
    assert refusal({**link(0), name: 1}) == ("chain.claims", 8)


@pytest.mark.parametrize("member", ["type", "actions", "spaces", "budget"])
def test_no_member_of_the_grant_may_be_missing(member):
    claims = link(0)
    del claims["authorization_details"][0][member]
    assert refusal(claims) == ("chain.claims", 8)


GRANT = link(0)["authorization_details"][0]
LOOK_ALIKES = ["reаd", "ｒead", "re\u200bad", "read\u202e", "re ad", "read\n", "", "*", "réad", "r" * 64]
MALFORMED = {
    "claims a list": ([], 8),
    "claims null": (None, 8),
    "grant member unknown": (with_("authorization_details", [{**GRANT, "locations": []}]), 8),
    "two grants": (with_("authorization_details", [GRANT, GRANT]), 8),
    "no grant": (with_("authorization_details", []), 8),
    "grant not in a list": (with_("authorization_details", GRANT), 8),
    "grant in an object": (with_("authorization_details", {"0": GRANT}), 8),
    "grant of another type": (with_("authorization_details.0.type", "urn:remit:grants"), 8),
    "actions a string": (with_("authorization_details.0.actions", "read"), 8),
    "actions null": (with_("authorization_details.0.actions", None), 8),
    "actions an object": (with_("authorization_details.0.actions", {"read": 1}), 8),
    "an action a number": (with_("authorization_details.0.actions", [1]), 8),
    "spaces a string": (with_("authorization_details.0.spaces", "flights"), 8),
    "budget a float": (with_("authorization_details.0.budget", 1.0), 8),
    "budget a bool": (with_("authorization_details.0.budget", True), 8),
    "budget a string": (with_("authorization_details.0.budget", "1"), 8),
    "budget negative": (with_("authorization_details.0.budget", -1), 8),
    "budget null": (with_("authorization_details.0.budget", None), 8),
    "jti no UUID": (with_("jti", "../../x"), 8),
    "jti upper case": (with_("jti", uuid(0xABC).upper()), 8),
    "jti a number": (with_("jti", 1), 8),
    "iss no principal": (with_("iss", "alice"), 8),
    "iss a list": (with_("iss", [ALICE.spiffe_id]), 8),
    "aud a list": (with_("aud", [AUDIENCE]), 8),
    "aud empty": (with_("aud", ""), 8),
    "may_act text": (with_("may_act", agent("x").spiffe_id), 8),
    "may_act with more": (with_("may_act.iss", "x"), 8),
    "cnf with more": (with_("cnf.kid", "x"), 8),
    "purpose with capitals": (with_("purpose", "Delay"), 8),
    "purpose a path": (with_("purpose", "a/b"), 8),
    "depth a bool": (with_("del_depth", False), 8),
    "depth a float": (with_("del_depth", 0.0), 8),
    "depth negative": (with_("del_depth", -1), 8),
    "max depth null": (with_("del_max_depth", None), 8),
    "hash of another length": (with_("par_hash", "A" * 42, depth=1), 8),
    "hash with a second spelling": (with_("par_hash", "A" * 42 + "B", depth=1), 8),
    "hash null": (with_("par_hash", None, depth=1), 8),
    **{f"action {word!a}": (with_("authorization_details.0.actions", [word]), 8) for word in LOOK_ALIKES},
    **{f"space {word!a}": (with_("authorization_details.0.spaces", [word]), 8) for word in LOOK_ALIKES},
}


@pytest.mark.parametrize(("claims", "rule"), MALFORMED.values(), ids=MALFORMED)
def test_types_are_exact(claims, rule):
    assert refusal(claims) == ("chain.claims", rule)


@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
@pytest.mark.parametrize("value", [float(NOW), str(NOW), True, None, [NOW], -1, float("nan"), float("inf")])
def test_times_are_integers(name, value):
    assert refusal(with_(name, value)) == ("chain.time", 9)


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        None,
        "x",
        {**ROOT.key, "d": "AA"},
        {**ROOT.key, "kid": "x"},
        {**ROOT.key, "crv": "Ed448"},
        {**ROOT.key, "x": 1},
        {"kty": "oct", "k": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA"},
    ],
)
def test_the_delegates_key_is_public_members_only(jwk):
    assert refusal(with_("cnf", {"jwk": jwk})) == ("chain.key", 5)


ALONE = {
    "delegate is a user": (with_("may_act.sub", BOB.spiffe_id), "chain.delegate", 8),
    "root human is an agent": (with_("sub", agent("x").spiffe_id), "chain.delegate", 8),
    "ends before it begins": (with_("exp", NOW - 200), "chain.lifetime", 9),
    "ends as it is issued": ({**with_("exp", NOW), "iat": NOW}, "chain.lifetime", 9),
    "ends before it is issued": ({**with_("exp", NOW - 1), "iat": NOW}, "chain.lifetime", 9),
    "ends as it begins": (with_("exp", NOW - 100), "chain.lifetime", 9),
    "not before its end": (with_("nbf", NOW + 3600), "chain.lifetime", 9),
    "over 30 days": (with_("exp", NOW - 100 + MAX_LIFETIME + 1), "chain.lifetime", 9),
    "issuer elsewhere": (with_("iss", "spiffe://other/user/alice"), "chain.trust-domain", 11),
    "human elsewhere": (with_("sub", "spiffe://other/user/alice"), "chain.trust-domain", 11),
    "agent elsewhere": (with_("may_act.sub", "spiffe://other/agent/x"), "chain.trust-domain", 11),
    "audience elsewhere": (with_("aud", "remit:other"), "chain.trust-domain", 11),
    "deeper than its ceiling": (with_("del_max_depth", 0, depth=1), "chain.depth", 12),
    "deeper than any chain": ({**with_("del_depth", 8, depth=1), "del_max_depth": 9}, "chain.depth", 12),
}


@pytest.mark.parametrize(("claims", "code", "rule"), ALONE.values(), ids=ALONE)
def test_what_one_link_says_about_itself(claims, code, rule):
    assert refusal(claims) == (code, rule)


def test_exactly_30_days_pass():
    assert Delegation.from_claims(with_("exp", NOW - 100 + MAX_LIFETIME)).exp == NOW - 100 + MAX_LIFETIME


def changed(one, **changes):
    scope = {name: changes.pop(name) for name in ("actions", "spaces", "budget") if name in changes}
    return dataclasses.replace(one, **changes, scope=dataclasses.replace(one.scope, **scope))


BROADER = {
    "one second longer": ({"exp": ROOT.exp + 1}, "chain.exp", 9),
    "issued before": ({"iat": ROOT.iat - 1}, "chain.iat", 9),
    "valid before": ({"nbf": ROOT.nbf - 1}, "chain.iat", 9),
    "another issuer": ({"iss": agent("other")}, "chain.issuer", 10),
    "another human": ({"sub": BOB}, "chain.sub", 11),
    "another audience": ({"aud": "remit:other"}, "chain.aud", 11),
    "another purpose": ({"purpose": "payroll"}, "chain.purpose", 11),
    "depth skipped": ({"depth": 2}, "chain.depth", 12),
    "depth repeated": ({"depth": 0}, "chain.depth", 12),
    "ceiling raised": ({"max_depth": 8}, "chain.depth", 12),
    "an action more": ({"actions": ("read", "spend")}, "chain.actions", 13),
    "a group above": ({"actions": ("tool",)}, "chain.actions", 13),
    "a sibling group": ({"actions": ("write",)}, "chain.actions", 13),
    "case changed": ({"actions": ("Read",)}, "chain.actions", 13),
    "look-alike": ({"actions": ("reаd",)}, "chain.actions", 13),
    "a space more": ({"spaces": ("flights", "ops")}, "chain.spaces", 13),
    "a space in other case": ({"spaces": ("Flights",)}, "chain.spaces", 13),
    "a unit more": ({"budget": 101}, "chain.budget", 13),
}


@pytest.mark.parametrize(("changes", "code", "rule"), BROADER.values(), ids=BROADER)
def test_a_child_never_holds_more(changes, code, rule):
    with pytest.raises(InvalidDocument) as refused:
        narrows(ROOT, changed(CHILD, **changes), GROUPS)
    assert (refused.value.code, refused.value.rule) == (code, rule)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exp": ROOT.exp - 1, "iat": ROOT.iat + 1, "nbf": ROOT.nbf + 1, "max_depth": 1, "budget": 99},
        {"actions": ("dataset:query",), "spaces": ("flights",)},
        {"actions": ("dataset:query", "read", "report:publish")},
        {"actions": (), "spaces": (), "budget": 0},
    ],
)
def test_a_child_may_hold_as_much_or_less(changes):
    narrows(ROOT, changed(CHILD, **changes), GROUPS)


def test_without_a_hierarchy_an_action_covers_itself_only():
    narrows(ROOT, CHILD, {})
    with pytest.raises(InvalidDocument):
        narrows(ROOT, changed(CHILD, actions=("dataset:query",)), {})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"budget": 0}, "chain.budget"),
        ({"actions": ()}, "chain.empty"),
        ({"spaces": ()}, "chain.empty"),
        ({"exp": ROOT.iat + MAX_LIFETIME + 1}, "chain.lifetime"),
        ({"actions": ("read\n",)}, "chain.claims"),
    ],
)
def test_nothing_empty_or_malformed_is_granted(changes, code):
    check_grantable(changed(ROOT, budget=1))
    with pytest.raises(InvalidDocument) as refused:
        check_grantable(changed(ROOT, **changes))
    assert refused.value.code == code
    if code in ("chain.budget", "chain.empty"):
        assert refused.value.rule == 13


def test_a_scope_is_sorted_and_without_repetition():
    assert Scope(("b", "a", "b"), ("y", "x"), 1) == Scope(("a", "b"), ("x", "y"), 1)


def test_a_reference_carries_no_authority():
    assert [field.name for field in dataclasses.fields(Reference)] == ["delegation", "digest"]


def test_a_principal_is_checked_when_made():
    with pytest.raises(InvalidDocument):
        Principal("remit.local", "robot", "x")  # type: ignore[arg-type]


def test_the_workflow_side_loads_no_cryptography():
    code = (
        "import sys, remit.delegation, remit.step, remit.approvals, remit.statements, remit.presentation;"
        "sys.exit(any(name.split('.')[0] in {'cryptography','jwt','socket','ssl'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_keys_of_the_builder_are_what_the_links_carry():
    assert ROOT.key == signer("agent-0").key.jwk
