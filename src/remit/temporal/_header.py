"""What travels in Temporal headers: references, never a secret.

- `remit`: version, delegation id, chain digest, first run id, step number; 66 bytes, on every outbound call.
- `remit-approvals`: signed approvals given for this step; only on the attempt that needs them.
- `remit-terms`: what the delegator asked for when the chain stops being live; only on workflow starts.
- Binary and without metadata, because it stands in the history of every step.
- A header is a claim, not a fact: the authority verifies what it names, so one that was made up opens nothing.
"""

from __future__ import annotations

import json
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from temporalio.api.common.v1 import Payload

from remit.delegation import Reference
from remit.errors import InvalidDocument

KEY = "remit"
APPROVALS = "remit-approvals"
TERMS = "remit-terms"

_VERSION = b"\x01"
_FIXED = 1 + 16 + 32 + 16
_LONGEST_STEP = 4
_NO_RUN = uuid.UUID(int=0)
MAX_APPROVALS = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """The header of one outbound call.

    Args:
        reference: The chain.
        first_run: First run id of the execution the call comes from; empty on workflow starts.
        step: The step's number; on continue-as-new the number of steps made so far.
    """

    reference: Reference
    first_run: str = ""
    step: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What happens when the chain stops being live.

    Args:
        wait: Seconds a task waits for a fresh delegation; None: a revocation halts it at once, an expiry after a week.
    """

    wait: int | None = None


def write(mark: Mark) -> Payload:
    """Return a mark as a payload.

    Raises:
        InvalidDocument: ``delegation.reference`` when it names no delegation.
    """
    try:
        step = mark.step.to_bytes((mark.step.bit_length() + 7) // 8, "big")
    except OverflowError:
        raise _unreadable() from None
    payload = Payload(data=_fixed(mark.reference, mark.first_run) + step)
    if len(step) > _LONGEST_STEP:
        raise _unreadable()
    return payload


def read_payload(payload: Payload) -> Mark:
    """Return the mark a payload holds.

    Raises:
        InvalidDocument: ``delegation.reference``.
    """
    reference, first_run = _parsed(payload.data[:_FIXED])
    step = payload.data[_FIXED:]
    if len(step) > _LONGEST_STEP:
        raise _unreadable()
    return Mark(reference, first_run, int.from_bytes(step, "big"))


# All steps of a task share these bytes; both ways are pure.
@lru_cache(maxsize=4096)
def _fixed(reference: Reference, first_run: str) -> bytes:
    try:
        digest = urlsafe_b64decode(reference.digest + "=")
        delegation = uuid.UUID(reference.delegation).bytes
        run = uuid.UUID(first_run) if first_run else _NO_RUN
        data = _VERSION + delegation + digest + run.bytes
    except ValueError:
        raise _unreadable() from None
    if _parsed(data) != (reference, first_run):
        raise _unreadable()
    return data


@lru_cache(maxsize=4096)
def _parsed(data: bytes) -> tuple[Reference, str]:
    if len(data) != _FIXED or data[:1] != _VERSION:
        raise _unreadable()
    run = uuid.UUID(bytes=data[49:65])
    return (
        Reference(str(uuid.UUID(bytes=data[1:17])), urlsafe_b64encode(data[17:49]).rstrip(b"=").decode()),
        "" if run == _NO_RUN else str(run),
    )


def _unreadable() -> InvalidDocument:
    return InvalidDocument(
        "this is not a reference to a delegation",
        code="delegation.reference",
        next_action="Use the reference the delegation was made with.",
    )


def read(headers: Mapping[str, Payload]) -> Mark | None:
    """Return the mark among these headers, None when there is none.

    Raises:
        InvalidDocument: ``delegation.reference``.
    """
    payload = headers.get(KEY)
    return None if payload is None else read_payload(payload)


def write_approvals(tokens: Sequence[str]) -> Payload:
    """Return approvals as a payload."""
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(list(tokens)).encode())


def read_approvals(headers: Mapping[str, Payload]) -> tuple[str, ...]:
    """Return the approvals among these headers; what is no list of a few strings counts as none."""
    found = _json(headers.get(APPROVALS))
    if not isinstance(found, list) or len(found) > MAX_APPROVALS:
        return ()
    return tuple(token for token in found if isinstance(token, str))


def write_terms(terms: Terms) -> Payload:
    """Return terms as a payload."""
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps({"wait": terms.wait}).encode())


def read_terms(headers: Mapping[str, Payload]) -> Terms:
    """Return the terms among these headers; anything malformed halts, the stricter of the two."""
    found = _json(headers.get(TERMS))
    wait = found.get("wait") if isinstance(found, dict) else None
    return Terms(wait if type(wait) is int and wait > 0 else None)


def _json(payload: Payload | None) -> object:
    if payload is None:
        return None
    try:
        found: object = json.loads(payload.data)
    except (ValueError, RecursionError):
        return None
    return found
