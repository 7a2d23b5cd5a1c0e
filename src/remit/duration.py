"""Duration: a span of time as people write it in jobs, catalogues and mappings."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(?:[0-9]{1,6}[smhd])+", re.ASCII)


def seconds(text: object) -> int:
    """Read a span of time such as ``30s``, ``5m``, ``1h30m`` or ``2d``, in seconds.

    Raises:
        ValueError: It is anything else.
    """
    if not isinstance(text, str) or not _SPAN.fullmatch(text):
        raise ValueError(f"{text!r} is not a span of time; write e.g. 30s, 5m, 1h30m or 2d")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text))
