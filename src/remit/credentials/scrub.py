"""Scrubbing: what one attempt minted leaves it in no result and no exception.

- Every string of a result, at any depth, mapping keys included, loses the attempt's secrets.
- A secret is found as it is and as it is written elsewhere: in URLs, in JSON, in a repr, in hex, in base64 (there also
  as part of a longer text, as in `Authorization: Basic`).
- An exception is rebuilt as text, its causes too: a driver's message may quote the connection string.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

REDACTED = "[redacted]"
_SHORTEST = 8
"""Characters of a secret that is looked for in other writings too; a shorter one would be found everywhere."""


def forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the texts these secrets may stand as, longest first."""
    found = {form for secret in secrets if secret for form in _forms(secret)}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def scrub_text(text: str, secrets: Sequence[str]) -> str:
    """Return the text without any of the secrets."""
    return _text(text, forms(secrets))


def scrub(value: Any, secrets: Sequence[str]) -> Any:
    """Return the value with every secret replaced; untouched (the same object) when it holds none."""
    return _value(value, forms(secrets)) if secrets else value


def leaks(data: bytes, secrets: Sequence[str]) -> bool:
    """Tell whether bytes that leave this process hold a secret."""
    return any(form.encode() in data for form in forms(secrets))


def holds(error: BaseException, secrets: Sequence[str]) -> bool:
    """Tell whether the exception, what hangs on it or any of its causes contains a secret."""
    wanted = forms(secrets)
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if _in(f"{one!s} {one!r}", wanted) or _within((one.args, vars(one)), wanted):
            return True
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions
    return False


def _forms(secret: str) -> Iterator[str]:
    yield secret
    if len(secret) < _SHORTEST:
        return
    raw = secret.encode("utf-8", "surrogatepass")
    for quoted in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        yield quoted
        yield quoted.replace("%", "%25")
        if "%" in quoted:
            yield _lower_escapes(quoted)
    for ascii_only in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield json.dumps(escaped)[1:-1]  # JSON within JSON
    yield repr(secret)[1:-1]
    yield repr(raw)[2:-1]
    yield raw.hex()
    yield raw.hex().upper()
    for before in range(3):  # where in a group of three bytes it may begin
        bits = (before + len(raw)) * 8
        middle = slice(-(-before * 8 // 6), bits // 6)
        encoded = base64.b64encode(bytes(before) + raw).decode()[middle]
        yield encoded
        yield encoded.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")


def _lower_escapes(quoted: str) -> str:
    head, *parts = quoted.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in parts)])


def _text(text: str, wanted: Sequence[str]) -> str:
    for form in wanted:
        text = text.replace(form, REDACTED)
    return text


def _value(value: Any, wanted: Sequence[str]) -> Any:
    if isinstance(value, str):
        return _text(value, wanted) if _in(value, wanted) else value
    if isinstance(value, bytes | bytearray):
        return _bytes(value, wanted)
    if isinstance(value, BaseModel):
        held = {name: getattr(value, name) for name in type(value).model_fields} | (value.model_extra or {})
        changed = _changed(held, wanted)
        return value.model_copy(update=changed) if changed else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        changed = _changed(held, wanted)
        return dataclasses.replace(value, **changed) if changed else value
    if isinstance(value, Mapping):
        clean = {_value(key, wanted): _value(item, wanted) for key, item in value.items()}
        untouched = len(clean) == len(value) and _same(value, clean) and _same(value.values(), clean.values())
        return value if untouched else clean
    if isinstance(value, list | tuple | set | frozenset):
        items = [_value(item, wanted) for item in value]
        if _same(value, items):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _bytes(value: bytes | bytearray, wanted: Sequence[str]) -> bytes | bytearray:
    for form in wanted:
        needle = form.encode("utf-8", "surrogatepass")
        if needle in value:
            value = value.replace(needle, REDACTED.encode())
    return value


def _changed(held: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    clean = {name: _value(item, wanted) for name, item in held.items()}
    return {name: item for name, item in clean.items() if item is not held[name]}


def _same(before: Iterable[Any], after: Iterable[Any]) -> bool:
    return all(one is other for one, other in zip(before, after, strict=True))


def _in(text: str, wanted: Sequence[str]) -> bool:
    for form in reversed(wanted):
        if len(form) > len(text):  # as are all that follow; most strings of a result end here
            return False
        if form in text:
            return True
    return False


def _within(value: Any, wanted: Sequence[str], depth: int = 0) -> bool:
    """Tell whether a secret stands anywhere in a value, also where its repr would hide it."""
    if depth > 16:
        return True  # nobody looks deeper, so nobody can say that there is none
    if isinstance(value, Mapping):
        return any(_within(part, wanted, depth + 1) for item in value.items() for part in item)
    if isinstance(value, list | tuple | set | frozenset):
        return any(_within(item, wanted, depth + 1) for item in value)
    if isinstance(value, str):
        return _in(value, wanted)
    return _value(value, wanted) is not value or _in(repr(value), wanted)
