"""Findings: everything wrong with a policy folder, told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from remit.errors import Usage


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing wrong.

    Args:
        file: Name of the file inside the policy folder.
        line: Line the statement begins on, from 1; 0 where it is about the whole file.
        message: What is wrong, and with what.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class PolicyInvalid(Usage):
    """The policies cannot be used; nothing is decided with them.

    Args:
        folder: The policy folder, as it was named.
        findings: Everything found, in file order.
    """

    default_code = "policy.invalid"

    def __init__(self, folder: str, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(findings))
        count = "1 finding" if len(self.findings) == 1 else f"{len(self.findings)} findings"
        super().__init__(
            f"{count} in the policies of {folder}: " + "; ".join(map(str, self.findings)),
            next_action="Correct them, then run `remit policy check`.",
        )

    def facts(self) -> dict[str, Any]:
        """Add the findings."""
        return {**super().facts(), "findings": [str(finding) for finding in self.findings]}
