"""`remit verify`: is this chain valid, by signatures, narrowing and time; no server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remit.cli import options

if TYPE_CHECKING:
    from remit.delegation import ActionGroups


def verify(
    chain: Annotated[
        Path, typer.Argument(metavar="CHAIN.json", help='{"links": [jws…]}, root first.', show_default=False)
    ],
    anchors: Annotated[Path, typer.Option("--anchors", metavar="JWKS.json", help="The humans' public keys.")],
    at: Annotated[int, typer.Option("--at", metavar="UNIX", min=0, help="The moment, in seconds since 1970.")],
    policies: Annotated[
        Path | None, typer.Option("--policies", metavar="FOLDER", help="Policy folder whose action groups apply.")
    ] = None,
    as_json: options.Json = False,
    home: options.Home = None,
    person: options.As = None,
) -> None:
    """Verify a chain offline."""
    from remit.cli.terminal import document, safe, say
    from remit.client import offline
    from remit.errors import Usage

    keys = offline.read_anchors(anchors)
    groups = groups_of(policies or options.settings(home).policies, required=policies is not None)
    try:
        with chain.open("rb") as file:
            content = file.read(offline.MAX_FILE + 1)  # one more than is read, so that it is found too large
    except OSError as error:
        raise Usage(
            f"{chain} cannot be read: {error.strerror}", code="chain.file", next_action="Give a file."
        ) from None
    finding = offline.verify(content, anchors=keys, at=at, groups=groups)
    if as_json:
        document(finding.document())
    elif finding.chain is not None:
        held = finding.chain
        say(safe(f"valid: {held.root.short} → {' → '.join(link.delegate.short for link in held.links)}", "green"))
        say(safe(f"until {_moment(held.expires_at)}; standing is not part of an offline check"))
    elif finding.error is not None:
        raise finding.error
    if finding.error is not None:
        raise typer.Exit(1)


def groups_of(folder: Path, *, required: bool) -> ActionGroups:
    """Return the action hierarchy of a policy folder; without one, an action covers only itself.

    Raises:
        Usage: ``policy.folder``, ``policy.invalid``.
    """
    from remit.errors import Usage

    schema = folder / "schema.cedarschema"
    if not schema.exists():
        if required:
            raise Usage(f"{folder} holds no schema.cedarschema", code="policy.folder", next_action="Give --policies.")
        return {}
    import cedarpy

    from remit.policy.schema import read_actions

    try:
        return read_actions(cedarpy.Schema.from_str(schema.read_text(encoding="utf-8"))).groups
    except ValueError as error:
        raise Usage(
            f"{schema} is not a schema: {' '.join(str(error).split())[:200]}",
            code="policy.invalid",
            next_action="See `remit policy check`.",
        ) from None


def _moment(seconds: int) -> str:
    from remit.cli.terminal import moment

    return moment(seconds)
