"""`remit explain`: the five questions, answered with their evidence."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from remit.cli import options


def explain(
    task: options.Task,
    step: Annotated[int | None, typer.Option("--step", metavar="N", min=1, help="Only this step.")] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Answer who acted, with what authority, who approved, why it ran, and what triggered a change."""
    from rich.padding import Padding

    from remit.cli.terminal import document, out, safe, say
    from remit.client import Remit

    settings = options.settings(home)

    async def run() -> dict[str, Any]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await remit.explain(task, step)

    found = asyncio.run(run())
    if as_json:
        document(found)
        return
    for answer in found["answers"]:
        say(safe(answer["question"], "bold"))
        for sentence in answer["answer"]:
            out().print(Padding(safe(sentence), (0, 0, 0, 2)))
        for proof in answer["evidence"]:
            facts = "  ".join(f"{name}={_plain(value)}" for name, value in proof.items() if value)
            out().print(Padding(safe(facts, "dim"), (0, 0, 0, 4)))
        say("")


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
