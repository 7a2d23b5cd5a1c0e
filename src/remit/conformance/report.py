"""The report: a table for people, one JSON document for programs."""

from __future__ import annotations

import json
import textwrap

from remit.conformance.suite import Report, Verdict

_WIDE = 100


def as_json(report: Report) -> str:
    """Return ``{"governor", "bound", "held", "scenarios": [{"id", "promise", "verdict", "last", …}]}``."""
    return json.dumps(
        {
            "governor": report.governor,
            "bound": report.bound,
            "held": report.held,
            "scenarios": [
                {
                    "id": one.scenario,
                    "promise": one.promise,
                    "verdict": one.verdict.value,
                    "seconds_to_last_activity": one.last,
                    "observations": list(one.observations),
                    "seconds": one.seconds,
                }
                for one in report.results
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def as_text(report: Report) -> str:
    """Return a table; beneath a violation, what was observed."""
    wide = max((len(one.scenario) for one in report.results), default=0)
    lines = [report.governor, "", f"{'scenario':<{wide}}  {'verdict':<13}  last activity after the revocation"]
    for one in report.results:
        last = "" if one.verdict is Verdict.NOT_SUPPORTED else "none" if one.last is None else f"{one.last:.2f} s"
        lines.append(f"{one.scenario:<{wide}}  {one.verdict.value:<13}  {last}".rstrip())
        if one.verdict is not Verdict.HELD:
            told = one.observations if one.verdict is Verdict.NOT_SUPPORTED else (one.promise, *one.observations)
            for text in told:
                lines += textwrap.wrap(text, _WIDE, initial_indent="    ", subsequent_indent="      ")
    counts = ", ".join(f"{len(report.of(verdict))} {verdict.value}" for verdict in Verdict)
    return "\n".join([*lines, "", f"{counts}; bound {report.bound:g} s"])
