"""`remit codec`: the codec server, for the Temporal UI and the `temporal` command."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.settings import Settings

PORT = 28208


def codec(
    ui: Annotated[
        str | None,
        typer.Option("--ui", metavar="URL", help="Where the Temporal UI is (default: the embedded stack's)."),
    ] = None,
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any that is free.")] = PORT,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Let the Temporal UI and `temporal` show what you may read, until Ctrl-C."""
    asyncio.run(_serve(options.settings(home), options.person(person), ui=ui, port=port, as_json=as_json))


async def _serve(settings: Settings, person: str | None, *, ui: str | None, port: int, as_json: bool) -> None:
    from remit.cli.terminal import document, safe, say
    from remit.client import Remit
    from remit.client.codec_server import CodecServer

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with Remit.open(settings, person=person) as remit:
        name = remit.connection.principal.name
        await remit.connection.vault.session()  # says at once who is not logged in
        page = ui or _embedded(settings)
        server = CodecServer(remit.connection, ui=page, port=port)
        endpoint = await server.start()
        try:
            if as_json:
                document({"endpoint": endpoint, "person": name, "ui": page})
            else:
                say(safe(f"Reads as {name}, until Ctrl-C: {endpoint}"))
                say(safe(f"temporal workflow show -w TASK --codec-endpoint {endpoint}", "dim"))
                if page is not None:
                    say(safe(f"In {page}, give this address as the codec server's (the glasses at the top).", "dim"))
            await ended.wait()
        finally:
            await server.close()


def _embedded(settings: Settings) -> str | None:
    from remit.embedded import running
    from remit.errors import Held

    try:
        return running(settings.home).addresses.get("temporal_ui")
    except Held:
        return None
