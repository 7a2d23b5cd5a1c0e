"""Policy: decisions with Cedar, over a schema, policies and a catalogue that are parsed once.

- `PolicyEngine` is the only way to ask; it never raises for a call, it denies.
- What can be wrong with a policy folder is found when it is loaded (`PolicyInvalid`), all of it at once.
"""

from remit.policy.context import Approvals, RunContext
from remit.policy.engine import PolicyEngine
from remit.policy.findings import Finding, PolicyInvalid

__all__ = ["Approvals", "Finding", "PolicyEngine", "PolicyInvalid", "RunContext"]
