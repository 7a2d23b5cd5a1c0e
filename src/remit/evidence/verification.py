"""Verification of an export: offline, from the file, the public keys and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.delegation import ActionGroups
from remit.evidence import attempts, history, records, signed
from remit.evidence.document import Export
from remit.evidence.findings import Finding
from remit.evidence.keys import Keys


@dataclass(frozen=True, slots=True)
class Report:
    """What verification found.

    Args:
        task: The task. findings: What does not hold; empty: everything does.
        counted: How many of what were looked at.
    """

    task: str
    findings: tuple[Finding, ...]
    counted: Mapping[str, int]

    @property
    def valid(self) -> bool:
        """Whether everything holds."""
        return not self.findings

    def document(self) -> dict[str, Any]:
        """Return ``{"valid", "task", "findings": [{"code", "message", …}…], "counted": {…}}``."""
        return {
            "valid": self.valid,
            "task": self.task,
            "findings": [one.document() for one in self.findings],
            "counted": dict(self.counted),
        }


def verify(
    export: Export,
    *,
    keys: Keys,
    groups: ActionGroups | None = None,
    histories: Sequence[Sequence[history.Event]] = (),
) -> Report:
    """Verify an export.

    Args:
        keys: The keys the verifier trusts, from elsewhere.
        groups: The schema's action hierarchy; None: the one in the export, which is its exporter's word.
        histories: Runs of the task as Temporal itself gave them.
    """
    hierarchy = export.actions if groups is None else groups
    findings: list[Finding] = []
    found: list[records.Record] = []
    names: set[str] = set()
    for writer in export.writers:
        read, wrong = records.check(writer, task=export.task, namespace=export.namespace, keys=keys)
        found += read
        findings += wrong
        if writer.writer in names:
            findings.append(Finding("evidence.repeated", "a writer stands twice", {"writer": writer.writer}))
        names.add(writer.writer)
    found.sort(key=lambda one: one.time)
    documents, wrong = signed.verify(export, keys=keys, groups=hierarchy)
    findings += wrong
    findings += attempts.check_all(found, documents, audience=keys.audience, groups=hierarchy)
    findings += history.compare(export, histories, found, keys=keys)
    return Report(
        export.task,
        tuple(findings),
        {
            "writers": len(export.writers),
            "records": len(found),
            "permitted": sum(one.facts.get("outcome") == "permitted" for one in found),
            "chains": len(documents.chains),
            "approvals": len(documents.approvals),
            "statements": len(documents.statements),
            "runs": len(export.history),
            "histories": len(histories),
        },
    )
