"""`remit login`: a session for one person, kept in the state folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.session import Sessions


def login(
    person: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who logs in.")] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Read the password from here ('-': stdin).")
    ] = None,
    oidc: Annotated[bool, typer.Option("--oidc", help="Log in with the organisation's identity provider.")] = False,
    as_json: options.Json = False,
    home: options.Home = None,
) -> None:
    """Log in, with the embedded stack's generated password where it can be read."""
    from remit.cli.terminal import document, moment, safe, say
    from remit.client.login import known, log_in
    from remit.errors import Usage
    from remit.session import Sessions

    name = options.person(person)
    if name is None:
        raise Usage("who logs in?", code="login.name", next_action="Say: remit login --as NAME")
    settings = options.settings(home)
    known(settings, name)
    password = None if oidc else _password(Sessions(settings.home), name, password_file)
    session = asyncio.run(log_in(settings, name, password=password))
    if as_json:
        document({"person": name, "openbao": session.address, "expires_at": moment(session.expires_at)})
    else:
        say(safe(f"{name} is logged in to {session.address} until {moment(session.expires_at)}", "green"))


def _password(sessions: Sessions, name: str, file: Path | None) -> str:
    import sys

    from remit.errors import Usage

    if file is not None:
        try:
            text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise Usage(f"{file} cannot be read: {why}", code="login.password", next_action="Give a file.") from None
        return text.rstrip("\r\n")
    if (generated := sessions.password(name)) is not None:
        return generated
    if not sys.stdin.isatty():
        raise Usage(
            "no terminal to ask for the password on",
            code="login.password",
            next_action="Give it with --password-file FILE, or --password-file - for stdin.",
        )
    return str(typer.prompt(f"Password of {name}", hide_input=True, err=True))
