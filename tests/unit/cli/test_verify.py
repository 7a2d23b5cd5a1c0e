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


def named(name, *, naming="kid"):
    return {**signer(name).key.jwk, naming: f"spiffe://remit.local/user/{name}"}


def unnamed(name):
    return {**signer(name).key.jwk, "kid": signer(name).key.kid, "alg": "EdDSA", "use": "sig"}


@pytest.mark.parametrize("keys", [None, [named("alice", naming="sub")], [named("alice", naming="principal")],
                                  [unnamed("bob"), unnamed("alice")]])  # fmt: skip
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
    keys = [{**signer("alice").key.jwk, "sub": "spiffe://remit.local/user/bob"}]
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


@pytest.mark.parametrize(
    "keys",
    [
        "text", {}, [], [1], [{"kty": "OKP"}], [{"kty": "RSA", "n": "x", "e": "AQAB"}],
        [{"kty": "oct", "k": "c2VjcmV0"}], [{**signer("alice").key.jwk, "d": "c2VjcmV0"}],
        [{**signer("alice").key.jwk, "alg": "HS256"}], [{**signer("alice").key.jwk, "x": "AA"}],
    ],
)  # fmt: skip
def test_a_malformed_key_set_is_the_callers_mistake(remit, files, keys):
    ended = remit("verify", *files(chain(1), keys=keys), "--json")
    assert ended.status == 2
    assert ended.out == ""
    assert "[anchors.invalid]" in ended.err


def test_files_that_are_not_there(remit, files, tmp_path):
    document, _, anchors, at, moment = files(chain(1))
    missing = str(tmp_path / "missing.json")
    assert remit("verify", missing, "--anchors", anchors, at, moment).status == 2
    assert remit("verify", document, "--anchors", missing, at, moment).status == 2
    ended = remit("verify", document, "--anchors", anchors, at, moment, "--policies", str(tmp_path))
    assert (ended.status, "policy.folder" in ended.err) == (2, True)
