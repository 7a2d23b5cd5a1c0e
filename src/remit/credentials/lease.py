"""A lease: a credential minted for one attempt of one step, and what destroys it.

- What destroys it is secret too: neither the login nor the lease's id is in any repr or record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from remit.credentials.credential import Credential

if TYPE_CHECKING:
    from remit.delegation import Scope
    from remit.vault import StepLogin


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a credential is minted for: one attempt of one step.

    Args:
        grant: Id of the grant, a UUID.
        task: Workflow id. run: Run id. step: Step number. attempt: Attempt number.
        service: The service that is called, the one reader of a downstream token without an audience of its own.
        scope: What this one step may do; all a downstream token says it may.
    """

    grant: str
    task: str
    run: str
    step: int
    attempt: int
    service: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Lease:
    """A credential and what destroys it.

    Args:
        root: The root delegation it is recorded under.
        login, lease_id: What destroys it; None for what OpenBao does not lease.
        ttl: Seconds it lives unless renewed; 0: it is not renewed.
        until: Unix seconds beyond which it is not renewed, because its chain, its profile or policy says so.
    """

    occasion: Occasion
    root: str
    credential: Credential
    login: StepLogin | None = field(default=None, repr=False)
    lease_id: str | None = field(default=None, repr=False)
    ttl: int = 0
    until: int = 0

    @property
    def evidence(self) -> dict[str, Any]:
        """Return what records may say of it: kind, user, expiry and the hash of its id."""
        identity = self.lease_id or (self.login.accessor if self.login else self.occasion.grant)
        return {
            "kind": self.credential.kind,
            "id": "sha256:" + hashlib.sha256(identity.encode()).hexdigest(),
            "user": self.credential.user,
            "expires_at": self.credential.expires_at,
        }
