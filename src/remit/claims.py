"""Claims: one signed JSON object, read strictly.

- The set of members is closed: an unknown or missing one refuses the document (rule 8).
- Types are exact: no bool for an integer, no float, no number in a string (rules 8 and 9).
- Every failure is an `InvalidDocument` with code ``<document>.claims`` or ``<document>.time``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from remit.errors import InvalidDocument
from remit.principals import Principal

SKEW = 30
"""Seconds two clocks may differ (rule 9)."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
# 32 bytes: the last of 43 characters carries four bits and two zero ones.
_DIGEST = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)


class Claims:
    """A closed JSON object and typed access to its members.

    Args:
        value: What strict JSON gave.
        document: Prefix of the codes, e.g. ``chain`` or ``approval``.
        required: Members that must be there.
        optional: Members that may be there; nothing else may.
        path: Where the object stands, for messages.
    """

    __slots__ = ("_document", "_path", "_values")

    def __init__(
        self,
        value: object,
        *,
        document: str,
        required: frozenset[str],
        optional: frozenset[str] = frozenset(),
        path: str = "",
    ) -> None:
        self._document = document
        self._path = path
        if not isinstance(value, Mapping):
            raise self.invalid(path or "claims", "is not an object")
        names = value.keys()
        if names != required:
            if missing := required - names:
                raise self.invalid(path + min(missing), "is missing")
            if unknown := names - required - optional:
                raise self.invalid(path + min(map(str, unknown)), "is not a known claim")
        self._values: Mapping[str, Any] = value

    def invalid(self, name: str, fault: str, *, kind: str = "claims", rule: int = 8) -> InvalidDocument:
        """Return the refusal to raise for one member."""
        return InvalidDocument(f"{self._document}: {name!r:.80} {fault}", code=f"{self._document}.{kind}", rule=rule)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str) -> object:
        """Return a member as it is."""
        return self._values[name]

    def text(self, name: str, *, most: int = 256) -> str:
        """Return a non-empty string of at most `most` characters."""
        value = self._values[name]
        if type(value) is not str or not 0 < len(value) <= most:
            raise self.invalid(self._path + name, f"is not a string of 1 to {most} characters")
        return value

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return a string that a pattern matches whole."""
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise self.invalid(self._path + name, "has a form that is not allowed")
        return value

    def uuid(self, name: str) -> str:
        """Return a UUID in its canonical lower-case form."""
        return self.matching(name, _UUID)

    def digest(self, name: str) -> str:
        """Return an unpadded base64url SHA-256."""
        return self.matching(name, _DIGEST)

    def principal(self, name: str) -> Principal:
        """Return a principal."""
        try:
            return _principal(self._values[name])
        except InvalidDocument as error:
            raise self.invalid(self._path + name, f"is {error.message}") from None

    def number(self, name: str) -> int:
        """Return an integer from 0 up."""
        value = self._values[name]
        if type(value) is not int or value < 0:
            raise self.invalid(self._path + name, "is not a whole number from 0 up")
        return value

    def time(self, name: str) -> int:
        """Return seconds since 1970 as an integer (rule 9)."""
        value = self._values[name]
        if type(value) is not int or value < 0:
            raise self.invalid(self._path + name, "is not an integer of seconds", kind="time", rule=9)
        return value

    def words(self, name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        """Return a list of strings of one form as a sorted tuple without repetition."""
        value = self._values[name]
        if type(value) is not list or not all(type(word) is str and pattern.fullmatch(word) for word in value):
            raise self.invalid(self._path + name, "is not a list of names of the allowed form")
        return tuple(sorted(set(value)))

    def member(self, name: str, required: frozenset[str], optional: frozenset[str] = frozenset()) -> Claims:
        """Return a member that is itself a closed object."""
        return Claims(
            self._values[name],
            document=self._document,
            required=required,
            optional=optional,
            path=f"{self._path}{name}.",
        )


def _principal(value: object) -> Principal:
    # A chain names the same few principals again and again.
    return _parsed(value) if type(value) is str else Principal.parse(value)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Principal:
    return Principal.parse(text)
