"""`python -m examples.start NAME`: start an example's agent on a running `remit dev`, as alice."""

from __future__ import annotations

import argparse
import asyncio
import sys

from examples.running import NAMES, load, start
from remit.assembly import temporal_client
from remit.client import Remit
from remit.errors import RemitError
from remit.settings import Settings
from remit.temporal import RemitPlugin


async def main(name: str, person: str) -> None:
    """Start it, and say what can be done with it."""
    settings = Settings.load()
    client = await temporal_client(settings, plugins=[RemitPlugin()])
    async with Remit.open(settings, person=person) as someone:
        task = (await start(someone, client, load(name))).task
    print(f"{task}\n")  # noqa: T201
    for what in (f"show {task}", f"approve {task} --as bob", f"revoke {task}", f"resume {task}"):
        print(f"  remit {what}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.start", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--as", dest="person", default="alice")
    given = parser.parse_args()
    try:
        asyncio.run(main(given.name, given.person))
    except RemitError as error:
        print(error.diagnostics(), file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)
