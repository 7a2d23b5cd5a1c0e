"""OpenBao policies: the HCL files of the policy folder, and one for each credential profile.

- ``remit-authority``, ``remit-person``, ``remit-reader``, ``remit-agent``: as they stand in ``openbao/*.hcl``.
- ``step-<role>``: ``step.hcl`` for each credential role; a role names exactly one path.
- ``remit-revoke``: ``revoke.hcl``, with its last rule for each mount that mints.
- ``remit-reap``: ``reap.hcl``, with its last two rules for each path that mints and each database mount.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from remit.bootstrap.wanted import Wanted
from remit.catalogue import Catalogue
from remit.errors import Usage
from remit.reaping.sweep import ROLE as SWEEP
from remit.vault.paths import checked

FIXED = ("authority", "person", "reader", "agent")


def texts(folder: Path, catalogue: Catalogue) -> dict[str, str]:
    """Return every policy by name.

    Args:
        folder: The policy folder; its ``openbao/`` holds the HCL.

    Raises:
        Usage: ``bootstrap.policy``: a file is missing, or two profiles give one role different paths.
    """
    found = {f"remit-{name}": _file(folder, name) for name in FIXED}
    step = _file(folder, "step")
    for role, path in step_paths(catalogue).items():
        found[f"step-{role}"] = step.replace("${path}", checked(path))
    head, rule = _file(folder, "revoke").rsplit("\n\n", 1)
    rules = [rule.strip().replace("${mount}", checked(mount)) for mount in minting_mounts(catalogue)]
    found["remit-revoke"] = "\n\n".join((head, *rules)) + "\n"
    head, lookup, sweep = _file(folder, "reap").rsplit("\n\n", 2)
    rules = [lookup.strip().replace("${path}", checked(path)) for path in leased_paths(catalogue)]
    rules += [sweep.strip().replace("${mount}", checked(mount)) for mount in database_mounts(catalogue)]
    found["remit-reap"] = "\n\n".join((head, *rules)) + "\n"
    return found


def step_paths(catalogue: Catalogue) -> dict[str, str]:
    """Return the path each credential role may read.

    Raises:
        Usage: ``bootstrap.policy``.
    """
    paths: dict[str, str] = {}
    for profile in catalogue.credentials.values():
        if profile.path.endswith(f"/creds/{SWEEP}"):
            raise Usage(
                f"the path {profile.path} is the reaper's own",
                code="bootstrap.policy",
                next_action="Name the database role of this profile differently.",
            )
        if profile.kind != "token" and paths.setdefault(profile.role, profile.path) != profile.path:
            raise Usage(
                f"the role {profile.role!r} stands for two paths: {paths[profile.role]} and {profile.path}",
                code="bootstrap.policy",
                next_action="Give each path a role of its own in the catalogue.",
            )
    return paths


def step_seconds(catalogue: Catalogue) -> dict[str, int]:
    """Return how long the logins of each credential role may live in all, in seconds."""
    longest: dict[str, int] = {}
    for profile in catalogue.credentials.values():
        if profile.kind != "token":
            longest[profile.role] = max(profile.ttl, longest.get(profile.role, 0))
    return longest


def minting_mounts(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the mounts whose leases must be ended: those of database and engine profiles."""
    kinds = ("postgres", "engine")
    return tuple(sorted({one.path.split("/", 1)[0] for one in catalogue.credentials.values() if one.kind in kinds}))


def database_mounts(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the mounts that make database users."""
    profiles = catalogue.credentials.values()
    return tuple(sorted({one.path.split("/", 1)[0] for one in profiles if one.kind == "postgres"}))


def leased_paths(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the paths that mint leases: those of database and engine profiles, and the reaper's own."""
    minting = {one.path for one in catalogue.credentials.values() if one.kind in ("postgres", "engine")}
    return tuple(sorted(minting | {f"{mount}/creds/{SWEEP}" for mount in database_mounts(catalogue)}))


async def apply(wanted: Wanted, policies: Mapping[str, str]) -> None:
    """Write the policies that differ."""
    for name, text in policies.items():
        await wanted.policy(name, text)


def _file(folder: Path, name: str) -> str:
    path = folder / "openbao" / f"{name}.hcl"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Usage(
            f"cannot read {path}: {error.strerror}",
            code="bootstrap.policy",
            next_action="Point REMIT_POLICIES at the policy folder.",
        ) from None
