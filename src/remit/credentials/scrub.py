"""Scrubbing: what one attempt minted leaves it in no result and no exception.

- Every string of a result, at any depth, mapping keys included, loses the attempt's secrets.
- An exception is rebuilt as text, its causes too: a driver's message may quote the connection string.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

REDACTED = "[redacted]"


def scrub_text(text: str, secrets: Sequence[str]) -> str:
    """Return the text without any of the secrets."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text


def scrub(value: Any, secrets: Sequence[str]) -> Any:
    """Return the value with every secret replaced; untouched (the same object) when it holds none."""
    if not secrets:
        return value
    if isinstance(value, str):
        return scrub_text(value, secrets)
    if isinstance(value, bytes):
        for secret in secrets:
            value = value.replace(secret.encode(), REDACTED.encode())
        return value
    if isinstance(value, BaseModel):
        return value.model_copy(
            update={name: scrub(getattr(value, name), secrets) for name in type(value).model_fields}
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: scrub(getattr(value, name), secrets) for name in fields})
    if isinstance(value, Mapping):
        return {scrub(key, secrets): scrub(item, secrets) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(scrub(item, secrets) for item in value))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(scrub(item, secrets) for item in value)
    return value


def holds(error: BaseException, secrets: Sequence[str]) -> bool:
    """Tell whether the exception, its arguments or any of its causes contain a secret."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        text = f"{one!s} {one!r} {one.args!r} {getattr(one, '__notes__', '')!r} {vars(one)!r}"
        if any(secret in text for secret in secrets):
            return True
        pending += [one.__cause__, one.__context__]
    return False
