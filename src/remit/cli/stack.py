"""`remit dev`, `stop`, `demo`, `status`: the embedded stack."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from remit.cli import options

if TYPE_CHECKING:
    from threading import Event

    from remit.local import LocalService

PORT_BASE = 28200
PortBase = Annotated[
    int, typer.Option("--port-base", metavar="N", help="First of ten ports on 127.0.0.1; 0: any that are free.")
]


def dev(
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is up; `remit stop` ends it.")] = False,
    port_base: PortBase = PORT_BASE,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Start OpenBao, PostgreSQL, Temporal and the worker; Ctrl-C stops all."""
    from remit.local import Application, LocalService

    settings = options.settings(home)
    if detach:
        from remit.cli.terminal import err
        from remit.local import in_background

        with err().status("Starting OpenBao, PostgreSQL, Temporal and the worker …"):
            in_background(settings.home, port_base)
        status(as_json=as_json, home=settings.home)
        return
    service = LocalService(settings.home, Application.find(settings.policies), port_base=port_base)
    _foreground(service)


def stop(home: options.Home = None, as_json: options.Json = False, person: options.As = None) -> None:
    """Stop the embedded stack."""
    from remit.cli.terminal import document, say
    from remit.embedded import stop as stop_stack

    folder = options.settings(home).home
    stopped = folder.exists() and stop_stack(folder)
    if as_json:
        document({"stopped": stopped})
    else:
        say("Stopped." if stopped else f"Nothing was running in {folder}.")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up afterwards.")] = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Take the guided tour, on real servers in a state folder of its own."""
    from remit.demo.tour import run

    run(home=home or options.BEFORE.get().home, keep=keep)


def status(as_json: options.Json = False, home: options.Home = None, person: options.As = None) -> None:
    """Say whether the stack is up, and where."""
    from remit.cli.terminal import document, out, refuse, safe, say, table
    from remit.embedded import running
    from remit.errors import Held

    settings = options.settings(home)
    try:
        record = running(settings.home)
    except Held as error:
        if as_json:
            document({"stack": {}, "ready": False})
        raise typer.Exit(refuse(error)) from None
    down = record.down()
    if as_json:
        document({"stack": dict(record.addresses), "ready": not down})
    else:
        shown = table("what", "where")
        for name, address in record.addresses.items():
            shown.add_row(name, safe(address))
        out().print(shown)
        say(safe(f"down: {', '.join(down)}", "red") if down else safe("up", "green"))
    if down:
        raise typer.Exit(3)


def _foreground(service: LocalService) -> None:
    import signal
    import threading

    from remit.cli.terminal import err, safe, say

    ended = threading.Event()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: _interrupt(ended))
    try:
        with err().status("Starting OpenBao, PostgreSQL and Temporal …"):
            service.start(_teller())
        try:
            with suppress(KeyboardInterrupt):  # from here on the usual way to end it
                for name, address in service.stack.addresses().items():
                    say(safe(f"{name:12} {address}"))
                say("people       log in with: remit login --as NAME")
                say("usable       Ctrl-C stops everything")
                while not ended.wait(1.0):
                    service.tend(_teller())
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is stopping: the servers end in order
            with err().status("Stopping …"):
                service.stop()
    except KeyboardInterrupt:
        if not ended.is_set():
            raise


def _interrupt(ended: Event) -> None:
    ended.set()
    raise KeyboardInterrupt


def _teller() -> Callable[[str], None]:
    from remit.cli.terminal import err, safe

    return lambda line: err().print(safe(line, "dim"), soft_wrap=True)
