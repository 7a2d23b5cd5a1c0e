"""What can be done to a chain. Some of it is harmless: both judges must see that too.

Each function changes a `Draft` by its own random numbers; `SPOILS` names them all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from .making import ACTIONS, DAY, NOW, SPACES, Draft, Key, Link, agent, b64, correct, key, user

Spoil = Callable[[Draft], None]
SPOILS: dict[str, Spoil] = {}
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SMALL = ("AQ", "AA", "7P___________________________________________38")  # y = 1, 0 and -1 modulo p
_ODD_TEXTS = ("", "x", "А", "ａ", "a\u200bb", "\0", "a" * 300, "../../etc/passwd", "'; --", None, 7, True, ["x"], {})


def spoil(function: Spoil) -> Spoil:
    SPOILS[function.__name__] = function
    return function


def _link(draft: Draft) -> Link:
    return draft.rng.choice(draft.links)


def _lower(draft: Draft) -> tuple[Link, dict[str, Any]]:
    """Return a link and the claims above it; a root is above itself."""
    at = draft.rng.randrange(len(draft.links))
    return draft.links[at], draft.links[max(0, at - 1)].claims


def _grant(link: Link) -> dict[str, Any]:
    """Return a grant of the link's own, so that changing it changes no other link."""
    details = link.claims.get("authorization_details")
    if not isinstance(details, list) or not details or not isinstance(details[0], dict):
        return {}
    details[0] = {name: list(value) if isinstance(value, list) else value for name, value in details[0].items()}
    return details[0]


# Times (9).
@spoil
def ends_elsewhen(draft: Draft) -> None:
    link, above = _lower(draft)
    link.claims["exp"] = draft.rng.choice(
        (_int(above, "exp") + draft.rng.choice((-1, 0, 1)), draft.now - 29, draft.now - 30, draft.now - 31,
         _int(link.claims, "iat") + 30 * DAY + draft.rng.choice((0, 1)), _int(link.claims, "iat"),
         _int(link.claims, "nbf"))
    )  # fmt: skip


@spoil
def begins_elsewhen(draft: Draft) -> None:
    link, above = _lower(draft)
    name = draft.rng.choice(("iat", "nbf"))
    link.claims[name] = draft.rng.choice(
        (_int(above, name) + draft.rng.choice((-1, 0, 1)), draft.now + 30, draft.now + 31, _int(link.claims, "exp"), 0)
    )


@spoil
def tells_time_otherwise(draft: Draft) -> None:
    link, name = _link(draft), draft.rng.choice(("iat", "nbf", "exp"))
    told = _int(link.claims, name)
    link.claims[name] = draft.rng.choice(
        (str(told), float(told), True, None, [told], -1, 2**53, 2**53 - 1, float("nan"), told + 0.5)
    )


@spoil
def asks_at_another_moment(draft: Draft) -> None:
    claims = _link(draft).claims
    draft.now = draft.rng.choice(
        (_int(claims, "exp") + draft.rng.choice((29, 30, 31, 300)), NOW - 400 * DAY, NOW + 400 * DAY,
         _int(claims, "iat") - draft.rng.choice((29, 30, 31)), _int(claims, "nbf") - draft.rng.choice((30, 31, 300)))
    )  # fmt: skip


def _int(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    return value if type(value) is int else NOW


# Lineage (10, 11) and depth (12).
@spoil
def names_somebody_else(draft: Draft) -> None:
    link, _ = _lower(draft)
    other = draft.rng.choice(draft.links).claims
    link.claims[draft.rng.choice(("iss", "sub"))] = draft.rng.choice(
        (user("alice"), user("bob"), user("alice", "other"), agent("agent-1"), other.get("iss"), user("Alice"),
         user("аlice"), user("alice") + "/", "alice", draft.rng.choice(_ODD_TEXTS))
    )  # fmt: skip


@spoil
def hands_to_somebody_else(draft: Draft) -> None:
    link = _link(draft)
    whom = draft.rng.choice(
        (
            agent("agent-77"),
            user("bob"),
            agent("agent-1", "other"),
            agent("Agent-1"),
            draft.links[0].claims.get("may_act"),
        )
    )
    link.claims["may_act"] = whom if isinstance(whom, dict) else {"sub": whom}
    if draft.rng.random() < 0.2:
        link.claims["may_act"] = draft.rng.choice(({}, "x", None, [], {"sub": agent("a"), "act": {}}))


@spoil
def means_another_audience(draft: Draft) -> None:
    link = _link(draft)
    link.claims["aud"] = draft.rng.choice(
        ("remit:other", "remit:Remit.local", "remit", ["remit:remit.local"], "", None)
    )


@spoil
def serves_another_purpose(draft: Draft) -> None:
    link = _link(draft)
    link.claims["purpose"] = draft.rng.choice(
        ("payroll", "Delay-Review", "delay_review", "a" * 63, "a" * 64, *_ODD_TEXTS)
    )


@spoil
def hashes_another_parent(draft: Draft) -> None:
    link = _link(draft)
    link.pinned = True
    right = b64(hashlib.sha256(str(draft.rng.random()).encode()).digest())
    link.claims["par_hash"] = draft.rng.choice(
        (right, right[:-1], right + "=", b64(bytes(32)), b64(bytes(31)), None, 7)
    )
    if draft.rng.random() < 0.3:
        del link.claims["par_hash"]


@spoil
def stands_at_another_depth(draft: Draft) -> None:
    link, name = _link(draft), draft.rng.choice(("del_depth", "del_max_depth"))
    link.claims[name] = draft.rng.choice((*range(-1, 10), 12, 13, True, "1", 1.0, None, 2**53 - 1))


@spoil
def repeats_an_id(draft: Draft) -> None:
    link, other = _link(draft), str(_link(draft).claims.get("jti"))
    link.claims["jti"] = draft.rng.choice(
        (other, other.upper(), other.replace("-", ""), "1", draft.rng.choice(_ODD_TEXTS))
    )


# Scope (13).
@spoil
def adds_actions(draft: Draft) -> None:
    grant = _grant(_link(draft))
    words = [*(grant.get("actions") or [])]
    if words and draft.rng.random() < 0.4:
        at = draft.rng.randrange(len(words))
        words[at] = draft.rng.choice(
            (words[at].upper(), words[at].replace("e", "е"), words[at] + " ", words[at] + "\u200b")
        )
    else:
        words.append(draft.rng.choice(ACTIONS))
    grant["actions"] = words


@spoil
def adds_spaces(draft: Draft) -> None:
    grant = _grant(_link(draft))
    grant["spaces"] = [*(grant.get("spaces") or []), draft.rng.choice((*SPACES, "Flights", "ｆlights", "*", ""))]


@spoil
def adds_budget(draft: Draft) -> None:
    link, above = _lower(draft)
    held = above.get("authorization_details")
    held = held[0].get("budget") if isinstance(held, list) and held and isinstance(held[0], dict) else 0
    held = held if type(held) is int else 0
    _grant(link)["budget"] = draft.rng.choice((held, held + 1, held + 10, 0, -1, True, "7", 7.0, None, 2**53))


@spoil
def words_the_grant_otherwise(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    grant = _grant(link)
    if rng.random() < 0.4 and grant:
        del grant[rng.choice(sorted(grant))]
    elif rng.random() < 0.6:
        grant[rng.choice(("type", "actions", "spaces", "budget", "locations"))] = rng.choice(_ODD_TEXTS)
    else:
        link.claims["authorization_details"] = rng.choice(([], [grant, grant], grant, [None], None, "x"))


# The set of claims (8) and keys (5).
@spoil
def adds_or_omits_a_claim(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    if rng.random() < 0.4:
        link.claims[rng.choice(("act", "scope", "Iss", "ext", ""))] = rng.choice(_ODD_TEXTS)
    else:
        name = rng.choice(sorted(link.claims))
        if rng.random() < 0.5:
            del link.claims[name]
        else:
            link.claims[name] = None


@spoil
def holds_another_key(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    jwk = dict(rng.choice((key("stranger"), key("stranger", "ES256"), rng.choice(draft.links).by)).jwk)
    link.claims["cnf"] = rng.choice(({"jwk": jwk}, {"jwk": jwk}, {"jwk": jwk}, {"jwk": jwk, "kid": "x"}, {}, None, jwk))


@spoil
def holds_an_impossible_key(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    jwk = dict(rng.choice((key("stranger"), key("stranger", "ES256"))).jwk)
    what = rng.randrange(7)
    if what == 0:
        jwk |= rng.choice(({"d": "AA"}, {"alg": "EdDSA"}, {"kid": "x"}, {"x": 7}, {"x": None}, {"use": "sig"}))
    elif what == 1:
        jwk["crv"] = rng.choice(("P-384", "Ed448", "X25519", "secp256k1", "P-256", "Ed25519"))
    elif what == 2:
        jwk["kty"] = rng.choice(("RSA", "oct", "EC", "OKP", ""))
    elif what == 3:
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": rng.choice(_SMALL).ljust(43, "A")}
    elif what == 4:  # of these about half are points of no curve
        jwk["x"] = b64(rng.randbytes(32))
    elif what == 5:
        jwk["x"] = rng.choice(
            (jwk["x"] + "=", jwk["x"][:-1], jwk["x"] + "A", jwk["x"][:-1] + "_", "", b64(b"\xff" * 32))
        )
    else:
        del jwk[rng.choice(sorted(jwk))]
    link.claims["cnf"] = {"jwk": jwk}


@spoil
def signs_with_another_key(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    kid = link.by.kid
    link.by = rng.choice((key("bob"), key("stranger"), key("stranger", "ES256"), rng.choice(draft.links).by))
    if rng.random() < 0.5:
        link.header["kid"] = kid


@spoil
def asks_with_other_anchors(draft: Draft) -> None:
    rng = draft.rng
    alice, bob = draft.anchors.get(user("alice"), key("alice").jwk), key("bob").jwk
    draft.anchors = rng.choice(
        ({}, {user("bob"): bob}, {user("alice"): bob}, {user("bob"): alice}, {user("alice"): alice},
         {agent("agent-1"): alice}, {user("alice"): bob, user("bob"): alice})
    )  # fmt: skip
    if rng.random() < 0.2:
        draft.audience = "remit:other"


# Headers (3, 4).
@spoil
def heads_it_otherwise(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    link.header |= rng.choice(
        (
            {
                "alg": rng.choice(
                    ("none", "None", "NoNe", "HS256", "ES256", "EdDSA", "Ed25519", "RS256", "", 7, ["EdDSA"])
                )
            },
            {
                "typ": rng.choice(
                    ("approval+jwt", "secevent+jwt", "presentation+jwt", "step+jwt", "at+jwt", "JWT", "", 7)
                )
            },
            {"typ": rng.choice(("Delegation+JWT", "application/delegation+jwt"))},
            {"kid": rng.choice(("../../etc/passwd", "' OR 1=1 --", "A" * 43, key("stranger").kid, "x" * 9000, "", 7))},
            {rng.choice(("jku", "x5u")): "https://127.0.0.1/keys"},
            {
                rng.choice(("jwk", "x5c", "x5t", "crit", "b64", "zip", "cty", "epk")): rng.choice(
                    ("x", {}, ["b64"], False)
                )
            },
            {rng.choice(("alg", "typ", "kid")): None},
        )
    )


@spoil
def writes_the_header_otherwise(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    plain = json.dumps({"alg": link.by.alg, "typ": "delegation+jwt", "kid": link.by.kid})
    link.head = rng.choice(
        (
            plain.replace("{", '{"alg":"none",').encode(),
            plain.replace("{", '{"\\u0061lg":"none",').encode(),
            plain.replace("alg", "\\u0061lg").encode(),
            plain.encode().ljust(512),
            plain.encode().ljust(513),
            plain.encode("utf-16"),
            b"\xef\xbb\xbf" + plain.encode(),
            plain.replace("}", ',"x":' + "[" * 60 + "]" * 60 + "}").encode(),
            rng.choice((b"[]", b"null", b'"x"', b"{}", b"{", b"\xff", b" ")),
        )
    )


# JSON (7), and other ways to write the same.
@spoil
def writes_the_claims_otherwise(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng
    if not link.pinned and link is not draft.links[0]:
        above = draft.links[draft.links.index(link) - 1]
        at = draft.links.index(above)
        tokens: list[str] = []
        for one in draft.links[: at + 1]:
            tokens.append(one.token(tokens[-1] if tokens else None))
        link.claims["par_hash"] = b64(hashlib.sha256(tokens[-1].rpartition(".")[0].encode()).digest())
    plain = json.dumps(link.claims)
    inner = rng.choice(
        ("NaN", "1e400", "-Infinity", "9" * 5000, "1" + "0" * 17, "[" * 5000, "[" * 16 + "]" * 16, "[" * 15 + "]" * 15,
         '"\\ud800"', '"\\ud83d\\ude00"', "01", "1.", "+1", "tru", "'x'", '"\n"', '"\\x"', "1e5", "-0", "")
    )  # fmt: skip
    text = rng.choice(
        (
            plain.replace("{", '{"exp":1,', 1),
            plain.replace("{", '{"\\u0065xp":1,', 1),
            plain.replace("exp", "\\u0065xp"),
            plain.replace("{", '{"x":' + inner + ",", 1),
            plain.replace('"del_depth": ', f'"del_depth": {inner}'),
            plain.replace(": ", " \t\n\r:\r\n").replace(", ", ","),
            plain + rng.choice((" ", "\0", "{}", "//", ",", "\u00a0")),
            plain[: rng.randrange(len(plain))],
            rng.choice(
                ("[]", "null", '"x"', "7", "{}", "{'a':1}", "{,}", '{"a" 1}', '{"a":1,}', "{1:2}", '{"a":1 "b":2}')
            ),
        )
    )
    link.body = text.encode()
    if rng.random() < 0.15:
        link.body = rng.choice(
            (b"\xef\xbb\xbf" + link.body, b"\xff" + link.body, text.encode("utf-16"), link.body[:-1] + b"\xff}")
        )


# Signatures (6) and the compact form (2).
@spoil
def spoils_the_signature(draft: Draft) -> None:
    link, rng, by = _link(draft), draft.rng, _link(draft)

    def after(token: str) -> str:
        data, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        flipped = bytearray(raw)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        other = (_ORDER - int.from_bytes(raw[32:], "big")) % 2**256  # ES256's second signature, which is as good
        spoiled = (
            (bytes(flipped), bytes(64), raw[:63], raw + b"\0", b"\xff" * 64, raw[:32] + bytes(32)),
            (by.by.sign(data.encode()), raw[:32] + other.to_bytes(32, "big")),
        )
        return f"{data}.{b64(rng.choice(rng.choice(spoiled)))}"

    link.after = after


@spoil
def signs_with_the_public_key(draft: Draft) -> None:
    link = _link(draft)
    link.header["alg"] = "HS256"
    secret = draft.rng.choice((link.by.jwk["x"].encode(), json.dumps(link.by.jwk).encode()))

    def after(token: str) -> str:
        data = token.rpartition(".")[0]
        return f"{data}.{b64(hmac.digest(secret, data.encode(), 'sha256'))}"

    link.after = after


@spoil
def changes_a_character(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng

    def after(token: str) -> str:
        at = rng.randrange(len(token))
        return token[:at] + rng.choice("AZaz09-_.=+/ \n\0Ａ") + token[at + rng.choice((0, 1, 1)) :]

    link.after = after


@spoil
def spells_it_otherwise(draft: Draft) -> None:
    link, rng = _link(draft), draft.rng

    def after(token: str) -> str:
        parts = token.split(".")
        at = rng.randrange(len(parts))
        spelled = parts[:]
        spelled[at] = rng.choice(
            (parts[at] + "=", parts[at] + "==", parts[at] + "\n", " " + parts[at], parts[at] + "A", parts[at] + "%3D",
             "", parts[at][:-1] + _next(parts[at][-1]), parts[at] + "." + parts[at], b64(parts[at].encode()))
        )  # fmt: skip
        return rng.choice((".".join(spelled), ".".join(spelled), ".".join(parts[:-1]), json.dumps({"payload": token})))

    link.after = after


def _next(char: str) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return letters[(letters.index(char) + 1) % 64]


# Sizes (1).
@spoil
def grows(draft: Draft) -> None:
    for link in draft.links if draft.rng.random() < 0.3 else [_link(draft)]:
        link.pad = draft.rng.choice((8188, 8190, 8192, 8193, 8196, 9000, 4096, 32768))


@spoil
def is_no_list_of_links(draft: Draft) -> None:
    shown = draft.rng.choice(([], None, "a.b.c", {}, 7, [None], [7], [["a.b.c"]], ["a.b.c"] * 9, [""], ["A" * 10**6]))
    alone = draft.rng.random() < 0.5 or not isinstance(shown, list)
    draft.arrange = lambda links: shown if alone else [*links, *shown]


# The order of links (attack 11).
@spoil
def rearranges(draft: Draft) -> None:
    rng = draft.rng
    other = correct(len(draft.links), rng)
    other.links = [
        Link(link.by, dict(link.claims), pinned=True) for link in draft.links
    ]  # the same people and keys, another root
    other.links[0].claims["jti"] = "00000000-0000-4000-8000-000000000000"
    broader = other.links[0].token(None)

    def arrange(links: list[Any]) -> list[Any]:
        shown = links[:]
        what, at = rng.randrange(8), rng.randrange(len(links))
        if what == 0:
            shown[0] = broader  # valid for a chain of one
        elif what == 1:
            shown.pop(at)
        elif what == 2:
            shown.insert(at, shown[at])
        elif what == 3:
            rng.shuffle(shown)
        elif what == 4:
            shown = shown[: at + 1]  # a chain of its own: valid
        elif what == 5:
            shown.reverse()
        elif what == 6:
            shown.append(broader)
        else:
            shown = shown[at:]
        return shown

    draft.arrange = arrange


@spoil
def goes_deeper_than_allowed(draft: Draft) -> None:
    """Add a link made by the leaf agent, correct but for what its depth may be."""
    above = draft.links[-1]
    held = next((one for one in _keys() if one.jwk == (above.claims.get("cnf") or {}).get("jwk")), None)
    if held is None:
        return
    claims = {
        **above.claims,
        "iss": (above.claims.get("may_act") or {}).get("sub"),
        "jti": "0" * 8 + "-0000-4000-8000-" + "1" * 12,
    }
    stranger = key("deeper", draft.rng.choice(("EdDSA", "ES256")))
    claims |= {"may_act": {"sub": agent("deeper")}, "cnf": {"jwk": stranger.jwk}, "del_depth": len(draft.links)}
    draft.links.append(Link(held, claims))


def _keys() -> list[Key]:
    return [key(f"agent-{number}", alg) for number in range(40) for alg in ("EdDSA", "ES256")]
