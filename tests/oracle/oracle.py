"""An oracle for chains, written from the text of the rules alone.

- It shares no code with the library and uses no JOSE package: the standard library and `cryptography`, nothing else.
- It reads JSON with a parser of its own, walks the hierarchy of actions itself and does Ed25519's curve in integers.
- It does not stop at the first fault: for each link it tells every rule that the link breaks, as far as it may be read.
  A link whose signature does not hold is not read, and nothing below it can be.

Where the rules leave a choice, it says so with more than one number, or takes this reading: an empty part is no part; a
life has a length above zero and begins before it ends; names of actions, spaces and purposes are ASCII; UUIDs are lower
case; whatever is counted is counted from 0 up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

SIZES = "sizes"
"""Stands for the chain as a whole: rule 1 comes before any link is looked at."""
Broken = frozenset[int]
_NONE: Broken = frozenset()


@dataclass(frozen=True)
class Judgement:
    """What the rules say of a chain.

    Args:
        broken: Rules broken by the first link that breaks any; empty for a valid chain.
        at: Number of that link, or `SIZES`, or None.
    """

    broken: Broken = _NONE
    at: int | str | None = None

    @property
    def valid(self) -> bool:
        return not self.broken


class Fault(Exception):
    """These rules are broken, and nothing further can be read here."""

    def __init__(self, *rules: int) -> None:
        super().__init__(rules)
        self.rules = frozenset(rules)


def judge(
    links: Any,
    *,
    anchors: Mapping[str, Mapping[str, str]],
    audience: str,
    now: int,
    parents: Mapping[str, Sequence[str]],
) -> Judgement:
    """Judge a chain by rules 1 to 13.

    Args:
        links: What claims to be a list of compact JWS, root first.
        anchors: SPIFFE ID of each user → the user's public JWK.
        audience: What every link must be meant for.
        now: Unix seconds.
        parents: Each action or group → the groups it stands directly under.
    """
    if too_large := _sizes(links):
        return Judgement(too_large, SIZES)
    owners = {thumbprint(jwk): owner for owner, jwk in anchors.items()}
    trusted = {thumbprint(jwk): _key(tuple(sorted(jwk.items()))) for jwk in anchors.values()}
    above: list[dict[str, Any]] = []
    keys: list[str] = []
    for at, token in enumerate(links):
        broken: set[int] = set()
        try:
            header, body, signature, signed = _parts(token)
            head = _header(header)
            if at == 0:
                kid = str(head["kid"])
                if kid not in trusted:
                    raise Fault(5, *_mistyped(head))
            else:
                kid = keys[-1]
                trusted = {kid: _key(tuple(sorted(above[-1]["cnf"]["jwk"].items())))}
            alg, public = trusted[kid]
            if wrong := {4} & (_mistyped(head) | ({4} if head["alg"] != alg else set())) | (
                {5} if head["kid"] != kid else set()
            ):
                raise Fault(*wrong)
            if not _signed(alg, public, signature, signed):
                raise Fault(6)
            claims = _claims(parse(body))
            broken |= _jwk(claims["cnf"]["jwk"])
        except Fault as fault:
            return Judgement(fault.rules, at)
        if at == 0:
            keys.append(kid)
            broken |= _root(claims, owners[kid], audience)
        else:
            broken |= _below(claims, above[-1], links[at - 1], parents)
        broken |= _alone(claims, now) | _twice(claims, above, keys if 5 not in broken else [])
        if broken:
            return Judgement(frozenset(broken), at)
        above.append(claims)
        keys.append(thumbprint(claims["cnf"]["jwk"]))
    return Judgement()


def _sizes(links: Any) -> Broken:
    if not isinstance(links, list) or not 0 < len(links) <= 8:
        return frozenset({1})
    if not all(isinstance(link, str) for link in links):
        return frozenset({1, 2})
    large = any(len(link) > 8192 or len(link.split(".")[0]) * 3 // 4 > 512 for link in links)
    return frozenset({1}) if large or sum(len(link) for link in links) > 32768 else _NONE


# Rules 2 and 3: the compact form and the header.
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SIX_BITS = {ord(letter): f"{number:06b}" for number, letter in enumerate(_LETTERS)}


def _parts(token: str) -> tuple[bytes, bytes, bytes, bytes]:
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise Fault(2)
    header, body, signature = (_bytes(part) for part in parts)
    return header, body, signature, f"{parts[0]}.{parts[1]}".encode()


def _bytes(text: str) -> bytes:
    """Read base64url by the book: six bits a letter, and the bits left over are zero."""
    if not set(text) <= set(_LETTERS):
        raise Fault(2)
    bits = text.translate(_SIX_BITS)
    whole = len(bits) // 8 * 8
    if len(bits) - whole == 6 or "1" in bits[whole:]:
        raise Fault(2)
    return int("0" + bits[:whole], 2).to_bytes(whole // 8, "big")


def _header(data: bytes) -> dict[str, Any]:
    head = parse(data)
    if not isinstance(head, dict):
        raise Fault(3, 7)
    if set(head) != {"alg", "typ", "kid"}:
        raise Fault(3)
    if not all(isinstance(value, str) for value in head.values()):
        raise Fault(3, 4)
    return head


def _mistyped(head: Mapping[str, Any]) -> set[int]:
    return set() if head["typ"] == "delegation+jwt" else {4}


# Rule 5: keys.
_P = 2**255 - 19
_D = -121665 * pow(121666, _P - 2, _P) % _P


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the RFC 7638 thumbprint of a key."""
    names = ("crv", "kty", "x") if jwk["kty"] == "OKP" else ("crv", "kty", "x", "y")
    text = "{" + ",".join(f'"{name}":"{jwk[name]}"' for name in names) + "}"
    return _text(hashlib.sha256(text.encode()).digest())


def _text(data: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 6)
    return "".join(_LETTERS[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


@lru_cache(maxsize=4096)
def _key(jwk: tuple[tuple[str, str], ...]) -> tuple[str, Any]:
    """Return algorithm and public key of a JWK, or fail by rule 5."""
    members = dict(jwk)
    try:
        if (members.pop("kty", None), members.pop("crv", None)) == ("OKP", "Ed25519") and set(members) == {"x"}:
            raw = _bytes(members["x"])
            if len(raw) != 32 or not _point_of_large_order(raw):
                raise Fault(5)
            return "EdDSA", ed25519.Ed25519PublicKey.from_public_bytes(raw)
        members = dict(jwk)
        if (members.pop("kty", None), members.pop("crv", None)) == ("EC", "P-256") and set(members) == {"x", "y"}:
            x, y = _bytes(members["x"]), _bytes(members["y"])
            if len(x) != 32 or len(y) != 32:
                raise Fault(5)
            numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
            return "ES256", numbers.public_key()
    except (Fault, ValueError):
        raise Fault(5) from None
    raise Fault(5, 8)  # an unknown member, type or curve


def _point_of_large_order(raw: bytes) -> bool:
    """Tell whether an Ed25519 key is a point of the curve, written as it must be, whose eightfold is not zero."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        return False
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if x * x % _P != square:
        return False
    for _ in range(3):
        cross = _D * x * x * y * y % _P
        x, y = (
            2 * x * y * pow(1 + cross, _P - 2, _P) % _P,
            (y * y + x * x) * pow(1 - cross, _P - 2, _P) % _P,
        )
    return (x, y) != (0, 1)


# Rule 6: the signature.
def _signed(alg: str, public: Any, signature: bytes, signed: bytes) -> bool:
    if len(signature) != 64:
        return False
    try:
        if alg == "EdDSA":
            public.verify(signature, signed)
        else:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            public.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# Rule 7: JSON.
_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:
      (?P<mark>[{}\[\],:])
    | "(?P<text>(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"
    | (?P<whole>-?(?:0|[1-9][0-9]*))(?P<rest>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<word>true|false|null)
    | (?P<end>\Z) )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_PLAIN = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "false": False, "null": None}


def parse(data: bytes) -> Any:
    """Read strict JSON, whatever its value is.

    Raises:
        Fault: 7.
    """
    try:
        value, at = _value(text := data.decode("utf-8"), 0, 0)
        match = _TOKEN.match(text, at)
    except UnicodeDecodeError:
        raise Fault(7) from None
    if match is None or match.lastgroup != "end":
        raise Fault(7)
    return value


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    match = _TOKEN.match(text, at)
    if match is None:
        raise Fault(7)
    at = match.end()
    if match["text"] is not None:
        return _string(match["text"]), at
    if match["whole"] is not None:
        return _number(match["whole"], match["rest"]), at
    if match["word"] is not None:
        return _WORDS[match["word"]], at
    if match["mark"] == "{":
        return _members(text, at, depth + 1)
    if match["mark"] == "[":
        return _items(text, at, depth + 1)
    raise Fault(7)


def _mark(text: str, at: int) -> tuple[str, int]:
    match = _TOKEN.match(text, at)
    return (match["mark"] or "", match.end()) if match else ("", at)


def _items(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    if depth > 16:
        raise Fault(7)
    mark, after = _mark(text, at)
    if mark == "]":
        return [], after
    items = []
    while True:
        item, at = _value(text, at, depth)
        items.append(item)
        mark, at = _mark(text, at)
        if mark == "]":
            return items, at
        if mark != ",":
            raise Fault(7)


def _members(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    if depth > 16:
        raise Fault(7)
    mark, after = _mark(text, at)
    if mark == "}":
        return {}, after
    members: dict[str, Any] = {}
    while True:
        name, at = _value(text, at, 99)  # a name is text; anything that nests is refused at once
        mark, at = _mark(text, at)
        if not isinstance(name, str) or name in members or mark != ":":
            raise Fault(7)
        members[name], at = _value(text, at, depth)
        mark, at = _mark(text, at)
        if mark == "}":
            return members, at
        if mark != ",":
            raise Fault(7)


def _number(whole: str, rest: str) -> int | float:
    if rest:
        value = float(whole + rest)
        if value in (float("inf"), float("-inf")):
            raise Fault(7)
        return value
    if len(whole) > 17 or not -(2**53) < int(whole) < 2**53:
        raise Fault(7)
    return int(whole)


def _string(raw: str) -> str:
    if "\\" not in raw:
        return raw
    units = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _PLAIN.get(found[2], found[2]), raw)
    try:  # two escapes may make one character; half of one is none
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise Fault(7) from None


# Rule 8: the claims, and the types of times (9) and keys (5).
_CLAIMS = {"iss", "sub", "aud", "may_act", "cnf", "jti", "iat", "nbf", "exp", "del_depth", "del_max_depth", "purpose"}
_NAME = re.compile(r"spiffe://([a-z0-9][a-z0-9._-]{0,127})/(user|agent)/[a-z0-9][a-z0-9-]{0,40}\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_ACTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,62}\Z")
_SPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


def _claims(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Fault(7, 8)
    faults: set[int] = set()
    if set(given) - {"par_hash"} != _CLAIMS | {"authorization_details"}:
        faults.add(8)
    may_act, cnf, details = (given.get(name) for name in ("may_act", "cnf", "authorization_details"))
    named = [given.get("iss"), given.get("sub"), may_act.get("sub") if isinstance(may_act, dict) else None]
    formed = (
        all(isinstance(name, str) and len(name) <= 256 and _NAME.match(name) for name in named)
        and set(may_act) == {"sub"}
        and isinstance(cnf, dict)
        and set(cnf) == {"jwk"}
        and isinstance(given.get("aud"), str)
        and 0 < len(given["aud"]) <= 256
        and _is(_UUID, given.get("jti"))
        and _is(_SLUG, given.get("purpose"))
        and all(_counted(given.get(name)) for name in ("del_depth", "del_max_depth"))
        and _details(details)
    )
    if not formed:
        faults.add(8)
    if "par_hash" in given and not _hash(given["par_hash"]):
        faults |= {8, 10}
    if any(name in given and not _counted(given[name]) for name in ("iat", "nbf", "exp")):
        faults.add(9)
    if faults:
        raise Fault(*faults, *_jwk(cnf.get("jwk") if isinstance(cnf, dict) else None))
    return given


def _jwk(jwk: Any) -> Broken:
    if not isinstance(jwk, dict) or not all(isinstance(value, str) for value in jwk.values()):
        return frozenset({5, 8})
    try:
        _key(tuple(sorted(jwk.items())))
    except Fault as fault:
        return fault.rules
    return _NONE


def _is(form: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and form.match(value) is not None


def _counted(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _hash(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) == 43 and len(_bytes(value)) == 32
    except Fault:
        return False


def _details(details: Any) -> bool:
    if not isinstance(details, list) or len(details) != 1 or not isinstance(details[0], dict):
        return False
    (grant,) = details
    return (
        set(grant) == {"type", "actions", "spaces", "budget"}
        and grant["type"] == "urn:remit:grant"
        and _counted(grant["budget"])
        and all(
            isinstance(grant[name], list) and all(_is(form, word) for word in grant[name])
            for name, form in (("actions", _ACTION), ("spaces", _SPACE))
        )
    )


# Rules 8 to 13 of a link by itself, of a root, and of a link and the one above it.
def _kind(name: str) -> str:
    return name.split("/")[3]


def _alone(link: Mapping[str, Any], now: int) -> set[int]:
    broken = set()
    delegate = link["may_act"]["sub"]
    if _kind(delegate) != "agent" or _kind(link["sub"]) != "user":
        broken.add(8)
    if link["iat"] > now + 30 or link["nbf"] > now + 30 or not link["exp"] > now - 30:
        broken.add(9)
    if not 0 < link["exp"] - link["iat"] <= 30 * 24 * 3600 or not link["nbf"] < link["exp"]:
        broken.add(9)
    if any(link["aud"] != "remit:" + name.split("/")[2] for name in (link["iss"], link["sub"], delegate)):
        broken.add(11)
    if link["del_depth"] > link["del_max_depth"] or link["del_depth"] > 7:
        broken.add(12)
    return broken


def _root(link: Mapping[str, Any], owner: str, audience: str) -> set[int]:
    broken = set()
    if link["iss"] != owner:
        broken |= {5, 10}
    if link["iss"] != link["sub"] or "par_hash" in link:
        broken.add(10)
    if link["aud"] != audience:
        broken.add(11)
    if link["del_depth"] != 0:
        broken.add(12)
    return broken


def _below(
    link: Mapping[str, Any], above: Mapping[str, Any], parent: str, parents: Mapping[str, Sequence[str]]
) -> set[int]:
    broken = set()
    if link["exp"] > above["exp"] or link["iat"] < above["iat"] or link["nbf"] < above["nbf"]:
        broken.add(9)
    signed = parent[: parent.rindex(".")].encode()
    if link["iss"] != above["may_act"]["sub"] or link.get("par_hash") != _text(hashlib.sha256(signed).digest()):
        broken.add(10)
    if any(link[name] != above[name] for name in ("sub", "aud", "purpose")):
        broken.add(11)
    if link["del_depth"] != above["del_depth"] + 1 or link["del_max_depth"] > above["del_max_depth"]:
        broken.add(12)
    (mine,), (theirs,) = link["authorization_details"], above["authorization_details"]
    if (
        not all(_covered(action, set(theirs["actions"]), parents) for action in mine["actions"])
        or not set(mine["spaces"]) <= set(theirs["spaces"])
        or mine["budget"] > theirs["budget"]
    ):
        broken.add(13)
    return broken


def _covered(action: str, held: set[str], parents: Mapping[str, Sequence[str]]) -> bool:
    return action in held or any(_covered(group, held, parents) for group in parents.get(action, ()))


def _twice(link: Mapping[str, Any], above: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> set[int]:
    again = (
        (bool(keys) and thumbprint(link["cnf"]["jwk"]) in keys)
        or any(link["may_act"]["sub"] == other["may_act"]["sub"] for other in above)
        or any(link["jti"] == other["jti"] for other in above)
    )
    return {12} if again else set()
