"""LangGraph: nodes and tasks as `temporalio-langgraph` runs them."""

from __future__ import annotations

from remit.frameworks.reading import Framework


class LangGraph(Framework):
    """Reads it."""
