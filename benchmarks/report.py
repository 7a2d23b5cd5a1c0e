"""The report: one table for people, one JSON document for everything else. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.figures import Measure

VERSION = 1


def table(measures: Sequence[Measure]) -> Table:
    """Return the table."""
    made = Table(title="Remit: governed against ungoverned", title_justify="left")
    for head in ("measure", "measured", "against", "ratio", "target", ""):
        made.add_column(head, justify="left" if head == "measure" else "right", no_wrap=head != "measure")
    for one in measures:
        made.add_row(
            one.title,
            _with_unit(one.measured, one.unit),
            _with_unit(one.against, one.unit),
            "" if one.ratio is None else f"{one.ratio:.2f}×",
            _target(one),
            {True: "[green]met[/]", False: "[yellow]not met[/]", None: ""}[one.met],
        )
    return made


def document(measures: Sequence[Measure], *, machine: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Return the JSON document.

    Args:
        machine: What it ran on.
        quick: Whether rounds were cut short.
    """
    return {
        "version": VERSION,
        "quick": quick,
        "machine": machine,
        "measures": [one.to_json() for one in measures],
    }


def _target(one: Measure) -> str:
    if one.target is None:
        return ""
    if one.judged == "ratio":
        return f"≤ {one.target:g}×"
    return f"≤ {'+' if one.judged == 'difference' else ''}{one.target:g} {one.unit}"


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f} {unit}"
