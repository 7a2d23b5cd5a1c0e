"""Paths: what may be asked of OpenBao at all, checked before any I/O.

- A path is segments of ASCII letters, digits, ``.``, ``_`` and ``-``, each beginning with a letter or digit, at most 63
  characters long. So there is no ``..``, ``//``, ``%``, ``?``, ``#``, ``*``, ``+``, quote, space or control character.
- A name that comes from outside becomes exactly one segment, by the narrower rule of `remit.principals.SAFE_NAME`.
"""

from __future__ import annotations

import re

from remit.errors import Refused
from remit.principals import SAFE_NAME

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PATH = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_ONE = re.compile(_SEGMENT, re.ASCII)
_MOST = 512


def checked(path: str) -> str:
    """Return the path if it may be asked for.

    Raises:
        Refused: ``vault.name``; nothing was sent.
    """
    if len(path) > _MOST or not _PATH.fullmatch(path):
        raise _refused(path)
    return path


def join(prefix: str, *names: str) -> str:
    """Return ``prefix`` (the program's own) with each name (from outside) as one segment.

    Raises:
        Refused: ``vault.name``; nothing was sent.
    """
    for name in names:
        if not SAFE_NAME.fullmatch(name):
            raise _refused(name)
    return "/".join((prefix, *names))


def under(prefix: str, made: str) -> str:
    """Return ``prefix`` with an id of OpenBao's own making as one segment; in a namespace such ids are ``<id>.<ns>``.

    Raises:
        Refused: ``vault.name``; nothing was sent.
    """
    if not _ONE.fullmatch(made):
        raise _refused(made)
    return f"{prefix}/{made}"


def _refused(name: str) -> Refused:
    return Refused(
        f"not a name that may reach OpenBao: {name[:80]!a}",
        code="vault.name",
        next_action="Names are a-z, 0-9 and '-', at most 63 characters.",
    )
