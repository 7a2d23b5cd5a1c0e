"""The report: tables for people, one JSON document for everything else. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.figures import Measure

VERSION = 1
ENOUGH = 200
"""Revocations for a 99th percentile."""
_MET = {True: "[green]met[/]", False: "[yellow]not met[/]", None: ""}


def tables(measures: Sequence[Measure]) -> list[Table]:
    """Return the tables: what is compared, and what is spread over many revocations."""
    spread = [one for one in measures if "p99" in one.details]
    rest = [one for one in measures if one not in spread]
    return [*([table(rest)] if rest else []), *([spreads(spread)] if spread else [])]


def spreads(measures: Sequence[Measure]) -> Table:
    """Return the table of percentiles; a target is about the 99th."""
    fewest = min(int(one.details["revocations"]) for one in measures)
    caption = f"Times in ms. {fewest} revocations are few for a percentile: `make bench-revocation` makes 200 of each."
    made = Table(title="Remit: revocations", title_justify="left", caption=caption if fewest < ENOUGH else None)
    for head in ("measure", "count", "p50", "p99", "max", "target", ""):
        made.add_column(head, justify="left" if head == "measure" else "right", no_wrap=head != "measure")
    before = ""
    for one in measures:
        heading, _, what = one.title.partition(": ")
        if heading != before:
            made.add_section()
            made.add_row(f"[bold]{heading}[/]")
        before = heading
        figures = (f"{one.details[key]:.1f}" for key in ("p50", "p99", "max"))
        made.add_row(what, str(one.details["count"]), *figures, _target(one), _MET[one.met])
    return made


def table(measures: Sequence[Measure]) -> Table:
    """Return the table of comparisons."""
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
            _MET[one.met],
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
