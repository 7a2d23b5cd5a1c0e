"""`remit revoke`, `suspend`, `reinstate`, and `delegations`, the tree they work on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remit.cli import options

if TYPE_CHECKING:
    from rich.tree import Tree

    from remit.client.stopping import Stopped

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="A delegation, a task, agent/NAME or user/NAME.", show_default=False)
]


def revoke(
    target: Target,
    reason: options.RequiredReason,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """End authority for good; returns when its credentials are dead."""
    _state("revoke", target, reason, as_json=as_json, home=home, person=person)


def suspend(
    target: Target,
    reason: options.Reason = "",
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Pause authority; `reinstate` undoes it."""
    _state("suspend", target, reason, as_json=as_json, home=home, person=person)


def reinstate(
    target: Target,
    reason: options.Reason = "",
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Lift a suspension."""
    _state("reinstate", target, reason, as_json=as_json, home=home, person=person)


def delegations(
    target: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A delegation or a task.", show_default=False)
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Show who handed what to whom, and where it stands."""
    from remit.cli.terminal import document, out, say
    from remit.client import Remit

    settings = options.settings(home)

    async def run() -> list[dict[str, Any]]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await remit.delegations(target)

    found = asyncio.run(run())
    if as_json:
        document({"delegations": found})
    elif not found:
        say("Nothing has been delegated.")
    else:
        for node in found:
            out().print(_tree(node))


def _state(word: str, target: str, reason: str, *, as_json: bool, home: options.Home, person: str | None) -> None:
    from remit.cli.terminal import document, err, safe, say
    from remit.client import Remit

    settings = options.settings(home)
    past = {"revoke": "revoked", "suspend": "suspended", "reinstate": "reinstated"}[word]

    async def run() -> Stopped:
        async with Remit.open(settings, person=options.person(person)) as remit:
            actions = {"revoke": remit.revoke, "suspend": remit.suspend, "reinstate": remit.reinstate}
            done = await actions[word](target, reason)
            with err().status(safe(f"{target} is {past}; {_count(done.tasks or 0, 'task')} told …")) as status:
                return await remit.follow(
                    done, progress=lambda stopped, going: status.update(f"{past}: {stopped} stopped, {going} not yet …")
                )

    done = asyncio.run(run())
    if as_json:
        document(done.document())
        return
    say(safe(f"{target} is {past} (statement {done.statements[0]})", "green"))
    if word != "reinstate":
        took = f", the last {done.ms:.0f} ms after the command" if done.ms is not None else ""
        say(safe(f"{_count(done.leases, 'live credential')} destroyed{took}"))
    if done.tasks is not None:
        became = "stopped" if done.complete and word != "reinstate" else "told"
        say(safe(f"{_count(done.tasks, 'task')} {became}"))
    for line in done.pending:
        say(safe(f"pending: {line}", "yellow"))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _tree(node: Mapping[str, Any]) -> Tree:
    from rich.tree import Tree

    tree = Tree(_label(node))
    _grow(tree, node["children"])
    return tree


def _grow(tree: Tree, children: Sequence[Mapping[str, Any]]) -> None:
    for child in children:
        _grow(tree.add(_label(child)), child["children"])


def _label(node: Mapping[str, Any]) -> Any:
    from rich.text import Text

    from remit.cli.terminal import safe, short, state

    if "from" not in node:
        return Text.assemble(safe(node["delegation"]), " ", state("invalid"), " ", safe(node["code"]))
    scope = f"{', '.join(node['actions'])} in {', '.join(node['spaces'])}, budget {node['budget']}"
    return Text.assemble(
        safe(f"{short(node['from'])} → {short(node['to'])} ", "bold"),
        state(node["status"]),
        safe(f"  {scope}, for {node['purpose']}, until {node['expires_at']}"),
        "\n",
        safe(f"{node['delegation']}  {node['task']}", "dim"),
    )
