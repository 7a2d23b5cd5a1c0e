"""`remit mcp`: Remit's tools for the assistant of the person who is logged in."""

from __future__ import annotations

import asyncio
import sys
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
    from remit.cli.terminal import err

    settings = options.settings(home)
    if sys.stdin.isatty():
        err().print("This speaks MCP on stdin and stdout: have an assistant start it. Ctrl-C ends it.")
    asyncio.run(serve(settings, options.person(person), submit=submit))
