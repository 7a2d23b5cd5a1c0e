"""`remit audit heads`, and what `remit audit verify` does with a folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.evidence.folder import Report
    from remit.settings import Settings


def heads(
    every: Annotated[bool, typer.Option("--all", help="All heads, not only the newest of each writer.")] = False,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Print what the authority signed about the audit log, for `remit audit verify --heads`."""
    from remit.cli.terminal import document
    from remit.client import Remit
    from remit.evidence import kept

    settings = options.settings(home)

    async def run() -> dict[str, Any]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            found = await kept.collect(remit.connection.registry.heads, every=None if every else ())
            return kept.document(found)

    document(asyncio.run(run()))


def verify_folder(
    folder: Path, settings: Settings, *, heads: Path | None, keys: Path | None, person: str | None, as_json: bool
) -> None:
    """Verify the audit log's files and print what was found.

    Args:
        heads, keys: With both, no server is asked; with neither, the registry is.

    Raises:
        Usage: A file cannot be used. Held: The heads cannot be read; the files alone hold.
        Exit: With status 1, when something does not hold.
    """
    from remit.cli.terminal import document, safe, say
    from remit.errors import RemitError, Usage

    if (heads is None) != (keys is None):
        raise Usage(
            "heads are verified with keys that do not come with them",
            code="keys.needed",
            next_action="Give --heads and --keys, or neither: then OpenBao is asked.",
        )
    unheard: RemitError | None = None
    if heads is not None and keys is not None:
        report = _offline(folder, heads=heads, keys=keys)
    else:
        try:
            report = asyncio.run(_online(folder, settings, person))
        except Usage:
            raise
        except RemitError as error:
            report, unheard = _alone(folder), error
    if as_json:
        told = None if unheard is None else {"code": unheard.code, "message": unheard.message}
        document({"folder": str(folder), **report.document(), "unheard": told})
    else:
        for one in report.findings:
            say(safe(f"{one.code}: {one.message}", "red"))
            say(safe("  " + "  ".join(f"{name}={value}" for name, value in one.where.items()), "dim"))
        counted = ", ".join(f"{number} {name}" for name, number in report.counted.items())
        what = "files hold by themselves" if unheard else "log holds"
        colour, word = ("green", f"the {what}") if report.valid else ("red", "the log does not hold")
        say(safe(word, colour), safe(counted))
    if not report.valid:
        raise typer.Exit(1)
    if unheard is not None:
        raise unheard


def _files(folder: Path) -> dict[str, bytes]:
    from remit.errors import Usage

    try:
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}
    except OSError as error:
        raise Usage(f"{folder} cannot be read: {error.strerror}", code="audit.folder") from None


def _alone(folder: Path) -> Report:
    from remit.evidence.folder import check

    return check(_files(folder))


def _offline(folder: Path, *, heads: Path, keys: Path) -> Report:
    from remit.errors import Usage
    from remit.evidence import kept
    from remit.evidence.folder import check
    from remit.evidence.keys import load

    try:
        found = kept.read(heads.read_bytes())
    except OSError as error:
        raise Usage(f"{heads} cannot be read: {error.strerror}", code="heads.invalid") from None
    return check(_files(folder), heads=found, keys=load(keys))


async def _online(folder: Path, settings: Settings, person: str | None) -> Report:
    """Check a folder with heads and keys from OpenBao; with more heads of a writer whose file does not hold."""
    import json

    from remit.client import Remit
    from remit.evidence import directory, kept
    from remit.evidence.folder import check
    from remit.evidence.keys import read

    async with Remit.open(settings, person=person) as remit:
        connection = remit.connection
        registry, domain = connection.registry, connection.catalogue.trust_domain
        trusted = read(json.dumps(await directory.jwks(connection.vault, registry, trust_domain=domain)).encode())
        newest = await kept.collect(registry.heads)
        files = _files(folder)  # after the heads: what is written meanwhile is unsealed, not cut off
        report = check(files, heads=newest, keys=trusted)
        if report.valid:
            return report
        until = {one.writer: one.seq for one in newest}
        every = await kept.collect(registry.heads, every=report.writers)
        return check(files, heads=[one for one in every if one.seq <= until.get(one.writer, 0)], keys=trusted)
