"""`remit mcp`: Remit's tools for the assistant of the person who is logged in."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from remit.cli import options


def mcp(
    submit: Annotated[
        bool, typer.Option("--submit", help="Let the assistant submit jobs, signed with your key; off by default.")
    ] = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Serve an assistant over MCP (stdio): it watches and explains tasks, and never approves."""
    from remit.assistant.server import serve

    asyncio.run(serve(options.settings(home), options.person(person), submit=submit))
