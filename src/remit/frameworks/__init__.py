"""Frameworks: how the activities of other people's agents are read."""

from remit.frameworks.langgraph import LangGraph
from remit.frameworks.mcp import MCP
from remit.frameworks.openai_agents import OpenAIAgents
from remit.frameworks.pydantic_ai import PydanticAI
from remit.frameworks.reading import Framework, ModelCall, Seen, ToolCall
from remit.mapping import Mapping

__all__ = ["Framework", "ModelCall", "Seen", "ToolCall", "readers"]

_READERS: dict[str, type[Framework]] = {
    "langgraph": LangGraph,
    "mcp": MCP,
    "openai-agents": OpenAIAgents,
    "pydantic-ai": PydanticAI,
}


def readers(mapping: Mapping) -> tuple[Framework, ...]:
    """Return how the frameworks that a mapping names are read."""
    return tuple(_READERS[name](mapping) for name in mapping.frameworks)
