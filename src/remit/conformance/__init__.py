"""A conformance kit: what a governor of Temporal activities must hold when a grant is revoked.

    python -m remit.conformance my_adapter:governor --address localhost:7233

- It needs `temporalio` and the standard library; nothing here knows Remit.
- Another product is run against it through a small adapter: `Governor`. See README.md beside this file.
- What counts is what the suite's own activities saw of themselves, never what the governor says.
"""

from remit.conformance.governor import SENSITIVE, Adapter, Capability, Governor, Work

__all__ = ["SENSITIVE", "Adapter", "Capability", "Governor", "Work"]
