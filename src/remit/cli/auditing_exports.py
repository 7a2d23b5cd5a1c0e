"""`remit audit export`, `remit audit keys`, and what `remit audit verify` does with an export."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.client.connection import Connection
    from remit.evidence.document import Export
    from remit.evidence.verification import Report


def export(
    task: options.Task,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it (default: stdout).")
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Write one task's evidence into one file that anybody can verify offline."""
    from remit.cli.terminal import document, safe, say
    from remit.client import Remit
    from remit.errors import Usage

    settings = options.settings(home)

    async def run() -> Export:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await _exported(remit.connection, task)

    made = asyncio.run(run())
    if output is None:
        document(made.document())
        return
    try:
        output.write_text(json.dumps(made.document(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise Usage(f"{output} cannot be written: {error.strerror}", code="export.file") from None
    records = sum(len(one.records) for one in made.writers)
    sealed = all(one.head is not None for one in made.writers)
    if as_json:
        document({"file": str(output), "task": task, "records": records, "sealed": sealed})
        return
    say(safe(f"{records} records of {task} are in {output}", "green"))
    if not sealed:
        say(safe("not all of them are sealed yet: export it again, or see why with `remit audit verify`", "yellow"))


def keys(
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Print the public keys that evidence is verified with, as a JWK Set."""
    from remit.cli.terminal import document
    from remit.client import Remit

    settings = options.settings(home)

    async def run() -> dict[str, Any]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await _keys(remit.connection)

    document(asyncio.run(run()))


def verify_export(
    file: Path, *, keys: Path | None, histories: Sequence[Path], policies: Path | None, as_json: bool
) -> None:
    """Verify an export offline and print what was found.

    Raises:
        Usage: A file cannot be used. Exit: With status 1, when something does not hold.
    """
    from remit.cli.terminal import document, refuse, safe, say
    from remit.errors import InvalidDocument, Usage

    if keys is None:
        raise Usage(
            "an export is verified with keys that do not come from it",
            code="keys.needed",
            next_action="Give --keys KEYS.json: what `remit audit keys` prints, from whom you trust.",
        )
    try:
        report = _verified(file, keys=keys, histories=histories, policies=policies)
    except InvalidDocument as error:
        if as_json:
            finding = {"code": error.code, "message": error.message}
            document({"valid": False, "task": None, "findings": [finding], "counted": {}})
        else:
            refuse(error)
        raise typer.Exit(1) from None
    if as_json:
        document(report.document())
    else:
        for one in report.findings:
            say(safe(f"{one.code}: {one.message}", "red"))
            say(safe("  " + "  ".join(f"{name}={value}" for name, value in one.where.items()), "dim"))
        counted = ", ".join(f"{number} {name}" for name, number in report.counted.items())
        colour, word = ("green", "holds") if report.valid else ("red", "does not hold")
        say(safe(f"the evidence of {report.task} {word}", colour), safe(counted))
    if not report.valid:
        raise typer.Exit(1)


def _verified(file: Path, *, keys: Path, histories: Sequence[Path], policies: Path | None) -> Report:
    from remit.cli.verifying import groups_of
    from remit.evidence import document, history, verification
    from remit.evidence.keys import load

    return verification.verify(
        document.read(_content(file)),
        keys=load(keys),
        groups=None if policies is None else groups_of(policies, required=True),
        histories=[history.read(_content(one)) for one in histories],
    )


def _content(file: Path) -> bytes:
    from remit.errors import Usage

    try:
        return file.read_bytes()
    except OSError as error:
        raise Usage(
            f"{file} cannot be read: {error.strerror}", code="export.file", next_action="Give a file."
        ) from None


async def _exported(connection: Connection, task: str) -> Export:
    from remit.evidence import exporting

    sources = exporting.Sources(
        folder=connection.settings.audit_folder,
        registry=connection.registry,
        chains=connection.chains,
        standing=connection.standing,
        client=await connection.temporal(),
        actions=connection.policy.groups,
        stops=connection.stops,
    )
    return await exporting.export(
        sources,
        task,
        by=connection.principal.spiffe_id,
        at=int(connection.clock()),
        keys=await _keys(connection),
    )


async def _keys(connection: Connection) -> dict[str, Any]:
    from remit.evidence import directory

    domain = connection.catalogue.trust_domain
    return await directory.jwks(connection.vault, connection.registry, trust_domain=domain)
