"""`remit approvals`, `approve`, `reject`: what waits, with the exact arguments; a signed yes or no."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.approvals import Decision
    from remit.client.deciding import Decided, Waiting

Request = Annotated[
    str | None, typer.Option("--request", metavar="ID", help="Which request, when the task waits for several.")
]
Why = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, in your words; it is signed.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask again.")]


def approvals(as_json: options.Json = False, home: options.Home = None, person: options.As = None) -> None:
    """List what waits for a decision, with the exact arguments."""
    from remit.cli.tasks import request
    from remit.cli.terminal import document, out, safe, say, short
    from remit.client import Remit

    settings = options.settings(home)

    async def run() -> list[Waiting]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await remit.approvals()

    found = asyncio.run(run())
    if as_json:
        document({"approvals": [one.document() for one in found]})
        return
    if not found:
        say("Nothing waits for a decision.")
    for one in found:
        say(safe(f"{one.task}: {short(one.root)} → {short(one.agent)}, for {one.purpose}", "bold"))
        out().print(request(one.document()))
        say("")


def approve(
    task: options.Task,
    request: Request = None,
    reason: Why = None,
    yes: Yes = False,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Approve one step of a task, with exactly the arguments shown."""
    _decide(task, "approve", request, reason, yes=yes, as_json=as_json, home=home, person=person)


def reject(
    task: options.Task,
    request: Request = None,
    reason: Why = None,
    yes: Yes = False,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Reject one step of a task."""
    _decide(task, "reject", request, reason, yes=yes, as_json=as_json, home=home, person=person)


def _decide(
    task: str,
    word: Decision,
    request: str | None,
    reason: str | None,
    *,
    yes: bool,
    as_json: bool,
    home: options.Home,
    person: str | None,
) -> None:
    from remit.cli import tasks
    from remit.cli.terminal import document, err, safe, say, short
    from remit.client import Remit

    settings = options.settings(home)

    async def look() -> tuple[Waiting, str]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await remit.waiting(task, request), remit.connection.principal.name

    waiting, name = asyncio.run(look())
    err().print(safe(f"{waiting.task}: {short(waiting.root)} → {short(waiting.agent)}, for {waiting.purpose}"))
    err().print(tasks.request(waiting.document()))
    # Asked outside the event loop, which would keep Ctrl-C from the prompt.
    if not yes and sys.stdin.isatty() and not typer.confirm(f"{word.capitalize()} this as {name}?", err=True):
        raise typer.Exit(1)

    async def decide() -> Decided:
        async with Remit.open(settings, person=name) as remit:
            return await remit.decide(waiting, word, reason)  # what was shown, and nothing else

    done = asyncio.run(decide())
    if as_json:
        document(done.document())
    elif done.accepted:
        say(safe(f"{word}d: it counts" if word == "approve" else "rejected: it counts", "green"))
    else:
        say(safe("sent; no worker has answered yet, the task judges it when one does", "yellow"))
