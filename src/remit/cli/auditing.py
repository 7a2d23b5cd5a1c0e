"""`remit audit`: the evidence of what was done, for those who trust nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remit.cli import auditing_exports, auditing_reconciling, options

app = typer.Typer(name="audit", help="The evidence.", no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def _group() -> None:
    """The evidence."""


@app.command()
def verify(
    target: Annotated[Path, typer.Argument(metavar="EXPORT.json", help="What `remit audit export` wrote.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="KEYS.json", help="The public keys you trust, for an export.")
    ] = None,
    histories: Annotated[
        list[Path] | None,
        typer.Option("--history", metavar="FILE", help="A run of the task, from `temporal workflow show -o json`."),
    ] = None,
    policies: Annotated[
        Path | None, typer.Option("--policies", metavar="FOLDER", help="Policy folder whose action groups apply.")
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Verify evidence; an export offline, with the given keys alone."""
    auditing_exports.verify_export(target, keys=keys, histories=histories or (), policies=policies, as_json=as_json)


app.command()(auditing_exports.export)
app.command()(auditing_exports.keys)
app.command()(auditing_reconciling.reconcile)
