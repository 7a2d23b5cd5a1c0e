"""The mutants that may survive: by module and change, why no test can or should notice them."""

from __future__ import annotations

ACCOUNTED: dict[str, dict[str, str]] = {}
