"""`remit submit`, `tasks`, `show`, `resume`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remit.cli import options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from remit.client.submitting import Submitted


def submit(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)],
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the task ends; exit 1 unless it completed.")] = False,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Delegate a job to its agent and start the task."""
    from remit.client import Remit
    from remit.job import Job

    settings = options.settings(home)
    wanted = Job.load(job)

    async def run() -> tuple[Submitted, dict[str, Any] | None]:
        from remit.cli.watching import follow

        async with Remit.open(settings, person=options.person(person)) as remit:
            started = await remit.submit(wanted)
            if not wait:
                return started, None
            _said(started, as_json=as_json, quietly=True)
            return started, await follow(remit, started.task, quietly=as_json)

    started, ended = asyncio.run(run())
    if ended is None:
        _said(started, as_json=as_json)
        return
    if as_json:
        from remit.cli.terminal import document

        document(started.document() | {"state": ended["state"], "result": ended["result"], "error": ended["error"]})
    raise typer.Exit(0 if ended["state"] == "completed" else 1)


def resume(
    task: options.Task,
    delegation: Annotated[
        Path | None, typer.Option("--delegation", metavar="JOB.yaml", help="What to delegate now (default: as before).")
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Let a task that waits go on, under a fresh delegation."""
    from remit.client import Remit

    settings = options.settings(home)
    wanted = None
    if delegation is not None:
        from remit.job import Job

        wanted = Job.load(delegation)

    async def run() -> Submitted:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await remit.resume(task, wanted)

    resumed = asyncio.run(run())
    if as_json:
        from remit.cli.terminal import document

        document(resumed.document())
    else:
        from remit.cli.terminal import safe, say

        say(safe(f"{task} goes on under delegation {resumed.delegation}", "green"))


def tasks(
    query: Annotated[str, typer.Option("--query", help="A Temporal visibility query that narrows the list.")] = "",
    most: Annotated[int, typer.Option("--most", min=1, max=10_000, help="How many at most.")] = 100,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """List tasks, newest first."""
    from remit.cli.terminal import document, out, safe, say, short, state, table
    from remit.client import Remit

    settings = options.settings(home)

    async def run() -> list[dict[str, Any]]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await remit.tasks(query=query, most=most)

    found = asyncio.run(run())
    if as_json:
        document({"tasks": found})
        return
    if not found:
        say("There is no task. Start one with: remit submit JOB.yaml")
        return
    shown = table("task", "state", "who", "agent", "started")
    for task in found:
        who, agent = short(str(task["root"] or "")), short(str(task["agent"] or ""))
        shown.add_row(safe(task["task"]), state(task["state"]), safe(who), safe(agent), safe(task["started_at"] or ""))
    out().print(shown)


def show(
    task: options.Task,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Show one task: its chain, its steps and attempts, what it waits for."""
    from remit.cli.terminal import document, out
    from remit.client import Remit

    settings = options.settings(home)

    async def run() -> dict[str, Any]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await remit.show(task)

    found = asyncio.run(run())
    if as_json:
        document(found)
    else:
        out().print(rendered(found))


def rendered(task: Mapping[str, Any]) -> RenderableType:
    """Return a task as people read it."""
    from rich.console import Group
    from rich.text import Text

    from remit.cli.terminal import exact, safe, short, state

    head = Text.assemble(safe(task["task"], "bold"), "  ", state(task["state"]))
    what_for = f", for {task['purpose']}" if task["purpose"] else ""
    who = f"{short(str(task['root']))} → {short(str(task['agent']))}{what_for}"
    parts: list[RenderableType] = [head, safe(who), "", _chain(task), "", _steps(task)]
    if stopped := task.get("stopped"):
        parts += ["", safe(str(stopped.get("message") or stopped.get("status") or ""), "red")]
        if stopped.get("waits_for"):
            parts += [safe(f"Waits for {stopped['waits_for']} until {stopped['until']}", "yellow")]
    waiting = task.get("waiting")
    if waiting:
        parts += ["", request(waiting)]
    if task.get("children"):
        parts += ["", Text.assemble("Children: ", safe(", ".join(task["children"])))]
    if task.get("error"):
        parts += ["", safe(f"{task['error'].get('message')} [{task['error'].get('code')}]", "red")]
    elif task.get("result") is not None:
        parts += ["", Text.assemble("Result: ", exact(task["result"]))]
    return Group(*parts)


def request(waiting: Mapping[str, Any]) -> RenderableType:
    """Return what waits for a person, complete, in the order it is signed."""
    from rich.console import Group
    from rich.text import Text

    from remit.cli.terminal import exact, safe, table

    arguments = table("argument", "value")
    for name, value in sorted(waiting["input"].items()):
        arguments.add_row(exact(name), exact(value))
    return Group(
        Text.assemble(
            ("Waits for ", "yellow"),
            safe(", ".join(waiting["approvers"]) or "nobody", "yellow"),
            f" since {waiting['since']}, request ",
            safe(waiting["request"], "bold"),
        ),
        Text.assemble(safe(waiting["action"], "bold"), " on ", safe(waiting["resource"], "bold"), " with exactly:"),
        arguments,
    )


def _chain(task: Mapping[str, Any]) -> RenderableType:
    from remit.cli.terminal import safe, short, state, table

    shown = table("from", "to", "status", "expires", "delegation")
    for link in (*task["chain"], *task.get("others", ())):
        names = [safe(short(str(link.get(end) or "?"))) for end in ("from", "to")]
        shown.add_row(*names, state(link["status"]), safe(link.get("expires_at") or "?"), safe(link["delegation"]))
    return shown


def _steps(task: Mapping[str, Any]) -> RenderableType:
    from remit.cli.terminal import safe, state, table

    shown = table("step", "tool", "resource", "state", "attempts")
    for step in task["steps"]:
        tried = "; ".join(_attempt(attempt) for attempt in step["attempts"])
        shown.add_row(
            str(step["n"]), safe(_called(step)), safe(step["resource"] or ""), state(step["state"]), safe(tried)
        )
    return shown


def _called(step: Mapping[str, Any]) -> str:
    """Return a step's tool, and by whom, if not by the task's own agent."""
    from remit.cli.terminal import short

    return f"{step['tool']} by {short(str(step['agent']))}" if step.get("agent") else str(step["tool"])


def _attempt(attempt: Mapping[str, Any]) -> str:
    lease = attempt.get("lease") or {}
    words = [f"{attempt['n']}: {attempt['verdict'] or 'not decided'}"]
    words += [f"by {', '.join(attempt['policies'])}"] if attempt["policies"] else []
    words += [f"as {lease['user']}"] if lease.get("user") else []
    words += [f"{attempt['outcome']}"] if attempt["outcome"] else []
    words += [f"[{attempt['code']}]"] if attempt.get("code") else []
    return " ".join(words) + (f" {attempt['ms']:.0f} ms" if isinstance(attempt["ms"], int | float) else "")


def _said(started: Submitted, *, as_json: bool, quietly: bool = False) -> None:
    from remit.cli.terminal import document, err, safe, say

    if quietly:
        err().print(safe(f"{started.task} runs under delegation {started.delegation}"), soft_wrap=True)
    elif as_json:
        document(started.document())
    else:
        say(safe(f"{started.task} runs under delegation {started.delegation}", "green"))
        say(safe(f"Follow it with: remit watch {started.task}"))
