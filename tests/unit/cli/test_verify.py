"""`remit verify`: offline, from files, with stable codes."""

import json

import pytest

from tests.unit.documents import NOW, chain, signer


@pytest.fixture
def files(tmp_path):
    def write(links, *, keys=None, raw=None):
        document = tmp_path / "chain.json"
        document.write_text(json.dumps({"links": links}) if raw is None else raw)
        anchors = tmp_path / "jwks.json"
        anchors.write_text(json.dumps({"keys": keys if keys is not None else [named("alice"), named("bob")]}))
        return str(document), "--anchors", str(anchors), "--at", str(NOW)

    return write


def named(name, *, owner=None, **members):
    return {**signer(name).key.jwk, "sub": f"spiffe://remit.local/user/{owner or name}", **members}


@pytest.mark.parametrize("keys", [
    None, [named("alice", kid=signer("alice").key.kid, alg="EdDSA", use="sig")], [named("alice", alg="Ed25519")],
    [named("another", owner="alice"), named("alice")], [named("alice"), named("alice")],
    [{**signer("agent-0").key.jwk, "sub": "spiffe://remit.local/agent/agent-0"}, named("alice")],
    [{**signer("authority").key.jwk, "sub": "spiffe://remit.local/authority"}, named("alice", former=True)],
    [named("ec", owner="bob"), {**signer("ec2", "ES256").key.jwk, "sub": "spiffe://other/user/eve"}, named("alice")],
])  # fmt: skip
def test_a_chain_that_holds(remit, files, keys):
    ended = remit("verify", *files(chain(3), keys=keys), "--json")
    assert ended.status == 0
    assert ended.document() == {"valid": True, "code": None, "rule": None}
    assert ended.err == ""


def test_people_read_who_handed_what_to_whom(remit, files):
    ended = remit("verify", *files(chain(2)))
    assert ended.status == 0
    assert "user/alice" in ended.out


@pytest.mark.parametrize("as_json", [True, False])
def test_a_chain_that_does_not_hold(remit, files, as_json):
    links = chain(2)
    links = [links[1]]  # no root
    ended = remit("verify", *files(links), *(["--json"] if as_json else []))
    assert ended.status == 1
    if as_json:
        assert ended.document()["valid"] is False
        assert ended.document()["code"].startswith(("chain.", "jws."))
        assert isinstance(ended.document()["rule"], int)
        assert ended.err == ""
    else:
        assert ended.out == ""
        assert "[" in ended.err


def test_another_users_key_is_no_anchor_for_alice(remit, files):
    ended = remit("verify", *files(chain(1), keys=[named("alice", owner="bob")]), "--json")
    assert ended.document() == {"valid": False, "code": "chain.anchor", "rule": 5}


def test_an_anchor_is_for_its_own_trust_domain(remit, files):
    keys = [named("alice") | {"sub": "spiffe://other/user/alice"}]
    ended = remit("verify", *files(chain(1), keys=keys), "--json")
    assert ended.document() == {"valid": False, "code": "chain.anchor", "rule": 5}


def test_no_known_key(remit, files):
    ended = remit("verify", *files(chain(1), keys=[named("bob")]), "--json")
    assert (ended.status, ended.document()["code"]) == (1, "chain.anchor")


def test_the_moment_decides(remit, files):
    document, _, anchors, _, _ = files(chain(1))
    ended = remit("verify", document, "--anchors", anchors, "--at", "1", "--json")
    assert (ended.status, ended.document()["code"]) == (1, "chain.not-yet")


@pytest.mark.parametrize(
    "raw",
    [
        "", "nonsense", "[]", '"text"', "{}", '{"links": 1}', '{"links": []}', '{"links": [1]}', '{"links": [null]}',
        '{"links": ["a.b.c"], "more": 1}', '{"links": ["x"], "links": ["y"]}',
        '{"links": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"links": ["' + "A" * 300_000 + '"]}', '{"links": [' + ",".join(['"a.b.c"'] * 9) + "]}", "\x00",
    ],
)  # fmt: skip
def test_a_malformed_chain_is_an_invalid_chain(remit, files, raw):
    ended = remit("verify", *files([], raw=raw), "--json")
    assert ended.status == 1
    assert ended.document()["valid"] is False
    assert ended.document()["code"]
    assert ended.err == ""


ALICE = named("alice")
NOBODYS = dict(signer("alice").key.jwk)
UNUSABLE = {
    "text": ("text", "not a JWK Set"),
    "an object": ({}, "not a JWK Set"),
    "no keys": ([], "not a JWK Set"),
    "a number": ([1], "key 1 is not an object"),
    "no point": ([{"kty": "OKP"}], "nothing else"),
    "kty a list": ([{**ALICE, "kty": ["OKP"]}], "nothing else"),
    "RSA": ([{"kty": "RSA", "n": "x", "e": "AQAB"}], "nothing else"),
    "a secret": ([{"kty": "oct", "k": "c2VjcmV0"}], "key 1 is private"),
    "a private key": ([ALICE, {**ALICE, "d": "c2VjcmV0"}], "key 2 is private"),
    "another algorithm": ([{**ALICE, "alg": "HS256"}], "another algorithm"),
    "a short point": ([{**ALICE, "x": "AA"}], "32 bytes"),
    "nobody's key": ([NOBODYS], "key 1 does not say which user's it is"),
    "nobody's key among others": ([named("bob"), NOBODYS], "key 2 does not say which user's it is"),
    "named by kid alone": ([{**NOBODYS, "kid": ALICE["sub"]}], "key 1 does not say which user's it is"),
    "an agent's key alone": ([{**NOBODYS, "sub": "spiffe://remit.local/agent/agent-0"}], "no key in it is a user's"),
    "a user's and an agent's key": ([ALICE, {**NOBODYS, "sub": "spiffe://remit.local/agent/agent-0"}], "key 2 stands"),
    "something else's": ([ALICE, {**signer("x").key.jwk, "sub": "spiffe://remit.local/users/x"}], "key 2 does not say"),
    "sub not an ID": ([{**NOBODYS, "sub": "alice"}], "does not say which user's"),
    "sub a list": ([{**NOBODYS, "sub": [ALICE["sub"]]}], "does not say which user's"),
    "one key for two": ([ALICE, named("alice", owner="bob")], "key 2 stands in it for another owner as well"),
}


@pytest.mark.parametrize(("keys", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_set_that_cannot_be_trusted_is_the_callers_mistake(remit, files, keys, why):
    ended = remit("verify", *files(chain(1), keys=keys), "--json")
    assert ended.status == 2
    assert ended.out == ""
    assert "[anchors.invalid]" in ended.err
    assert why in ended.err


def test_a_key_set_is_read_one_way_only(remit, files, tmp_path):
    arguments = files(chain(1))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [ALICE]}).replace('"sub"', '"sub": "x", "sub"'))
    assert "stands twice" in remit("verify", *arguments).err


def test_files_that_are_not_there(remit, files, tmp_path):
    document, _, anchors, at, moment = files(chain(1))
    missing = str(tmp_path / "missing.json")
    assert remit("verify", missing, "--anchors", anchors, at, moment).status == 2
    assert remit("verify", document, "--anchors", missing, at, moment).status == 2
    ended = remit("verify", document, "--anchors", anchors, at, moment, "--policies", str(tmp_path))
    assert (ended.status, "policy.folder" in ended.err) == (2, True)
