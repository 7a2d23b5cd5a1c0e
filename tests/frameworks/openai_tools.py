"""Activities that agents of these tests have as tools, besides the example's."""

from __future__ import annotations

from temporalio import activity


@activity.defn(name="acme.unmapped")
async def unmapped(text: str) -> str:
    """Do what no mapping knows."""
    return text


@activity.defn(name="acme.lookup")
async def lookup(dataset: str, word: str = "delay") -> str:
    """Have another name than its tool."""
    return f"{word} in {dataset}"


@activity.defn(name="acme.clock")
async def clock() -> str:
    """Carry no authority."""
    return "noon"
