"""Keys for verifiers: public, owned, one authority; whatever else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from remit.errors import InvalidDocument, Usage
from remit.evidence import keys
from tests.unit.documents import signer
from tests.unit.evidence.making import AUTHORITY, jwks, trusted

OWN = {**signer("authority").key.jwk, "sub": AUTHORITY}


def test_what_is_printed_is_read() -> None:
    read = trusted()
    assert read.authority == AUTHORITY
    assert {owner for owner, _ in read.owners.values()} == {one["sub"] for one in jwks()["keys"]}
    assert all(one["use"] == "sig" and "d" not in one for one in jwks()["keys"])


def test_a_former_key_is_marked() -> None:
    (now, before) = keys.document([(AUTHORITY, signer("a").key, True), (AUTHORITY, signer("b").key, False)])["keys"]
    assert "former" not in now
    assert before["former"] is True


def test_a_key_is_its_owners_alone() -> None:
    kid = signer("bob").key.kid
    assert trusted().key(kid)[0].endswith("/user/bob")
    for asked, owner in ((kid, AUTHORITY), ("x", None)):
        with pytest.raises(InvalidDocument) as refused:
            trusted().key(asked, owner=owner)
        assert refused.value.code == "keys.unknown"


@pytest.mark.parametrize(
    "found",
    [
        None, [], {}, [1], [{}], [OWN | {"d": "x"}], [OWN | {"sub": None}], [OWN | {"sub": "spiffe://x/robot/y"}],
        [OWN | {"alg": "ES256"}], [OWN | {"kid": "x"}], [OWN | {"kty": "oct"}], [OWN | {"kty": 1}], [OWN | {"x": "AA"}],
        [{**signer("alice").key.jwk, "sub": "spiffe://remit.local/user/alice"}],
        [OWN, {**signer("other").key.jwk, "sub": "spiffe://other/authority"}],
        [OWN, OWN | {"sub": "spiffe://remit.local/user/alice"}],
    ],
)  # fmt: skip
def test_what_cannot_be_used(found: Any) -> None:
    with pytest.raises(Usage) as refused:
        keys.read(json.dumps({"keys": found}).encode())
    assert refused.value.code == "keys.invalid"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"keys":[],"keys":[]}'])
def test_what_is_no_set(data: bytes) -> None:
    with pytest.raises(Usage):
        keys.read(data)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Usage) as refused:
        keys.load(tmp_path / "none.json")
    assert refused.value.code == "keys.invalid"
