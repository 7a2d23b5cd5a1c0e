"""`remit watch`: a task, live, until it ends or waits for a person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.client import Remit


def watch(
    task: options.Task,
    to_end: Annotated[bool, typer.Option("--to-end", help="Go on watching while it waits for somebody.")] = False,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Watch a task until it ends, or waits for a decision or a fresh delegation."""
    from remit.cli.terminal import document
    from remit.client import Remit

    settings = options.settings(home)

    async def run() -> dict[str, Any]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await follow(remit, task, quietly=as_json, pauses=not to_end)

    ended = asyncio.run(run())
    if as_json:
        document(ended)
    raise typer.Exit(1 if ended["state"] in ("failed", "halted", "rejected") else 0)


async def follow(remit: Remit, task: str, *, quietly: bool = False, pauses: bool = False) -> dict[str, Any]:
    """Show a task while it runs and return it as it was last.

    Args:
        quietly: Show nothing.
        pauses: Stop also when it waits for somebody.
    """
    from rich.live import Live

    from remit.cli.tasks import rendered
    from remit.cli.terminal import out
    from remit.client.remit import PAUSED
    from remit.client.viewing import FINAL

    last: dict[str, Any] = {}
    until = FINAL | PAUSED if pauses else FINAL
    if quietly or not out().is_terminal:
        async for last in remit.watch(task, until=until):
            if not quietly:
                out().print(f"{last['state']}: {len(last['steps'])} steps", soft_wrap=True)
        if not quietly:
            out().print(rendered(last))
        return last
    with Live(console=out(), auto_refresh=False, transient=False) as live:
        async for last in remit.watch(task, until=until):
            live.update(rendered(last), refresh=True)
            await asyncio.sleep(0)
    return last
