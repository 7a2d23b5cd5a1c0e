import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remit import chain as chain_module
from remit import jose
from remit.chain import MAX_CHAIN, chain_digest, check_time, subject_of, verify_chain
from remit.delegation import MAX_LIFETIME, Reference
from remit.errors import InvalidDocument
from remit.jose import LocalSigner
from remit.principals import Principal
from remit.statements import DelegationSubject
from tests.unit import documents
from tests.unit.documents import (
    AGENTS,
    ALICE,
    AUDIENCE,
    BOB,
    GROUPS,
    NOW,
    agent,
    anchors,
    b64,
    chain,
    link,
    signer,
    token,
    uuid,
    verified,
)


def refusal(links, *, now=NOW):
    """Return (code, rule); a refusal is final and fast."""
    refused = documents.refusal(lambda: verified(links, now=now))
    return refused.code, refused.rule


def grant(**changes):
    return lambda claims: claims["authorization_details"][0].update(changes)


def claims(**changes):
    return lambda given: given.update(changes)


@pytest.mark.parametrize("length", range(1, 9))
def test_a_correct_chain_of_any_length_passes(length):
    links = chain(length)
    found = verified(links)
    assert found.root == ALICE
    assert found.agent == agent(AGENTS[length - 1])
    assert found.principals == (ALICE, *map(agent, AGENTS[:length]))
    assert found.ids == tuple(uuid(1000 + depth) for depth in range(length))
    assert found.reference == Reference(found.leaf.jti, chain_digest(links))
    assert found.key == signer(AGENTS[length - 1]).key
    assert found.jws == tuple(links)
    assert found.expires_at == NOW + 3600


def test_a_chain_may_use_both_algorithms():
    writer = signer("writer", "ES256")
    root = token({**link(0), "cnf": {"jwk": dict(writer.key.jwk)}}, by=signer("alice"))
    leaf = token(link(1, root), by=writer)
    assert verified([root, leaf]).leaf.jti == uuid(1001)


def test_the_digest_names_these_links_in_this_order():
    one, two, _ = links = chain(3)
    digests = {chain_digest(links), chain_digest([two, one]), chain_digest([one]), chain_digest([one, one])}
    assert len(digests) == 4
    assert chain_digest([one, two]) == b64(sha256(f"{one}\n{two}".encode()).digest())


def test_a_statement_about_a_chain_is_about_its_leaf():
    made = verified(chain(2))
    assert subject_of(made) == DelegationSubject(uuid(1001), agent(AGENTS[0]))
    assert subject_of(BOB) == BOB


# Rules 9 to 13, one wrong claim each (attacks 4, 8 to 10, 12).
WRONG = {
    "adds an action": (2, grant(actions=["read", "spend"]), "chain.actions", 13),
    "adds a group above": (2, grant(actions=["tool"]), "chain.actions", 13),
    "adds a space": (2, grant(spaces=["flights", "ops"]), "chain.spaces", 13),
    "adds budget": (2, grant(budget=101), "chain.budget", 13),
    "action in other case": (2, grant(actions=["READ"]), "chain.actions", 13),
    "Cyrillic action": (2, grant(actions=["reаd"]), "chain.claims", 8),
    "fullwidth space": (2, grant(spaces=["ｆlights"]), "chain.claims", 8),
    "zero-width space": (2, grant(spaces=["fli\u200bghts"]), "chain.claims", 8),
    "omits actions": (2, lambda given: given["authorization_details"][0].pop("actions"), "chain.claims", 8),
    "omits spaces": (2, lambda given: given["authorization_details"][0].pop("spaces"), "chain.claims", 8),
    "omits budget": (2, lambda given: given["authorization_details"][0].pop("budget"), "chain.claims", 8),
    "omits the grant": (2, lambda given: given.pop("authorization_details"), "chain.claims", 8),
    "omits its purpose": (2, lambda given: given.pop("purpose"), "chain.claims", 8),
    "omits its expiry": (2, lambda given: given.pop("exp"), "chain.claims", 8),
    "adds a claim": (2, claims(act={"sub": "x"}), "chain.claims", 8),
    "one second longer": (2, claims(exp=NOW + 3601), "chain.exp", 9),
    "issued before its parent": (2, claims(iat=NOW - 101), "chain.iat", 9),
    "valid before its parent": (2, claims(nbf=NOW - 101), "chain.iat", 9),
    "exp a string": (2, claims(exp=str(NOW + 10)), "chain.time", 9),
    "exp a bool": (2, claims(exp=True), "chain.time", 9),
    "exp a float": (2, claims(exp=NOW + 10.0), "chain.time", 9),
    "exp NaN": (2, claims(exp=float("nan")), "jws.json-number", 7),
    "exp infinite": (0, claims(exp=float("inf")), "jws.json-number", 7),
    "root of over 30 days": (0, claims(exp=NOW - 100 + MAX_LIFETIME + 1), "chain.lifetime", 9),
    "issued by another agent": (2, claims(iss=agent("other").spiffe_id), "chain.issuer", 10),
    "issued by the root human": (2, claims(iss=ALICE.spiffe_id), "chain.issuer", 10),
    "hash of another parent": (2, claims(par_hash=b64(bytes(32))), "chain.par-hash", 10),
    "no hash": (2, lambda given: given.pop("par_hash"), "chain.par-hash", 10),
    "root with a hash": (0, claims(par_hash=b64(bytes(32))), "chain.par-hash", 10),
    "sub swapped": (2, claims(sub=BOB.spiffe_id), "chain.sub", 11),
    "sub swapped at the root": (0, claims(sub=BOB.spiffe_id), "chain.issuer", 10),
    "purpose swapped": (2, claims(purpose="payroll"), "chain.purpose", 11),
    "another trust domain": (2, claims(aud="remit:other"), "chain.trust-domain", 11),
    "depth too low": (2, claims(del_depth=1), "chain.depth", 12),
    "depth too high": (2, claims(del_depth=3), "chain.depth", 12),
    "root depth not 0": (0, claims(del_depth=1), "chain.depth", 12),
    "says it is a root": (2, claims(del_depth=0), "chain.depth", 12),
    "over its ceiling": (2, claims(del_max_depth=1), "chain.depth", 12),
    "ceiling raised": (2, claims(del_max_depth=8), "chain.depth", 12),
    "its own delegator again": (
        2,
        claims(may_act={"sub": agent(AGENTS[0]).spiffe_id}),
        "chain.agent-twice",
        12,
    ),
    "its own delegator's key": (2, claims(cnf={"jwk": dict(signer(AGENTS[1]).key.jwk)}), "chain.key-twice", 12),
    "the human's key": (2, claims(cnf={"jwk": dict(signer("alice").key.jwk)}), "chain.key-twice", 12),
    "an id twice": (2, claims(jti=uuid(1000)), "chain.jti-twice", 12),
    "hands on to a user": (2, claims(may_act={"sub": BOB.spiffe_id}), "chain.delegate", 8),
    "a private key": (2, claims(cnf={"jwk": {**signer("x").key.jwk, "d": "AA"}}), "chain.key", 5),
    "a key off the curve": (
        2,
        claims(cnf={"jwk": {"kty": "EC", "crv": "P-256", "x": b64(bytes(32)), "y": b64(bytes(32))}}),
        "jws.key",
        5,
    ),
    "a key anyone holds": (
        2,
        claims(cnf={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(b"\1" + bytes(31))}}),
        "jws.key",
        5,
    ),
    "issued later": (2, claims(iat=NOW + 31), "chain.not-yet", 9),
    "valid later": (2, claims(nbf=NOW + 31), "chain.not-yet", 9),
}


@pytest.mark.parametrize(("at", "edit", "code", "rule"), WRONG.values(), ids=WRONG)
def test_one_wrong_claim_refuses_the_chain(at, edit, code, rule):
    assert refusal(chain(3, at=at, edit=edit)) == (code, rule)


def test_a_link_from_the_middle_is_no_root_even_when_a_human_signs_it():
    middle = claims(del_depth=1, par_hash=b64(bytes(32)))
    assert refusal(chain(1, edit=middle)) == ("chain.par-hash", 10)


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_place_of_a_wrong_link_does_not_matter(length, at):
    if at < length:
        assert refusal(chain(length, at=at, edit=claims(extra=1))) == ("chain.claims", 8)


# Rule 9 with clocks (attack 49).
@pytest.mark.parametrize(
    ("now", "code"),
    [
        (NOW - 130, None),
        (NOW - 131, "chain.not-yet"),
        (NOW - 400, "chain.not-yet"),
        (NOW + 3600 + 29, None),
        (NOW + 3600 + 30, "chain.expired"),
        (NOW + 3600 + 300, "chain.expired"),
    ],
)
def test_time_is_checked_on_every_use(now, code):
    links = chain(2)
    found = verified(links)
    if code is None:
        assert verified(links, now=now) == found
        check_time(found, now)
        return
    assert refusal(links, now=now) == (code, 9)
    with pytest.raises(InvalidDocument) as refused:
        check_time(found, now)
    assert (refused.value.code, refused.value.rule) == (code, 9)


def test_times_may_be_left_to_each_use_and_are_then_checked_there():
    found = verified(chain(2), now=None)
    check_time(found, NOW)
    with pytest.raises(InvalidDocument) as refused:
        check_time(found, NOW + 86400)
    assert refused.value.code == "chain.expired"


def test_the_shortest_link_ends_the_chain():
    links = chain(3, at=2, edit=claims(exp=NOW + 5))
    assert verified(links).expires_at == NOW + 5
    assert refusal(links, now=NOW + 35) == ("chain.expired", 9)


# Attack 11: links put together in other ways.
def rearranged() -> dict[str, tuple[list[str], str]]:
    one, two, three = chain(3)
    wide = token({**link(0), "jti": uuid(1), "del_max_depth": 6}, by=signer("alice"))
    return {
        "reordered": ([one, three, two], "jws.kid"),
        "reversed": ([three, two, one], "chain.anchor"),
        "skipped": ([one, three], "jws.kid"),
        "truncated at the head": ([two, three], "chain.anchor"),
        "repeated": ([one, one, two], "jws.kid"),
        "repeated leaf": ([one, two, two], "jws.kid"),
        "another root of the same human and agent": ([wide, two, three], "chain.par-hash"),
        "two roots": ([one, wide], "jws.kid"),
    }


@pytest.mark.parametrize("name", rearranged())
def test_links_stand_only_where_they_were_signed(name):
    links, code = rearranged()[name]
    assert refusal(links)[0] == code


def test_a_chain_cut_at_the_tail_is_its_own_chain_of_the_upper_agent():
    links = chain(3)
    shorter = verified(links[:2])
    assert shorter.agent == agent(AGENTS[1])
    assert shorter.digest != verified(links).digest


def test_a_child_is_for_one_parent_even_with_the_same_key():
    narrow = token(
        {**link(0), "authorization_details": [{**link(0)["authorization_details"][0], "budget": 1}]},
        by=signer("alice"),
    )
    broad = token({**link(0), "jti": uuid(1)}, by=signer("alice"))
    small = {**link(1, narrow), "authorization_details": [{**link(1)["authorization_details"][0], "budget": 1}]}
    child = token(small, by=signer(AGENTS[0]))
    verified([narrow, child])
    assert refusal([broad, child]) == ("chain.par-hash", 10)


def test_a_child_does_not_survive_its_parent_signed_anew():
    root = token(
        link(0),
        by=signer("alice"),
        header=json.dumps({"typ": "delegation+jwt", "kid": signer("alice").key.kid, "alg": "EdDSA"}).encode(),
    )
    _, child = chain(2)
    assert refusal([root, child]) == ("chain.par-hash", 10)


# Attack 12: keys.
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("name", ["mallory", "bob"])
def test_a_link_signed_by_another_key_is_refused(at, name):
    if at == 0:
        # bob is a trusted human, but not the one who issues this root
        assert refusal(chain(3, at=at, by=signer(name))) == ("chain.anchor", 5)
    else:
        assert refusal(chain(3, at=at, by=signer(name))) == ("jws.kid", 5)


def test_an_agent_is_no_anchor():
    root = token({**link(0), "iss": agent("agent-8").spiffe_id}, by=signer("agent-8"))
    assert refusal([root]) == ("chain.anchor", 5)
    known = {agent("agent-8").spiffe_id: signer("agent-8").key}
    with pytest.raises(InvalidDocument) as refused:
        verified([root], **known)
    assert refused.value.code == "chain.issuer"


def test_one_trusted_human_does_not_speak_for_another():
    assert refusal([token(link(0), by=signer("bob"))]) == ("chain.anchor", 5)
    as_bob = {**link(0), "iss": BOB.spiffe_id}
    assert refusal([token(as_bob, by=signer("bob"))]) == ("chain.issuer", 10)


def test_a_human_nobody_knows_is_no_anchor():
    eve = Principal("remit.local", "user", "eve").spiffe_id
    assert refusal([token({**link(0), "iss": eve, "sub": eve}, by=signer("alice"))]) == ("chain.anchor", 5)


def test_a_single_link_stands_at_depth_0():
    assert refusal(chain(1, edit=claims(del_depth=1))) == ("chain.depth", 12)


def test_without_anchors_nothing_is_trusted():
    with pytest.raises(InvalidDocument) as refused:
        verify_chain(chain(1), anchors={}, audience=AUDIENCE, now=NOW, groups=GROUPS)
    assert refused.value.code == "chain.anchor"


def test_the_chain_is_for_this_audience():
    with pytest.raises(InvalidDocument) as refused:
        verify_chain(chain(1), anchors=anchors(), audience="remit:other", now=NOW, groups=GROUPS)
    assert (refused.value.code, refused.value.rule) == ("chain.aud", 11)


def test_the_leafs_signature_is_checked_like_any_other():
    one, two = chain(2)
    body = two.rpartition(".")[0]
    assert refusal([one, f"{body}.{b64(bytes(64))}"]) == ("jws.signature", 6)


# Rule 1 and attack 5, before anything is decoded.
@pytest.mark.parametrize(
    ("links", "code"),
    [
        ([], "chain.length"),
        (["a.b.c"] * 9, "chain.length"),
        ("a.b.c", "chain.length"),
        (None, "chain.length"),
        ({"0": "a.b.c"}, "chain.length"),
        ([None], "jws.size"),
        ([b"a.b.c"], "jws.size"),
        (["a.b." + "c" * 10_000_000], "jws.size"),
        (["." * 8193], "jws.size"),
        (["a" * 600 + "." + "b" * 600 + ".c", "a" * 9000], "jws.size"),
        (["a.b." + "c" * 8000] * 5, "chain.size"),
    ],
    ids=range(11),
)
def test_sizes_come_first(links, code, monkeypatch):
    monkeypatch.setattr(jose, "_decode", lambda _text: pytest.fail("decoded before sizes were known"))
    monkeypatch.setattr(chain_module, "_anchor", lambda *_: pytest.fail("looked up before sizes were known"))
    assert refusal(links) == (code, 1)


def test_the_largest_chain_is_decoded():
    links = ["a.b." + "c" * (MAX_CHAIN // 4 - 4)] * 4
    assert refusal(links)[0] == "jws.form"


@pytest.mark.parametrize(
    "body",
    [b'{"exp":' + b"[" * 5000, b'{"exp":' + b"9" * 5000 + b"}", b'{"exp":1,"exp":2}', b"[]"],
    ids=["deep", "digits", "duplicate", "list"],
)
def test_hostile_json_is_refused_at_the_root_and_below(body):
    assert refusal([token(body, by=signer("alice"))])[1] == 7
    assert refusal([chain(1)[0], token(body, by=signer(AGENTS[0]))])[1] == 7


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_changed_character_is_found(data):
    links = chain(2)
    at = data.draw(st.integers(0, 1))
    place = data.draw(st.integers(0, len(links[at]) - 1))
    other = data.draw(st.sampled_from("AZaz09-_.=+/ \n").filter(lambda one: one != links[at][place]))
    links[at] = links[at][:place] + other + links[at][place + 1 :]
    with pytest.raises(InvalidDocument):
        verified(links)


def test_a_key_made_for_the_occasion_is_not_trusted():
    mallory = LocalSigner.generate()
    assert refusal([token(link(0), by=mallory)]) == ("chain.anchor", 5)
    assert refusal([token(link(0), by=mallory, kid=signer("alice").key.kid)]) == ("jws.signature", 6)
