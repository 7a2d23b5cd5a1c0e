"""Step: one tool call, and the digests that bind approvals and credentials to it.

- A call is a Cedar action, a resource and the exact input.
- Digests are over RFC 8785 canonical JSON: the order of members never matters, every value does.
- Values that JSON cannot carry exactly (NaN, integers beyond 2^53-1, lone surrogates) are refused.
- Pure and importable in a workflow sandbox: hashlib and rfc8785 only.
"""

from __future__ import annotations

import json
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import rfc8785

from remit.errors import Refused


@dataclass(frozen=True, slots=True)
class Call:
    """What a step does.

    Args:
        action: Cedar action, e.g. ``dataset:query``.
        resource: Cedar entity id without its type, e.g. ``flights``.
        input: JSON object.
    """

    action: str
    resource: str
    input: Mapping[str, Any] = field(hash=False)


def arguments_digest(call: Call) -> str:
    """Return base64url SHA-256 of the call's canonical JSON.

    Raises:
        Refused: ``step.input`` for a value canonical JSON cannot carry.
    """
    return digest({"action": call.action, "resource": call.resource, "input": dict(call.input)})


def binding(*, task: str, run: str, delegation: str, call: Call) -> str:
    """Return the digest an approval signs.

    Args:
        task: Workflow id.
        run: Id of the *first* run, which continue-as-new keeps.
        delegation: Leaf delegation id.
        call: The call with its exact input.

    Raises:
        Refused: ``step.input`` for a value canonical JSON cannot carry.
    """
    return digest(
        {
            "task": task,
            "run": run,
            "delegation": delegation,
            "action": call.action,
            "resource": call.resource,
            "input": dict(call.input),
        }
    )


def request_id(binding: str, step: int) -> str:
    """Return the 16-character id of one step's request for approval, the same on every attempt."""
    return _encode(f"{binding}.{step}".encode())[:16]


def shown(value: Any) -> str:
    """Return JSON a person can be shown: one line of printable left-to-right text, safe inside a code fence.

    Control and invisible characters, bidirectional controls, right-to-left letters, marks and backticks appear as JSON
    escapes, so what is read is all there is, in the order it is signed. For display only: digests are over raw values.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    except (ValueError, TypeError, RecursionError):
        raise _refused("it is not JSON") from None
    return "".join(character if _plain(character) else _escaped(character) for character in text)


_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\U0001d159")
"""Letters and symbols that draw nothing."""


def _plain(character: str) -> bool:
    if character.isascii():
        return character.isprintable() and character != "`"
    # Marks draw over their neighbours or, like variation selectors, not at all; right-to-left letters reorder them.
    return (
        character.isprintable()
        and character not in _BLANK
        and not unicodedata.category(character).startswith("M")
        and unicodedata.bidirectional(character) not in {"R", "AL", "AN"}
    )


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def digest(value: Any) -> str:
    """Return base64url SHA-256 of a value's canonical JSON.

    Raises:
        Refused: ``step.input`` for a value canonical JSON cannot carry.
    """
    try:
        return _encode(rfc8785.dumps(value))
    except RecursionError:
        raise _refused("it is nested too deeply") from None
    except (ValueError, TypeError):  # not str(error): a 5,000-digit integer has no printable form
        raise _refused("it holds a value JSON cannot carry exactly") from None


def _refused(why: str) -> Refused:
    return Refused(
        f"the step's input is refused: {why}",
        code="step.input",
        next_action="Use strings, lists, objects, finite numbers and integers within 2^53-1.",
    )


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
