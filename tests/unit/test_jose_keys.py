"""Keys and single tokens, made and read inside each test: what a key is, what is signed, what is only peeked at."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from remit import jose
from remit.errors import InvalidDocument
from remit.jose import MAX_TOKEN, LocalSigner
from tests.unit.documents import b64, run, token

PKCS8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)


def refused(call: Any) -> tuple[str, int]:
    with pytest.raises(InvalidDocument) as caught:
        call()
    return caught.value.code, caught.value.rule


def decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(
    ("alg", "names"), [("EdDSA", ("crv", "kty", "x")), ("ES256", ("crv", "kty", "x", "y"))], ids=["EdDSA", "ES256"]
)
def test_a_key_is_its_public_members_and_their_thumbprint(alg: Any, names: tuple[str, ...]) -> None:
    made = LocalSigner.generate(alg)
    jwk = dict(made.key.jwk)
    assert tuple(sorted(jwk)) == names
    read = jose.public_key(jwk)
    assert (read.alg, dict(read.jwk), read) == (alg, jwk, made.key)
    canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":"))
    assert read.kid == b64(sha256(canonical.encode()).digest())
    assert read.verifies(run(made.sign(b"data")), b"data")
    assert not read.verifies(run(made.sign(b"data")), b"other")
    again = LocalSigner.from_pem(made.to_pem())
    assert again.key == made.key


def test_the_plain_key_is_ed25519() -> None:
    assert LocalSigner.generate().key.alg == "EdDSA"


def test_what_is_no_signing_key() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    locked = key.private_bytes(*PKCS8, serialization.BestAvailableEncryption(b"x"))
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        *PKCS8, serialization.NoEncryption()
    )
    curve = ec.generate_private_key(ec.SECP256K1()).private_bytes(*PKCS8, serialization.NoEncryption())
    for pem in (b"", b"no key", locked, other, curve):
        assert refused(lambda pem=pem: LocalSigner.from_pem(pem)) == ("jws.key", 5)


def test_exactly_this_is_signed() -> None:
    by = LocalSigner.generate()
    made = run(jose.sign({"name": "Zoë", "n": 1}, typ="x+jwt", signer=by))
    head, payload, _ = made.split(".")
    assert decoded(head) == f'{{"alg":"EdDSA","kid":"{by.key.kid}","typ":"x+jwt"}}'.encode()
    assert decoded(payload) == '{"name":"Zoë","n":1}'.encode()
    assert jose.signing_input(made) == f"{head}.{payload}".encode()
    assert jose.verify(made, typ="x+jwt", key=by.key) == {"name": "Zoë", "n": 1}


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (object(), "jws.json"),
        (circle(), "jws.json"),
        (deep(), "jws.json"),
        (float("nan"), "jws.json-number"),
        ("\ud800", "jws.json-text"),
    ],
    ids=["an object", "a circle", "deep", "NaN", "a surrogate"],
)
def test_what_would_not_be_read_is_not_signed(value: Any, code: str) -> None:
    assert refused(lambda: run(jose.sign({"a": value}, typ="x+jwt", signer=LocalSigner.generate()))) == (code, 7)


def test_a_peek_tells_nothing_of_another_type_size_or_form() -> None:
    by = LocalSigner.generate()
    made = token({"a": 1}, by=by, typ="x+jwt")
    assert jose.peek_kid(made, typ="x+jwt") == by.key.kid
    assert jose.peek_claims(made, typ="x+jwt") == {"a": 1}
    for peek in (jose.peek_kid, jose.peek_claims):
        assert refused(lambda peek=peek: peek(made, typ="y+jwt")) == ("jws.typ", 4)
        assert refused(lambda peek=peek: peek(token({}, by=by, typ="x+jwt", kid="../x"), typ="x+jwt")) == ("jws.kid", 5)
        assert refused(lambda peek=peek: peek(made + "A" * MAX_TOKEN, typ="x+jwt")) == ("jws.size", 1)
        assert refused(lambda peek=peek: peek(made + ".A", typ="x+jwt")) == ("jws.form", 2)


def test_only_a_token_has_a_signing_input() -> None:
    made = token({"a": 1}, by=LocalSigner.generate())
    assert refused(lambda: jose.signing_input("A" * (MAX_TOKEN + 1))) == ("jws.size", 1)
    assert refused(lambda: jose.signing_input(made + ".A")) == ("jws.form", 2)


def test_the_largest_token_is_one() -> None:
    jose.check_size("h." + "A" * (MAX_TOKEN - 2))
    assert refused(lambda: jose.check_size("h." + "A" * (MAX_TOKEN - 1))) == ("jws.size", 1)
