"""The tour: a stack of its own in a temporary state folder, the scenes, and an end that leaves nothing behind.

- It ends with an error as soon as something it shows does not hold.
- `--keep` leaves stack and state folder, and says how to reach and stop them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from remit.demo.scenes import open_stage, play
from remit.demo.telling import Teller
from remit.demo.witness import Witness
from remit.embedded import Stack
from remit.local import Application, LocalService, in_background
from remit.settings import Settings


def run(*, home: Path | None = None, keep: bool = False) -> None:
    """Take the tour.

    Args:
        home: Folder for its state folder; None: a temporary one.
        keep: Leave the stack up, whatever came of the tour.

    Raises:
        NotHeld: Something it shows did not hold.
        RemitError: The stack did not start.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 150  # nobody's window: a log keeps its lines whole
    began = time.monotonic()
    folder = home or Path(tempfile.mkdtemp(prefix="remit-demo-"))
    state = folder / "state"
    application = Application.find(Settings.load(home=folder).policies)
    service = LocalService(state, application, port_base=0)
    try:
        with console.status("Starting OpenBao, PostgreSQL, Temporal and a worker …") as status:
            service.start(lambda line: status.update(line))
        console.print(Text(f"Real servers are up ({time.monotonic() - began:.1f} s)", style="dim"))
        teller = Teller(console)
        asyncio.run(_play(service.stack, teller, application.policies.parent / "jobs"))
        console.print()
        console.print(Text(f"All {teller.held} claims held, in {time.monotonic() - began:.0f} s.", style="bold green"))
    finally:
        service.stop()
        if keep:
            in_background(state, service.stack.ports.base)
        elif home is None:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(Text(f"Temporal UI: {service.stack.temporal.ui}/namespaces/default/workflows"))
    if keep:
        console.print(Text(f"It is up. Stop it with: remit stop --home {state}"))
    else:
        console.print(Text("The stack is stopped; `make demo KEEP=1` or `remit demo --keep` leaves it up to look at."))


async def _play(stack: Stack, teller: Teller, jobs: Path) -> None:
    settings = Settings.load(home=stack.home)
    async with AsyncExitStack() as closing:
        stage = await open_stage(closing, settings=settings, teller=teller, witness=Witness(stack), jobs=jobs)
        await play(stage)
