"""Figures: medians, percentiles and ratios of what was measured in turns. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: a governed and an ungoverned figure, taken one right after the other."""

    governed: float
    ungoverned: float


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the result.

    Args:
        name: Stable key, e.g. ``sequential``.
        title: For people.
        unit: Of `measured` and `against`.
        measured: The governed figure, or the only one.
        against: The ungoverned one, when there is one.
        ratio: Governed to ungoverned as cost (above 1 is slower), when there is one.
        target: Ceiling of `judged`; None: nothing was promised.
        judged: Which figure the target is about: ``ratio``, ``measured`` or ``difference``.
        details: Whatever else belongs into the JSON.
    """

    name: str
    title: str
    unit: str
    measured: float
    against: float | None = None
    ratio: float | None = None
    target: float | None = None
    judged: str = "ratio"
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def difference(self) -> float | None:
        """Return governed minus ungoverned."""
        return None if self.against is None else self.measured - self.against

    @property
    def met(self) -> bool | None:
        """Tell whether the target was met; None when there is none."""
        value = {"ratio": self.ratio, "measured": self.measured, "difference": self.difference}[self.judged]
        return None if self.target is None or value is None else value <= self.target

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "measured": _rounded(self.measured),
            "against": _rounded(self.against),
            "ratio": _rounded(self.ratio),
            "difference": _rounded(self.difference),
            "target": self.target,
            "judged": self.judged,
            "met": self.met,
            **({"details": self.details} if self.details else {}),
        }


def compared(
    name: str,
    title: str,
    pairs: Sequence[Pair],
    *,
    unit: str,
    target: float | None,
    rate: bool = False,
    **details: Any,
) -> Measure:
    """Return the medians of both sides and the median of the rounds' ratios.

    Args:
        rate: The figures are rates, so a governed one that is lower costs more.
    """
    ratios = [one.ungoverned / one.governed if rate else one.governed / one.ungoverned for one in pairs]
    return Measure(
        name,
        title,
        unit,
        measured=statistics.median(one.governed for one in pairs),
        against=statistics.median(one.ungoverned for one in pairs),
        ratio=statistics.median(ratios),
        target=target,
        details={
            "rounds": [[_rounded(one.governed), _rounded(one.ungoverned)] for one in pairs],
            "ratio_low": _rounded(min(ratios)),
            "ratio_high": _rounded(max(ratios)),
            **details,
        },
    )


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share (0 to 1) of them does not exceed.

    Raises:
        ValueError: There are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_of(action: Callable[[], object], *, clock: Callable[[], float], times: int, each: int = 1) -> float:
    """Return the median seconds one call of an action takes.

    Args:
        times: How often it is timed.
        each: Calls per timing.
    """
    taken = []
    for _ in range(times):
        began = clock()
        for _ in range(each):
            action()
        taken.append((clock() - began) / each)
    return statistics.median(taken)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
