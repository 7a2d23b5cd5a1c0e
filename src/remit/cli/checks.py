"""`remit doctor` and `remit bootstrap`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.client.doctor import Check

_SIGNS = {"ok": "✓", "warn": "!", "bad": "✗", "unreachable": "✗"}


def doctor(as_json: options.Json = False, home: options.Home = None, person: options.As = None) -> None:
    """Say what is reachable, what is misconfigured, and what runs ungoverned."""
    from remit.cli.terminal import STYLES, document, out, safe, table
    from remit.client import Remit
    from remit.client.doctor import examine

    settings = options.settings(home)

    async def run() -> list[Check]:
        async with Remit.open(settings, person=options.person(person)) as remit:
            return await examine(remit.connection)

    found = asyncio.run(run())
    states = {check.state for check in found}
    status = 3 if "unreachable" in states else 1 if "bad" in states else 0
    if as_json:
        document({"ok": status == 0, "checks": [check.document() for check in found]})
    else:
        shown = table("", "what", "how", "what to do")
        for check in found:
            style = STYLES.get(check.state, "red")
            shown.add_row(safe(_SIGNS[check.state], style), check.name, safe(check.detail, style), safe(check.next))
        out().print(shown)
    raise typer.Exit(status)


def bootstrap(
    token_file: Annotated[
        Path | None, typer.Option(help="The operator's token (default: BAO_TOKEN or VAULT_TOKEN).", metavar="FILE")
    ] = None,
    workload_key: Annotated[
        list[Path] | None,
        typer.Option(
            help="Public key (PEM) that signs workloads' identity tokens.", metavar="FILE", envvar="REMIT_WORKLOAD_KEY"
        ),
    ] = None,
    workload_issuer: Annotated[
        str,
        typer.Option(
            help="`iss` of those tokens (default: the trust domain).", metavar="ISS", envvar="REMIT_WORKLOAD_ISSUER"
        ),
    ] = "",
    workload_jwks: Annotated[
        str,
        typer.Option(help="Or the address its keys are published at.", metavar="URL", envvar="REMIT_WORKLOAD_JWKS"),
    ] = "",
    manager: Annotated[
        str, typer.Option(help="PostgreSQL role that makes users.", metavar="ROLE", envvar="REMIT_MANAGER")
    ] = "bao_min",
    manager_password_file: Annotated[
        Path | None,
        typer.Option(
            help="Its password; without it no database is set up.", metavar="FILE", envvar="REMIT_MANAGER_PASSWORD_FILE"
        ),
    ] = None,
    passwords: Annotated[
        bool,
        typer.Option(help="People log in with passwords, generated into the state folder.", envvar="REMIT_PASSWORDS"),
    ] = True,
    oidc: Annotated[
        str,
        typer.Option(help="Discovery address of the provider people log in with.", metavar="URL", envvar="REMIT_OIDC"),
    ] = "",
    oidc_client: Annotated[str, typer.Option(help="Client id there.", metavar="ID", envvar="REMIT_OIDC_CLIENT")] = "",
    oidc_secret_file: Annotated[
        Path | None, typer.Option(help="Its secret.", metavar="FILE", envvar="REMIT_OIDC_SECRET_FILE")
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Set an OpenBao or Vault up for Remit; again and again does no harm."""
    from remit.cli import setting_up
    from remit.cli.terminal import document, safe, say

    settings = options.settings(home)
    done = setting_up.run(
        settings,
        setting_up.Wishes(
            token_file=token_file,
            workload_keys=tuple(workload_key or ()),
            workload_issuer=workload_issuer,
            workload_jwks=workload_jwks,
            manager=manager,
            manager_password_file=manager_password_file,
            passwords=passwords,
            oidc=oidc,
            oidc_client=oidc_client,
            oidc_secret_file=oidc_secret_file,
        ),
    )
    if as_json:
        document({"changed": list(done.changed), "warnings": list(done.warnings), "jwks": dict(done.jwks)})
        return
    for line in done.changed:
        say(safe(f"made or changed: {line}"))
    for line in done.warnings:
        say(safe(f"look at: {line}", "yellow"))
    say(safe(f"{settings.openbao_address} is as wanted: {len(done.changed)} changes", "green"))
