"""The stage: an example's agent on real servers, with alice, who delegates, and bob, who approves.

- The example's worker runs in this process, beside the service's own.
- The last line has a tick only for what was observed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from examples.acts import Stage, play
from examples.running import load, start
from remit.assembly import assemble, temporal_client
from remit.client import Remit
from remit.demo.telling import Teller
from remit.demo.witness import Witness
from remit.embedded import Stack
from remit.local import Application, LocalService, in_background
from remit.settings import Settings


@asynccontextmanager
async def opened(name: str, settings: Settings, stack: Stack, tell: Teller) -> AsyncIterator[Stage]:
    """Run an example's worker in this process, and start its agent as alice."""
    example = load(name)
    async with assemble(settings) as parts:
        client = await temporal_client(settings, vault=parts.vault, plugins=example.plugins(parts))
        async with (
            example.worker(client),
            Remit.open(settings, person="alice") as alice,
            Remit.open(settings, person="bob") as bob,
        ):
            stage = Stage(name, tell, stack, Witness(stack), client, alice, bob)
            stage.hurries(now=False)
            tell.does("alice", f"python -m examples.start {name}")
            stage.started = await start(alice, client, example)
            yield stage


async def show(name: str, settings: Settings, stack: Stack, console: Console) -> set[str]:
    """Play an example on a running stack; return the acts that were observed, after the line that says so.

    Raises:
        NotHeld: Something did not hold.
    """
    async with opened(name, settings, stack, Teller(console)) as stage:
        try:
            await play(stage)
        finally:
            console.print()
            console.print(Text(stage.row(), style="bold"))
        return stage.observed


@contextmanager
def servers(console: Console, *, keep: bool) -> Iterator[Stack]:
    """Bring up a stack and the service's worker in a state folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="remit-example-"))
    service = LocalService(folder / "state", Application.find(Settings.load(home=folder).policies), port_base=0)
    began = time.monotonic()
    try:
        with console.status("Starting OpenBao, PostgreSQL, Temporal and a worker …") as status:
            service.start(lambda line: status.update(line))
        console.print(Text(f"Real servers are up ({time.monotonic() - began:.1f} s)", style="dim"))
        yield service.stack
    finally:
        service.stop()
        if keep:
            in_background(folder / "state", service.stack.ports.base)
            console.print(Text(f"It is up. Stop it with: remit stop --home {folder / 'state'}"))
        else:
            shutil.rmtree(folder, ignore_errors=True)


def run(name: str, *, keep: bool = False) -> None:
    """Play an example on a stack of its own.

    Raises:
        RemitError: The stack did not start, or something did not hold.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 150
    with servers(console, keep=keep) as stack:
        asyncio.run(show(name, Settings.load(home=stack.home), stack, console))
