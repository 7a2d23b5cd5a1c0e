"""Secrets are taken out of whatever an attempt returns, however they are written there."""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from temporalio.exceptions import ApplicationError

from remit.credentials import Credential, holds, leaks, scrub, scrub_text

ODD = 'p@ss/w"ö\\rd+% 1'
PLAIN = "A1b-Ck3kfY7TnxYjUD6d"
SECRETS = (ODD, PLAIN)


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def lower(quoted: str) -> str:
    return re.sub("%..", lambda found: found.group().lower(), quoted)


WRITTEN = {
    "as it is": lambda s: f"it is {s}!",
    "url": lambda s: f"postgresql://u:{quote(s)}@h/d",
    "url without slash": lambda s: f"postgresql://u:{quote(s, safe='')}@h/d",
    "url in lower case": lambda s: f"postgresql://u:{lower(quote(s, safe=''))}@h/d",
    "form": lambda s: urlencode({"password": s}),
    "quoted twice": lambda s: quote(quote(s, safe=""), safe=""),
    "plus": lambda s: quote_plus(s),
    "json": lambda s: json.dumps({"password": s}),
    "json in unicode": lambda s: json.dumps({"password": s}, ensure_ascii=False),
    "json in json": lambda s: json.dumps(json.dumps({"password": s})),
    "repr": lambda s: repr([s]),
    "repr of bytes": lambda s: repr(s.encode()),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "base64": basic,
    "base64 for urls": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "basic": lambda s: "Basic " + basic(f"user:{s}"),
    "basic of another length": lambda s: "Basic " + basic(f"d-ab:{s}:tail"),
    "basic of a third length": lambda s: "Basic " + basic(f"d-abc:{s}!"),
}


@pytest.mark.parametrize("secret", SECRETS, ids=["odd", "plain"])
@pytest.mark.parametrize("written", WRITTEN)
def test_it_is_found_as_it_is_written(secret: str, written: str) -> None:
    text = WRITTEN[written](secret)
    clean = scrub_text(text, SECRETS)
    assert "[redacted]" in clean
    assert leaks(text.encode(), SECRETS)
    assert not leaks(clean.encode(), SECRETS)
    for other in (secret, basic(secret)[: len(secret) - 4], secret.encode().hex(), quote(secret, safe="")):
        assert other not in clean


def test_what_holds_none_is_the_same_object() -> None:
    @dataclass
    class Thing:
        name: str
        parts: list[Any] = field(default_factory=list)

    for value in ("text", b"bytes", 5, None, {"a": [1, ("b",)]}, {1, 2}, Thing("x", [1]), [Thing("y")]):
        assert scrub(value, SECRETS) is value
    assert scrub("x", ()) == "x"


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    token: str
    inner: list[dict[str, Any]] = []


@dataclass(frozen=True, slots=True)
class Frozen:
    token: str
    hidden: str = field(default="", repr=False)


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    "value",
    [
        [PLAIN],
        (1, PLAIN),
        {PLAIN},
        frozenset({PLAIN}),
        {PLAIN: 1},
        {"a": {"b": [PLAIN]}},
        OrderedDict(a=PLAIN),
        PLAIN.encode(),
        bytearray(PLAIN.encode()),
        Frozen(PLAIN, PLAIN),
        Pair(PLAIN, 2),
        Model(token=PLAIN, inner=[{"deep": PLAIN}], more=PLAIN),  # type: ignore[call-arg]
        {"model": Model(token="x", inner=[{PLAIN: PLAIN}])},
        Credential("p", "secret", "u", 1, {"token": PLAIN}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_is_found_wherever_it_stands(value: Any) -> None:
    clean = scrub(value, SECRETS)
    assert type(clean) is type(value) or isinstance(value, dict)

    def shown(one: Any) -> str:
        if isinstance(one, BaseModel):
            return str(one.model_dump())
        if isinstance(one, Frozen):
            return one.token + one.hidden
        if isinstance(one, Credential):
            return str(one.values)
        return repr(one)

    assert PLAIN in shown(value)
    assert PLAIN not in shown(clean)
    assert "[redacted]" in shown(clean)


def test_two_keys_that_both_hold_a_secret_become_one() -> None:
    assert scrub({PLAIN: 1, ODD: 2}, SECRETS) == {"[redacted]": 2}


def raised(how: str) -> BaseException:
    plain = RuntimeError("no secret")
    if how == "message":
        return RuntimeError(PLAIN)
    if how == "args":
        return RuntimeError("x", {"dsn": [f"password={quote(ODD)}"]})
    if how == "note":
        plain.add_note(f"at {PLAIN}")
    elif how == "attribute":
        plain.url = f"https://u:{quote(ODD, safe='')}@h"  # type: ignore[attr-defined]
    elif how == "cause":
        plain.__cause__ = ValueError(PLAIN)
    elif how == "context":
        plain.__context__ = ValueError(PLAIN)
    elif how == "group":
        return ExceptionGroup("several", [ValueError("x"), ExceptionGroup("more", [OSError(PLAIN)])])
    elif how == "cause of one of a group":
        inner = OSError("x")
        inner.__cause__ = KeyError(PLAIN)
        return ExceptionGroup("several", [inner])
    elif how == "details":
        return ApplicationError("x", {"token": PLAIN})
    elif how == "an object that hides it":
        return ApplicationError("x", Credential("p", "secret", "u", 1, {"token": PLAIN}))
    elif how == "bytes":
        return RuntimeError(ODD.encode())
    return plain


HOWS = (
    "message args note attribute cause context group cause_of_one_of_a_group details an_object_that_hides_it bytes"
).replace("_", "\x00").split()  # fmt: skip


@pytest.mark.parametrize("how", [how.replace("\x00", " ") for how in HOWS])
def test_an_exception_that_holds_one_is_known(how: str) -> None:
    assert holds(raised(how), SECRETS)
    assert not holds(raised(how), ("another-secret",))


@settings(max_examples=300, deadline=None)
@given(
    st.text(min_size=8, max_size=40),
    st.sampled_from(sorted(WRITTEN)),
    st.binary(max_size=5),
)
def test_whatever_the_secret_is(secret: str, written: str, before: bytes) -> None:
    try:
        text = WRITTEN[written](secret)
    except UnicodeEncodeError:
        return
    assert leaks(text.encode("utf-8", "surrogatepass"), [secret])
    encoded = base64.b64encode(before + secret.encode() + b"end").decode()
    assert leaks(encoded.encode(), [secret])
