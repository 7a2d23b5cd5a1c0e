"""OpenAI Agents: model calls, tools and MCP servers as `temporalio-openai-agents` runs them."""

from __future__ import annotations

from remit.frameworks.reading import Framework


class OpenAIAgents(Framework):
    """Reads it."""
