"""Canaries: secrets that are looked for, in every writing, in whatever left the process that held them.

- Written apart from `remit.credentials.scrub`, so that one does not share the other's blind spots.
- A text is searched as it is, unquoted as a URL, unescaped as JSON, and with every run of base64 or hex in it decoded,
  each several times over.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, unquote_plus

_RUN = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){6,}")
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\"'\\/nrt]))")
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
DEPTH = 3


def hits(secrets: Mapping[str, str] | Iterable[str], texts: Mapping[str, str | bytes]) -> list[str]:
    """Return ``<text>: <secret>`` for each secret that stands in a text; names only, so that none is printed.

    Args:
        secrets: By name, or the secrets alone.
        texts: By name.
    """
    named = dict(secrets) if isinstance(secrets, Mapping) else {f"secret {n}": one for n, one in enumerate(secrets)}
    assert all(len(one) >= 8 for one in named.values()), "too short to be looked for"
    found = []
    for where, text in texts.items():
        written = b"\n".join(readings(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text))
        found += [f"{where}: {name}" for name, one in named.items() if one.encode() in written]
    return found


def readings(data: bytes, depth: int = DEPTH) -> Iterator[bytes]:
    """Yield the data, and everything it says in one of the usual writings."""
    yield data
    if depth == 0:
        return
    inner: list[bytes] = []
    if b"%" in data or b"+" in data:
        inner.append(unquote_plus(data.decode("latin-1"), encoding="latin-1").encode("latin-1"))
    if b"\\" in data:
        inner.append(_ESCAPE.sub(_unescaped, data))
    runs = [run for found in _RUN.findall(data) for run in _decoded(found)]
    runs += [bytes.fromhex(run.decode()) for run in _HEX.findall(data)]
    inner.append(b"\n".join(runs))
    for one in inner:
        if one and one != data:
            yield from readings(one, depth - 1)


def _decoded(run: bytes) -> Iterator[bytes]:
    plain = run.translate(bytes.maketrans(b"-_", b"+/"))
    for begin in range(4):
        part = plain[begin:]
        with suppress(ValueError):
            yield base64.b64decode(part[: len(part) // 4 * 4] + _rest(part), validate=True)


def _rest(part: bytes) -> bytes:
    left = part[len(part) // 4 * 4 :]
    return left + b"=" * (4 - len(left)) if len(left) > 1 else b""


def _unescaped(found: re.Match[bytes]) -> bytes:
    wide, narrow, plain = found.groups()
    if wide:
        return chr(int(wide, 16)).encode("utf-8", "surrogatepass")
    return bytes([int(narrow, 16)]) if narrow else _PLAIN.get(plain, plain)


def writings(secret: str) -> list[bytes]:
    """Return how a secret may stand in a file that is too large to be read in every way."""
    raw = secret.encode()
    found = [raw, quote(raw).encode(), json.dumps(secret)[1:-1].encode(), raw.hex().encode()]
    for before in range(3):
        bits = (before + len(raw)) * 8
        found.append(base64.b64encode(bytes(before) + raw)[-(-before * 8 // 6) : bits // 6])
    return list(dict.fromkeys(found))
