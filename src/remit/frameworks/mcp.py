"""MCP: an MCP server's operations as `temporalio-mcp` runs them."""

from __future__ import annotations

from remit.frameworks.reading import Framework


class MCP(Framework):
    """Reads it."""
