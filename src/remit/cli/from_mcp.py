"""`remit policy from-mcp`: Cedar actions and mapping entries drafted from an MCP server's list of tools."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.policy.drafting import Draft


def from_mcp(
    name: Annotated[str, typer.Option("--name", metavar="SERVER", help="What the server is called in remit.toml.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND ...]", help="What starts the server, over stdio.", show_default=False),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Where it listens, over streamable HTTP.")] = None,
    tools: Annotated[
        Path | None, typer.Option("--tools", metavar="FILE", help="Its saved answer to tools/list.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME", help="A variable the started server gets; repeatable.")
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option("--resource", metavar="ID", help="What its tools act on; {field} of the arguments too."),
    ] = None,
    kind: Annotated[str, typer.Option("--type", metavar="TYPE", help="Service, Dataset or Model.")] = "Service",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Write SERVER.cedarschema and SERVER.toml there."),
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Draft Cedar actions and remit.toml entries for an MCP server's tools, to be reviewed and added."""
    from rich.text import Text

    from remit.catalogue import Catalogue
    from remit.cli.terminal import document, safe, say
    from remit.policy import drafting, offered
    from remit.policy.source import CATALOGUE, Source

    settings = options.settings(home)
    server = drafting.Server(name, resource or name, kind)
    listing = offered.read(_tools(command or [], url=url, saved=tools, env=env or []))
    catalogue = Catalogue.load(settings.policies / CATALOGUE)
    draft = drafting.draft(server, listing, source=Source.read(settings.policies), catalogue=catalogue)
    if output is not None:
        _write(output, {f"{name}.cedarschema": draft.cedar, f"{name}.toml": draft.toml})
    if as_json:
        document(draft.document())
    elif output is None:
        say(Text(draft.cedar), Text(draft.toml))
    else:
        say(safe(f"{len(draft.actions)} actions are drafted in {output}", "green"))
    known = catalogue.resources.get(server.resource)
    _warn(draft, "" if "{" in server.resource or (known and known[0] == kind) else f"{kind} {server.resource!r}")


def _tools(command: Sequence[str], *, url: str | None, saved: Path | None, env: Sequence[str]) -> list[Any]:
    from remit.client import listing
    from remit.errors import Usage
    from remit.policy import offered

    if [bool(command), url is not None, saved is not None].count(True) != 1:
        raise Usage(
            "one place is wanted to read the tools from",
            next_action="Give --url, --tools, or after -- the command that starts the server.",
        )
    if saved is not None:
        try:
            with saved.open("rb") as file:
                return offered.load(file.read(offered.LONGEST_LIST + 1))
        except OSError as error:
            raise Usage(f"{saved} cannot be read: {error.strerror}", code="mcp.tools") from None
    return asyncio.run(listing.reached(url) if url is not None else listing.started(command, variables=env))


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files that are not there yet, all or none."""
    from remit.errors import Usage

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if there := [name for name in texts if os.path.lexists(folder / name)]:
            raise Usage(f"{folder / there[0]} is there already", code="mcp.output", next_action="Remove it first.")
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise Usage(f"{folder} cannot be written: {error.strerror}", code="mcp.output") from None


def _warn(draft: Draft, unknown: str) -> None:
    """Say on stderr what the reviewer must not miss."""
    from remit.cli.terminal import err, safe

    lines = ["Groups follow the server's annotations, which are its own claims: check each before adding it."]
    if permitted := [one.action for one in draft.actions if one.permitted]:
        lines.append(f"Policies there are already may permit agents: {', '.join(permitted)}")
    if draft.left_out:
        lines.append(f"{len(draft.left_out)} tools cannot be mapped and stay refused: {'; '.join(draft.left_out)}")
    if unknown:
        lines.append(f"The catalogue has no {unknown} yet; until it has, every call is denied.")
    for line in lines:
        err().print(safe(line, "yellow"), soft_wrap=True)
