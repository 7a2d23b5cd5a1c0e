"""`remit audit reconcile`: the records against OpenBao's own audit log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.evidence.openbao import Log, Paths
    from remit.settings import Settings


def reconcile(
    logs: Annotated[
        list[Path] | None,
        typer.Option("--openbao-log", metavar="FILE", help="OpenBao's audit log; each part of a rotated one."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="FOLDER", help="The audit log (default: the settings').")
    ] = None,
    young: Annotated[
        float, typer.Option("--young", metavar="SECONDS", min=0, help="For how long a record may be under way.")
    ] = 30.0,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Compare the records with OpenBao's own log: no credential without its record, no record without its read."""
    from remit import audit
    from remit.catalogue import Catalogue
    from remit.cli.terminal import document, safe, say
    from remit.evidence.openbao import Paths
    from remit.evidence.reconciling import reconcile as compared
    from remit.policy.source import CATALOGUE

    settings = options.settings(home)
    where = folder or settings.audit_folder
    asked = time.time()
    log = _log(logs or _own(settings), paths=Paths.of(Catalogue.load(settings.policies / CATALOGUE)))
    records = list(audit.read(where))
    result = compared(records, log, since=_since(where), now=asked, young=young)
    if as_json:
        document(result.document())
    else:
        for one in result.findings:
            say(safe(f"{one.code}: {one.message}", "red"))
            say(safe("  " + "  ".join(f"{name}={value}" for name, value in one.where.items()), "dim"))
        counted = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in result.counted.items() if number)
        say(safe("the logs differ" if result.findings else "the logs agree", "red" if result.findings else "green"))
        say(safe(counted))
    if result.findings:
        raise typer.Exit(1)


def _own(settings: Settings) -> Sequence[Path]:
    from remit.errors import Usage

    path = settings.home / "logs" / "openbao-audit.log"
    if not path.exists():
        raise Usage(
            "OpenBao's audit log is not in the state folder",
            code="log.needed",
            next_action="Give it: --openbao-log FILE, once for each part of a rotated log.",
        )
    return [path]


def _log(files: Sequence[Path], *, paths: Paths) -> Log:
    from remit.errors import Usage
    from remit.evidence import openbao

    log = openbao.Log()
    for file in files:
        try:
            with file.open(encoding="utf-8", errors="replace") as lines:
                openbao.read(lines, paths=paths, into=log)
        except OSError as error:
            raise Usage(
                f"{file} cannot be read: {error.strerror}", code="log.file", next_action="Give a file."
            ) from None
    return log


def _since(folder: Path) -> float:
    """Return when the records begin: the time in the name of the first writer's file."""
    births = [path.name.partition("-")[0] for path in folder.glob("*.jsonl")]
    return min((float(birth) for birth in births if birth.isdecimal()), default=float("inf"))
