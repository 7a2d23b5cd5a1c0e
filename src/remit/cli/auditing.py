"""`remit audit`: the evidence of what was done, for those who trust nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remit.cli import auditing_exports, auditing_folders, auditing_reconciling, options

app = typer.Typer(name="audit", help="The evidence.", no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def _group() -> None:
    """The evidence."""


@app.command()
def verify(
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER|EXPORT.json]",
            help="The audit log's folder (default: the settings'), or what `remit audit export` wrote.",
            show_default=False,
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="KEYS.json", help="The public keys you trust, to verify offline.")
    ] = None,
    heads: Annotated[
        Path | None, typer.Option("--heads", metavar="HEADS.json", help="For a folder: what `remit audit heads` wrote.")
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
    """Verify the whole log against what was signed of it; or an export, offline, with the given keys alone."""
    if target is not None and not target.is_dir():
        auditing_exports.verify_export(target, keys=keys, histories=histories or (), policies=policies, as_json=as_json)
        return
    settings = options.settings(home)
    auditing_folders.verify_folder(
        target or settings.audit_folder,
        settings,
        heads=heads,
        keys=keys,
        person=options.person(person),
        as_json=as_json,
    )


app.command()(auditing_exports.export)
app.command()(auditing_exports.keys)
app.command()(auditing_folders.heads)
app.command()(auditing_reconciling.reconcile)
