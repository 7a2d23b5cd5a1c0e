import hmac
import json
import socket
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from remit import approvals, delegation, jose, presentation, statements
from remit.errors import InvalidDocument
from remit.jose import LocalSigner
from tests.unit import documents
from tests.unit.documents import ALICE, b64, run, signer, token

TYP = "delegation+jwt"
KEY = signer("alice").key
NEWLINE = pytest.param(KEY.kid + "\n", id="newline")


def refusal(text, *, typ=TYP, key=KEY):
    """Return (code, rule) of the refusal, which must come fast and without any I/O."""

    def forbidden(*_args, **_named):
        raise AssertionError("a token caused I/O")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", forbidden)
        patch.setattr(socket, "getaddrinfo", forbidden)
        patch.setattr(Path, "open", forbidden)
        patch.setattr("builtins.open", forbidden)
        refused = documents.refusal(lambda: jose.verify(text, typ=typ, key=key))
    return refused.code, refused.rule


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_what_is_signed_is_read_back(alg):
    by = signer("alice", alg)
    text = run(jose.sign({"a": 1, "b": "ü"}, typ=TYP, signer=by))
    assert jose.verify(text, typ=TYP, key=by.key) == {"a": 1, "b": "ü"}
    assert jose.peek_kid(text, typ=TYP) == by.key.kid
    assert jose.signing_input(text) == text.rpartition(".")[0].encode()


def header(**names):
    return {"alg": "EdDSA", "kid": KEY.kid, "typ": TYP, **names}


def unsigned(head):
    return f"{b64(json.dumps(head).encode())}.{b64(b'{}')}.{b64(b'x' * 64)}"


def by_alice(head):
    return token({}, by=signer("alice"), header=head)


# Attack 1: another algorithm.
@pytest.mark.parametrize("alg", ["none", "None", "NoNe", "NONE", "", "HS256", "ES256", "RS256", "EdDsa", "Ed25519"])
def test_the_key_fixes_the_algorithm(alg):
    assert refusal(by_alice(header(alg=alg))) == ("jws.alg", 4)


def test_an_empty_signature_is_not_a_form_of_none():
    assert refusal(unsigned(header(alg="none")).rpartition(".")[0] + ".") == ("jws.form", 2)


@pytest.mark.parametrize("secret", [KEY.jwk["x"].encode(), json.dumps(dict(KEY.jwk)).encode()], ids=["x", "jwk"])
def test_the_public_key_is_no_shared_secret(secret):
    data = f"{b64(json.dumps(header(alg='HS256')).encode())}.{b64(b'{}')}"
    assert refusal(f"{data}.{b64(hmac.digest(secret, data.encode(), sha256))}") == ("jws.alg", 4)


def test_a_key_of_the_other_algorithm_does_not_verify():
    text = token({}, by=signer("alice", "ES256"), kid=KEY.kid)
    assert refusal(text) == ("jws.alg", 4)
    text = token({}, by=signer("alice", "ES256"), kid=KEY.kid, alg="EdDSA")
    assert refusal(text) == ("jws.signature", 6)


# Attack 2: kid is a map look-up.
@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1/k", "", NEWLINE, "é" * 43, 7, None, ["x"]]
)
def test_a_kid_is_a_thumbprint(kid):
    assert refusal(by_alice(header(kid=kid)))[0] in {"jws.kid", "jws.header"}


@pytest.mark.parametrize("kid", ["../../etc/passwd", "k" * 42, "k" * 44, NEWLINE, "é" * 43])
def test_only_a_thumbprint_is_ever_looked_up(kid):
    with pytest.raises(InvalidDocument) as refused:
        jose.peek_kid(by_alice(header(kid=kid)), typ=TYP)
    assert refused.value.code == "jws.kid"


def test_a_long_kid_is_refused_by_size():
    assert refusal(by_alice(header(kid="k" * 500))) == ("jws.size", 1)


def test_another_key_is_not_this_key():
    assert refusal(token({}, by=signer("bob"))) == ("jws.kid", 5)
    assert refusal(token({}, by=signer("bob"), kid=KEY.kid)) == ("jws.signature", 6)


# Attacks 2 and 3: nothing but alg, typ, kid.
@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "http://127.0.0.1:1/jwks"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"jwk": dict(KEY.jwk)},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"x": ""},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_the_header_is_closed(extra):
    assert refusal(by_alice(header(**extra))) == ("jws.header", 3)


@pytest.mark.parametrize("name", ["alg", "typ", "kid"])
def test_no_header_name_may_be_missing_or_of_another_type(name):
    assert refusal(by_alice({key: value for key, value in header().items() if key != name})) == ("jws.header", 3)
    for value in (None, 1, True, ["x"], {}):
        assert refusal(by_alice(header(**{name: value}))) == ("jws.header", 3)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b'{"alg":"none","alg":"EdDSA"}', "jws.json-duplicate"),
        (b"[]", "jws.json"),
        (b"null", "jws.json"),
        (b"[" * 400, "jws.json-depth"),
        (b'{"alg":"EdDSA","typ":"delegation+jwt","kid":' + b"9" * 400 + b"}", "jws.json-number"),
    ],
)
def test_the_header_is_strict_json(head, code):
    assert refusal(by_alice(head)) == (code, 7)


GOOD = token({}, by=signer("alice"))
HEAD, BODY, SIGNATURE = GOOD.split(".")

# Attacks 3 and 6: one spelling only.
FORMS = {
    "JSON serialization": json.dumps({"protected": HEAD, "payload": BODY, "signature": SIGNATURE}),
    "JWE": f"{GOOD}.x.y",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "two parts": f"{HEAD}.{BODY}",
    "empty part": f"{HEAD}..{SIGNATURE}",
    "detached": f"{HEAD}.{SIGNATURE}.",
    "leading dot": f".{GOOD}",
    "padding": f"{GOOD}==",
    "padding inside": f"{HEAD}=.{BODY}.{SIGNATURE}",
    "newline": f"{GOOD}\n",
    "newline inside": f"{HEAD}\n.{BODY}.{SIGNATURE}",
    "space": f" {GOOD}",
    "plus": f"{HEAD}.{BODY}.+{SIGNATURE[1:]}",
    "junk": f"{HEAD}.{BODY}.!{SIGNATURE[1:]}",
    "NUL": f"{GOOD}\0",
    "fullwidth": f"{HEAD}.{BODY}.Ａ{SIGNATURE[1:]}",
    "fullwidth dot": GOOD.replace(".", "．"),
    "impossible length": f"{HEAD}.{BODY}AA.{SIGNATURE}",
    "second spelling of the signature": GOOD[:-1] + chr(ord(GOOD[-1]) + 1),
    "empty": "",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_the_compact_form_is_strict(text):
    assert refusal(text) == ("jws.form", 2)


@pytest.mark.parametrize("text", [None, 7, b"a.b.c", ["a", "b", "c"], {"payload": ""}])
def test_a_token_is_text(text):
    assert refusal(text) == ("jws.size", 1)


# Attack 5: sizes come first.
@pytest.mark.parametrize(
    "text", ["a" * 10_000_000, "." * 10_000_000, GOOD + "A" * 8192, b64(b" " * 600) + "." + BODY + "." + SIGNATURE]
)
def test_size_is_checked_first(text, monkeypatch):
    monkeypatch.setattr(jose, "_decode", lambda _text: pytest.fail("decoded before the size was known"))
    monkeypatch.setattr(jose, "_split", lambda _text: pytest.fail("split before the size was known"))
    assert refusal(text) == ("jws.size", 1)


def test_the_largest_header_and_token_pass_the_size_check():
    filled = json.dumps(header()).encode().ljust(jose.MAX_HEADER)
    assert jose.verify(token({}, by=signer("alice"), header=filled), typ=TYP, key=KEY) == {}
    assert refusal(token({}, by=signer("alice"), header=filled + b" ")) == ("jws.size", 1)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"exp":1,"exp":2}', "jws.json-duplicate"),
        (b'{"exp":NaN}', "jws.json-number"),
        (b'{"exp":1e400}', "jws.json-number"),
        (b'{"exp":' + b"9" * 5000 + b"}", "jws.json-number"),
        (b'{"exp":' + b"[" * 5000 + b"}", "jws.json-depth"),
        (b"{" + b'"' * 5000, "jws.json"),
    ],
)
def test_a_signed_payload_is_strict_json(body, code):
    assert refusal(token(body, by=signer("alice"))) == (code, 7)


@pytest.mark.parametrize("body", [b'{"exp":NaN}', b"not JSON", b"\xff"])
def test_nothing_is_read_before_the_signature(body):
    assert refusal(token(body, by=signer("bob"), kid=KEY.kid)) == ("jws.signature", 6)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_any_changed_bit_is_found(part):
    parts = [bytearray(jose._decode(text)) for text in GOOD.split(".")]
    parts[part][-1] ^= 1
    assert refusal(".".join(b64(bytes(text)) for text in parts))[0] in {"jws.signature", "jws.json"}


@pytest.mark.parametrize("signature", [b"", b"x", b"x" * 63, b"x" * 65, b"\0" * 64, b"\xff" * 64])
@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_a_signature_of_another_length_or_range_is_refused(alg, signature):
    by = signer("alice", alg)
    data = token({}, by=by).rpartition(".")[0]
    code = refusal(f"{data}.{b64(signature)}", key=by.key)[0]
    assert code == ("jws.signature" if signature else "jws.form")


# Attack 7: every document type where another is expected.
TYPES = [
    delegation.TYP,
    approvals.TYP,
    statements.TYP,
    presentation.TYP,
    presentation.STEP_TYP,
    presentation.ACCESS_TYP,
]


@pytest.mark.parametrize("given", [*TYPES, "JWT", "", "Delegation+JWT", "application/delegation+jwt"])
@pytest.mark.parametrize("expected", TYPES)
def test_no_document_stands_for_another(given, expected):
    text = token({}, by=signer("alice"), typ=given)
    if given == expected:
        assert jose.verify(text, typ=expected, key=KEY) == {}
    else:
        assert refusal(text, typ=expected) == ("jws.typ", 4)
        with pytest.raises(InvalidDocument, match="another type"):
            jose.peek_kid(text, typ=expected)


# Rule 5: keys.
P256 = dict(signer("alice", "ES256").key.jwk)
ED = dict(KEY.jwk)
KEYS = {
    "not an object member": {},
    "private Ed25519": {**ED, "d": "AA"},
    "private P-256": {**P256, "d": "AA"},
    "kid member": {**ED, "kid": "x"},
    "alg member": {**ED, "alg": "EdDSA"},
    "Ed448": {**ED, "crv": "Ed448"},
    "X25519": {**ED, "crv": "X25519"},
    "P-384": {**P256, "crv": "P-384"},
    "secp256k1": {**P256, "crv": "secp256k1"},
    "RSA": {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    "oct": {"kty": "oct", "k": "AQAB"},
    "kty and crv do not fit": {**ED, "kty": "EC"},
    "x missing": {"kty": "OKP", "crv": "Ed25519"},
    "y missing": {key: value for key, value in P256.items() if key != "y"},
    "x a number": {**ED, "x": 7},
    "x padded": {**ED, "x": ED["x"] + "="},
    "x short": {**ED, "x": b64(b"x" * 31)},
    "x long": {**ED, "x": b64(b"x" * 33)},
    "x second spelling": {**ED, "x": ED["x"][:-1] + chr(ord(ED["x"][-1]) + 1)},
    "not on Ed25519": {**ED, "x": b64((2).to_bytes(32, "little"))},
    "not on P-256": {**P256, "y": P256["x"]},
    "zero point": {**P256, "x": b64(bytes(32)), "y": b64(bytes(32))},
}


@pytest.mark.parametrize("jwk", KEYS.values(), ids=KEYS)
def test_a_key_is_public_and_of_our_curves(jwk):
    with pytest.raises(InvalidDocument) as refused:
        jose.public_key(jwk)
    assert (refused.value.code, refused.value.rule) == ("jws.key", 5)


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def add(one, two):
    """Add two points of Ed25519 in affine coordinates (RFC 8032 section 5.1.4)."""
    (x1, y1), (x2, y2) = one, two
    cross = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P,
    )


def recovered_x(y):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square:
        root = root * pow(2, (P - 1) // 4, P) % P
    assert root * root % P == square
    return root


@pytest.mark.parametrize("y", sorted(jose._SMALL_ORDER))
@pytest.mark.parametrize("sign", [0, 1])
def test_a_point_of_small_order_is_no_key(y, sign):
    eightfold = (recovered_x(y), y)
    for _ in range(3):
        eightfold = add(eightfold, eightfold)
    assert eightfold == (0, 1)  # so anyone could sign for it
    with pytest.raises(InvalidDocument):
        jose.public_key({**ED, "x": b64((y | sign << 255).to_bytes(32, "little"))})


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1])
def test_a_point_has_one_spelling(y):
    with pytest.raises(InvalidDocument):
        jose.public_key({**ED, "x": b64(y.to_bytes(32, "little"))})


def test_vectors_of_rfc_8037():
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    key = jose.public_key(jwk)
    assert key.kid == jose.thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    assert key.verifies(jose._decode(signature), b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")


# Signing.
@pytest.mark.parametrize(
    "claims",
    [
        {"a": float("nan")},
        {"a": 2**53},
        {"a": 10**5000},
        {"a": "\ud800"},
        {"a": object()},
        {"a": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]},
    ],
    ids=["NaN", "2^53", "5,000 digits", "surrogate", "object", "deep"],
)
def test_nothing_is_signed_that_would_be_refused(claims):
    class Watched:
        key = KEY

        async def sign(self, data):
            pytest.fail("signed")

    with pytest.raises(InvalidDocument):
        run(jose.sign(claims, typ=TYP, signer=Watched()))


def test_an_oversized_document_is_not_handed_out():
    with pytest.raises(InvalidDocument) as refused:
        run(jose.sign({"a": "x" * 9000}, typ=TYP, signer=signer("alice")))
    assert refused.value.code == "jws.size"


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_a_local_key_is_kept_as_pem_and_never_shown(alg):
    by = LocalSigner.generate(alg)
    again = LocalSigner.from_pem(by.to_pem())
    assert again.key == by.key
    assert repr(by) == f"LocalSigner(key={by.key!r})"
    assert "private" not in repr(by).lower()


def pem(key):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ],
    ids=["empty", "junk", "P-384", "RSA"],
)
def test_only_our_kinds_of_key_are_loaded(data):
    with pytest.raises(InvalidDocument) as refused:
        LocalSigner.from_pem(data)
    assert refused.value.code == "jws.key"


@given(st.text(max_size=300) | st.text("eyJ.=-_A\n", max_size=300))
def test_junk_is_refused_and_never_breaks(text):
    with pytest.raises(InvalidDocument):
        jose.verify(text, typ=TYP, key=KEY)
    with pytest.raises(InvalidDocument):
        jose.peek_kid(text, typ=TYP)


@given(st.dictionaries(st.text(max_size=20), st.integers(-9, 9) | st.text(max_size=50), max_size=5))
def test_any_claims_are_read_as_signed(claims):
    assert jose.verify(run(jose.sign(claims, typ=TYP, signer=signer("alice"))), typ=TYP, key=KEY) == claims


def test_the_principal_is_not_the_keys_business():
    assert ALICE.spiffe_id not in repr(KEY)


def test_claims_are_peeked_at_as_strictly_as_they_are_read():
    assert jose.peek_claims(token({"a": 1}, by=signer("mallory")), typ=TYP) == {"a": 1}
    for text, code in (
        (token({}, by=signer("alice"), typ="approval+jwt"), "jws.typ"),
        (token(b'{"a":1,"a":2}', by=signer("alice")), "jws.json-duplicate"),
        (token(b'{"a":' + b"[" * 5000, by=signer("alice")), "jws.json-depth"),
        ("a.b", "jws.form"),
    ):
        with pytest.raises(InvalidDocument) as refused:
            jose.peek_claims(text, typ=TYP)
        assert refused.value.code == code
