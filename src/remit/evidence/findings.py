"""A finding: one thing that does not hold, where, under a stable code. The codes are listed in `docs/evidence.md`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not hold.

    Args:
        code: ``evidence.…``.
        message: One line, no secret.
        where: E.g. ``{"writer", "record", "step", "grant", "approval", "delegation"}``; whatever applies.
    """

    code: str
    message: str
    where: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return ``{"code", "message", …where}``."""
        return {"code": self.code, "message": self.message, **self.where}


def found(kind: str, message: str, **where: Any) -> Finding:
    """Return a finding ``evidence.<kind>``."""
    return Finding(f"evidence.{kind}", message, {name: value for name, value in where.items() if value is not None})
