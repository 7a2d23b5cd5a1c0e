"""The README's example adapter, as it stands there."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import remit.conformance
from remit.conformance import Adapter

README = Path(remit.conformance.__file__).with_name("README.md")


def text() -> str:
    """Return the README."""
    return README.read_text(encoding="utf-8")


def example() -> Adapter:
    """Run its one Python block, and return the adapter that it makes."""
    (block,) = [part.split("```")[0] for part in text().split("```python\n")[1:]]
    module: Any = ModuleType("example")
    exec(compile(block, str(README), "exec"), module.__dict__)
    made: Adapter = module.governor
    return made
