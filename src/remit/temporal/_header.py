"""What travels in Temporal headers: references, never a secret.

- `remit`: version, delegation id, chain digest, first run id, step number; 69 bytes, on every outbound call.
- `remit-approvals`: signed approvals given for this step; only on the attempt that needs them.
- `remit-terms`: what the delegator asked for when the chain stops being live; only on workflow starts.
- Binary, because it stands in the history of every step.
- A header is a claim, not a fact: the authority verifies what it names, so one that was made up opens nothing.
"""

from __future__ import annotations

import json
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload

from remit.delegation import Reference
from remit.errors import InvalidDocument

KEY = "remit"
APPROVALS = "remit-approvals"
TERMS = "remit-terms"

_VERSION = b"\x01"
_LENGTH = 1 + 16 + 32 + 16 + 4
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
        wait: Seconds a task waits for a fresh delegation after a revocation or expiry; None: it halts at once.
    """

    wait: int | None = None


def write(mark: Mark) -> Payload:
    """Return a mark as a payload.

    Raises:
        InvalidDocument: ``delegation.reference`` when it names no delegation.
    """
    try:
        digest = urlsafe_b64decode(mark.reference.digest + "=")
        delegation = uuid.UUID(mark.reference.delegation).bytes
        first_run = uuid.UUID(mark.first_run) if mark.first_run else _NO_RUN
        data = _VERSION + delegation + digest + first_run.bytes + mark.step.to_bytes(4, "big")
    except (ValueError, OverflowError):
        data = b""
    payload = Payload(metadata={"encoding": b"binary/plain"}, data=data)
    if not data or read_payload(payload) != mark:
        raise InvalidDocument(
            "this is not a reference to a delegation",
            code="delegation.reference",
            next_action="Use the reference the delegation was made with.",
        )
    return payload


def read_payload(payload: Payload) -> Mark:
    """Return the mark a payload holds.

    Raises:
        InvalidDocument: ``delegation.reference``.
    """
    data = payload.data
    if len(data) != _LENGTH or data[:1] != _VERSION:
        raise InvalidDocument("the header names no delegation", code="delegation.reference")
    first_run = uuid.UUID(bytes=data[49:65])
    return Mark(
        Reference(str(uuid.UUID(bytes=data[1:17])), urlsafe_b64encode(data[17:49]).rstrip(b"=").decode()),
        "" if first_run == _NO_RUN else str(first_run),
        int.from_bytes(data[65:69], "big"),
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
