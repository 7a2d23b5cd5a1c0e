"""pydantic-ai: model requests and toolsets as its Temporal capability runs them."""

from __future__ import annotations

from remit.frameworks.reading import Framework


class PydanticAI(Framework):
    """Reads it."""
