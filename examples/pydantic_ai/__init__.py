"""A pydantic-ai agent, governed."""
