"""`remit policy check`: validates and lints the policy folder. `remit policy from-mcp` is beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remit.cli import options
from remit.cli.from_mcp import from_mcp

app = typer.Typer(name="policy", help="The policies.", no_args_is_help=True, rich_markup_mode="rich")
app.command(name="from-mcp")(from_mcp)


@app.callback()
def _group() -> None:
    """The policies."""


@app.command()
def check(
    policies: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Policy folder (default: the settings').", show_default=False),
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Validate and lint schema, policies and catalogue."""
    from remit.assembly import load_policy
    from remit.cli.terminal import document, refuse, safe, say
    from remit.errors import Usage
    from remit.policy import PolicyInvalid

    settings = options.settings(home)
    if policies is not None:
        settings = settings.model_copy(update={"policies": policies})
    try:
        catalogue, engine = load_policy(settings)
    except PolicyInvalid as error:
        findings = [{"file": one.file, "line": one.line, "message": one.message} for one in error.findings]
        if as_json:
            document({"valid": False, "findings": findings})
        else:
            for one in error.findings:
                say(safe(str(one), "red"))
            refuse(Usage(f"{len(findings)} wrong in {settings.policies}", code=error.code))
        raise typer.Exit(1) from None
    except Usage as error:
        if not as_json:
            raise
        document({"valid": False, "findings": [{"file": "catalogue.yaml", "line": 0, "message": error.message}]})
        raise typer.Exit(1) from None
    if as_json:
        document(
            {"valid": True, "findings": [], "digest": engine.digest, "policies": list(engine.policies),
             "actions": sorted(engine.actions)}
        )  # fmt: skip
    else:
        say(safe(f"{settings.policies} holds: {len(engine.policies)} policies, {len(engine.actions)} actions", "green"))
        say(safe(f"{len(catalogue.people)} people, {len(catalogue.agents)} agents; digest {engine.digest}"))
