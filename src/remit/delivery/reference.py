"""Reference: stands for the credential wherever a framework carries a tool's dependencies about.

- It has no state: its repr, its JSON, its pickle and a checkpoint of it hold nothing, and read back it is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from remit.credentials import current_credential


@dataclass(frozen=True, slots=True)
class Current:
    """The credential of whatever attempt reads it: pydantic-ai's `deps`, a LangChain tool's injected argument.

    Example:
        agent.run_sync("…", deps=Current())   # in the tool: ctx.deps["dsn"]
    """

    def __getitem__(self, field: str) -> str:
        """Return one field, now.

        Raises:
            Refused: ``credential.none`` outside an attempt, ``credential.field`` for a field it does not have.
        """
        return current_credential()[field]
