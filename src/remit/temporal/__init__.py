"""Remit for Temporal: the plugin, the declaration of tools, and starting under a delegation.

    client = await Client.connect(address, plugins=[RemitPlugin(authority=authority, presenter=presenter)])

- `RemitPlugin` governs a client and its workers.
- `tool` declares what an activity does; `current_credential` is what its function finds its secret with, `step_name`
  what it may call a step by whose repetition others are to notice.
- `delegated` starts a workflow under a delegation. `remit.temporal.workflow` is for code inside workflows.
"""

from remit.credentials import current_credential
from remit.temporal._activity import step_name
from remit.temporal._client import delegated
from remit.temporal._names import SEARCH_ATTRIBUTES
from remit.temporal._parts import Authority, Describes, Presenter
from remit.temporal.plugin import RemitPlugin
from remit.temporal.tool import names_of, tool

__all__ = [
    "SEARCH_ATTRIBUTES",
    "Authority",
    "Describes",
    "Presenter",
    "RemitPlugin",
    "current_credential",
    "delegated",
    "names_of",
    "step_name",
    "tool",
]
