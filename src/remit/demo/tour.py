"""The tour: a stack of its own in a temporary state folder, the scenes, and an end that leaves nothing behind.

- Exit status 0 only if everything it showed held.
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

from remit.cli.local import Application, LocalService, in_background
from remit.demo.scenes import open_stage, play
from remit.demo.telling import Teller
from remit.demo.witness import Witness
from remit.embedded import Stack
from remit.errors import RemitError
from remit.settings import Settings


def run(*, home: Path | None = None, keep: bool = False) -> int:
    """Take the tour.

    Args:
        home: State folder; None: a temporary one.
        keep: Leave the stack up.

    Returns:
        The exit status: 0 when everything held.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    began = time.monotonic()
    folder = home or Path(tempfile.mkdtemp(prefix="remit-demo-"))
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 150  # nobody's window: a log keeps its lines whole
    teller = Teller(console)
    service: LocalService | None = None
    try:
        application = Application.find(Settings.load(home=folder).policies)
        service = LocalService(folder / "state", application, port_base=0)
        with console.status("Starting OpenBao, PostgreSQL, Temporal and a worker …") as status:
            service.start(lambda line: status.update(line))
        console.print(Text(f"Real servers are up ({time.monotonic() - began:.1f} s)", style="dim"))
        asyncio.run(_play(service.stack, teller, application.policies.parent / "jobs"))
        _close(console, service.stack, teller, seconds=time.monotonic() - began)
    except RemitError as error:
        console.print(Text(error.diagnostics(), style="red"))
        return 1
    finally:
        if service is not None:
            service.stop()
        if not keep and home is None:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        in_background(folder / "state", 0)
        console.print(Text(f"Kept. Stop it with: remit stop --home {folder / 'state'}"))
    return 0


async def _play(stack: Stack, teller: Teller, jobs: Path) -> None:
    settings = Settings.load(home=stack.home)
    async with AsyncExitStack() as closing:
        stage = await open_stage(closing, settings=settings, teller=teller, witness=Witness(stack), jobs=jobs)
        await play(stage)


def _close(console: Console, stack: Stack, teller: Teller, *, seconds: float) -> None:
    console.print()
    console.print(Text(f"All {teller.held} claims held, in {seconds:.0f} s.", style="bold green"))
    console.print(Text(f"Temporal UI: {stack.temporal.ui}/namespaces/default/workflows"))
