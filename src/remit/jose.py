"""JOSE: compact JWS (RFC 7515), strict, with exactly two algorithms.

- Sizes first, before anything is decoded (rule 1); then the strict compact form (rule 2).
- Header: exactly ``alg``, ``typ``, ``kid`` (rule 3); ``alg`` and ``typ`` are ours, not the token's (rule 4).
- Keys: public Ed25519 or P-256 members and nothing else (rule 5); ``kid`` is only ever compared.
- The signature is checked before any claim is read (rule 6); claims are strict JSON (rule 7).
- PyJWT's algorithm classes do the signature mathematics; there is no I/O here.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from remit.errors import InvalidDocument
from remit.strictjson import loads

MAX_TOKEN = 8 * 1024
"""Characters of one token (rule 1)."""
MAX_HEADER = 512
"""Bytes of a decoded header (rule 1)."""

Algorithm = Literal["EdDSA", "ES256"]

_MAX_HEADER_TEXT = -(-MAX_HEADER * 4 // 3)  # base64url makes 4 characters of 3 bytes
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_HEADER = frozenset({"alg", "typ", "kid"})
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

# The curve is x² = (y² - 1) / (d y² + 1) modulo p.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
# y-coordinates of Ed25519's points of small order: under such a "key" anyone can make signatures that verify.
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _P - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that may verify, made by `public_key` only.

    Args:
        kid: RFC 7638 thumbprint.
        alg: The one algorithm this key is used with.
        jwk: Its public members.
    """

    kid: str
    alg: Algorithm
    jwk: Mapping[str, str] = field(hash=False)
    _key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether this key made that signature."""
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            return _EDDSA.verify(data, self._key, signature)
        return _ES256.verify(data, self._key, signature)


class Signer(Protocol):
    """Somebody's signing key: in OpenBao, or in memory."""

    @property
    def key(self) -> PublicKey:
        """Its public half."""

    async def sign(self, data: bytes) -> bytes:
        """Return the raw signature: 64 bytes for both algorithms."""


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """A key in memory, for the embedded stack's own identities and for tests."""

    key: PublicKey
    _private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, alg: Algorithm = "EdDSA") -> LocalSigner:
        """Make a new key."""
        if alg == "EdDSA":
            return cls._of(ed25519.Ed25519PrivateKey.generate())
        return cls._of(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> LocalSigner:
        """Read an unencrypted PKCS #8 key.

        Raises:
            InvalidDocument: ``jws.key`` for anything but Ed25519 or P-256.
        """
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _refused(5, "key", "not an unencrypted PKCS #8 key") from None
        if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise _refused(5, "key", "a signing key is Ed25519 or P-256")
        return cls._of(private)

    def to_pem(self) -> bytes:
        """Return the private key as unencrypted PKCS #8, for a file of mode 0600."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    async def sign(self, data: bytes) -> bytes:
        """Return the raw signature."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return _EDDSA.sign(data, self._private)
        return _ES256.sign(data, self._private)

    @classmethod
    def _of(cls, private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> LocalSigner:
        return cls(public_key(public_jwk(private.public_key())), private)


def public_jwk(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return a key's public JWK: its required members only (RFC 7517, RFC 8037)."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _encode(key.public_bytes_raw())}
    if not isinstance(key.curve, ec.SECP256R1):
        raise _refused(5, "key", "a key's curve is Ed25519 or P-256")
    point = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _encode(point.x.to_bytes(32, "big")),
        "y": _encode(point.y.to_bytes(32, "big")),
    }


def public_key(jwk: Mapping[str, object]) -> PublicKey:
    """Read a public JWK (rule 5).

    Args:
        jwk: Exactly ``kty``, ``crv``, ``x`` for Ed25519, and ``y`` for P-256.

    Raises:
        InvalidDocument: ``jws.key`` for another curve, a private or unknown member, or no point of the curve.
    """
    match dict(jwk):
        case {"kty": "OKP", "crv": "Ed25519", "x": str(x), **rest} if not rest:
            if not _is_ones_own(raw := _coordinate(x)):
                raise _refused(5, "key", "a key is not a point of Ed25519 that anyone can hold alone")
            okp = {"kty": "OKP", "crv": "Ed25519", "x": x}
            return PublicKey(thumbprint(okp), "EdDSA", okp, ed25519.Ed25519PublicKey.from_public_bytes(raw))
        case {"kty": "EC", "crv": "P-256", "x": str(x), "y": str(y), **rest} if not rest:
            point = b"\x04" + _coordinate(x) + _coordinate(y)
            try:
                key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            except ValueError:
                raise _refused(5, "key", "a key is not a point on P-256") from None
            p256 = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
            return PublicKey(thumbprint(p256), "ES256", p256, key)
    raise _refused(5, "key", "a key is a public Ed25519 or P-256 JWK and nothing else")


def thumbprint(jwk: Mapping[str, object]) -> str:
    """Return the RFC 7638 thumbprint of a public JWK made of its required members only."""
    members = ",".join(f'"{name}":"{jwk[name]}"' for name in sorted(jwk))  # base64url and names need no escapes
    return _encode(sha256(f"{{{members}}}".encode()).digest())


async def sign(claims: Mapping[str, Any], *, typ: str, signer: Signer) -> str:
    """Sign claims; nothing is signed that `verify` would refuse.

    Args:
        claims: A JSON object.
        typ: Document type, e.g. ``delegation+jwt``.
        signer: Whose key.

    Raises:
        InvalidDocument: ``jws.size`` or ``jws.json…``.
    """
    try:
        text = json.dumps(dict(claims), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):
        raise _refused(7, "json", "claims are not JSON") from None
    payload = text.encode("utf-8", "surrogatepass")
    loads(payload)
    header = json.dumps({"alg": signer.key.alg, "kid": signer.key.kid, "typ": typ}, separators=(",", ":"))
    data = f"{_encode(header.encode())}.{_encode(payload)}"
    token = f"{data}.{_encode(await signer.sign(data.encode()))}"
    check_size(token)
    return token


def verify(token: str, *, typ: str, key: PublicKey) -> dict[str, Any]:
    """Return a token's claims after rules 1 to 7; reading them is the document's own business.

    Args:
        token: Compact JWS.
        typ: The only document type accepted.
        key: The only key accepted; it fixes the algorithm.

    Raises:
        InvalidDocument: ``jws.size``, ``jws.form``, ``jws.header``, ``jws.alg``, ``jws.typ``, ``jws.kid``,
            ``jws.signature`` or ``jws.json…``.
    """
    check_size(token)  # rule 1
    header, payload, signature = map(_decode, _split(token))  # rule 2
    names = _header(header)  # rules 3 and 7
    if names["alg"] != key.alg:  # rule 4
        raise _refused(4, "alg", f"the key is used with {key.alg} only")
    if names["typ"] != typ:
        raise _refused(4, "typ", f"another type of document stands where {typ} is expected")
    if names["kid"] != key.kid:  # rule 5
        raise _refused(5, "kid", "the document names another key")
    if not key.verifies(signature, token.rpartition(".")[0].encode()):  # rule 6
        raise _refused(6, "signature", "the signature does not verify")
    return loads(payload)  # rule 7


def peek_kid(token: str, *, typ: str) -> str:
    """Return the ``kid`` of an unverified token (rules 1 to 5), to look the key up in a map and nowhere else.

    Raises:
        InvalidDocument: ``jws.size``, ``jws.form``, ``jws.header``, ``jws.typ`` or ``jws.kid``.
    """
    check_size(token)
    header, _, _ = map(_decode, _split(token))
    names = _header(header)
    if names["typ"] != typ:
        raise _refused(4, "typ", f"another type of document stands where {typ} is expected")
    if not _THUMBPRINT.fullmatch(names["kid"]):
        raise _refused(5, "kid", "a kid is a thumbprint (RFC 7638)")
    return names["kid"]


def peek_claims(token: str, *, typ: str) -> dict[str, Any]:
    """Return the claims of an unverified token (rules 1 to 5 and 7), to choose whom to log in as and for nothing else.

    Raises:
        InvalidDocument: As `peek_kid`, and ``jws.json…``.
    """
    peek_kid(token, typ=typ)
    return loads(_decode(_split(token)[1]))


def signing_input(token: str) -> bytes:
    """Return what was signed: header and payload with the dot between them (RFC 7515 section 5.1).

    Raises:
        InvalidDocument: ``jws.size`` or ``jws.form``.
    """
    check_size(token)
    _split(token)
    return token.rpartition(".")[0].encode()


def check_size(token: object) -> None:
    """Check rule 1 for one token, before anything is decoded.

    Raises:
        InvalidDocument: ``jws.size``.
    """
    if type(token) is not str or len(token) > MAX_TOKEN:
        raise _refused(1, "size", f"a document is text of at most {MAX_TOKEN} characters")
    if len(token.partition(".")[0]) > _MAX_HEADER_TEXT:
        raise _refused(1, "size", f"a header has at most {MAX_HEADER} bytes")


def _split(token: str) -> tuple[str, str, str]:
    if not (match := _COMPACT.fullmatch(token)):
        raise _refused(2, "form", "a document is three parts of unpadded base64url")
    return match[1], match[2], match[3]


def _header(data: bytes) -> dict[str, str]:
    header = loads(data)
    if header.keys() != _HEADER or not all(type(value) is str for value in header.values()):
        raise _refused(3, "header", "a header has exactly alg, typ and kid")
    return header


@lru_cache(maxsize=1024)
def _is_ones_own(raw: bytes) -> bool:
    """Tell whether these bytes are a point of the curve, in its one spelling and of large order."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P or y in _SMALL_ORDER:
        return False
    square = (y * y - 1) * (_D * y * y + 1)  # of u/v there is a root exactly if there is one of u*v
    return pow(square, (_P - 1) // 2, _P) == 1


def _coordinate(text: str) -> bytes:
    raw = _bytes(text) if len(text) == 43 else None
    if raw is None or len(raw) != 32:
        raise _refused(5, "key", "a key's coordinate is 32 bytes in unpadded base64url")
    return raw


def _decode(text: str) -> bytes:
    if (data := _bytes(text)) is None:
        raise _refused(2, "form", "a part is not unpadded base64url in its one spelling")
    return data


def _bytes(text: str) -> bytes | None:
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        return None
    # Encoding again must give the same text: no padding, no junk, no second spelling of one signature.
    return data if _encode(data) == text else None


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _refused(rule: int, kind: str, message: str) -> InvalidDocument:
    return InvalidDocument(message, code=f"jws.{kind}", rule=rule)


_EDDSA = OKPAlgorithm()
_ES256 = ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1)
