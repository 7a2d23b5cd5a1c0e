"""What is asked of the authority, and what it answers: plain values that cross a process boundary.

- An `Attempt` names one try of one step: the chain by reference, the execution, the call, the approvals given.
- An `Unasked` one ended before it could be asked about; it leaves a record all the same.
- A `Grant` is the authority's yes to exactly that attempt, with the credential minted for it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from remit.delegation import Reference
from remit.step import Call
from remit.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one step.

    Args:
        reference: The leaf delegation and the digest of its chain.
        namespace: Temporal namespace. task: Workflow id. run: Run id. first_run: First run id of the execution.
        activity: Activity id. attempt: Temporal's attempt number, from 1. step: Step number within the task, from 1.
        tool: Activity type. call: Action, resource and input.
        credential: Credential profile, or None. cost: Whole budget units.
        approvals: Approvals given for this step, as compact JWS.
        once: Whether the step may be begun only once, whatever becomes of it.
    """

    reference: Reference
    namespace: str
    task: str
    run: str
    first_run: str
    activity: str
    attempt: int
    step: int
    tool: str
    call: Call
    credential: str | None = None
    cost: int = 1
    approvals: tuple[str, ...] = ()
    once: bool = False

    @property
    def name(self) -> str:
        """The step's own name, 52 characters a-z and 2-7: the same for all its attempts, in whatever run they are."""
        told = json.dumps([self.namespace, self.task, self.first_run, self.step]).encode()
        return base64.b32encode(sha256(told).digest()).decode().rstrip("=").lower()


@dataclass(frozen=True, slots=True)
class Unasked:
    """What is known of an attempt that ended before the authority was asked: without a delegation, or of no known tool.

    Args:
        namespace, activity, attempt, tool: As of an `Attempt`.
        task, run: As of an `Attempt`; None when no workflow started it.
        step, delegation: As of an `Attempt`; None when it carried no mark.
    """

    namespace: str
    activity: str
    attempt: int
    tool: str
    task: str | None = None
    run: str | None = None
    step: int | None = None
    delegation: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what is known, for the record."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Grant:
    """The authority's yes to one attempt; `release` ends it.

    Args:
        id: UUID of the grant. root, agent: SPIFFE IDs. chain: Delegation ids, root first.
        verdict: What Cedar said. expires_at: Unix seconds; the chain's expiry.
        credential: The secret for the tool, or None.
        lease: What records say of it: ``{"kind", "id", "user", "expires_at"}`` or None.
    """

    id: str
    attempt: Attempt
    root: str
    agent: str
    chain: tuple[str, ...]
    verdict: Verdict
    expires_at: int
    credential: Any = field(default=None, repr=False)
    lease: Mapping[str, Any] | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)


GRANT: ContextVar[Grant | None] = ContextVar("remit_grant", default=None)
"""The grant the running tool has; a declared tool refuses to run without one."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a decision somebody sent: accepted, or why not."""

    accepted: bool
    decision: str = ""
    approver: str = ""
    code: str = ""
    message: str = ""
