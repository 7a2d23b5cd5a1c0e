"""Database users: one configuration for each database, one role for each credential profile and one for the reaper.

- A minted user lives a minute unless its lease is renewed, and at most as long as the catalogue says.
- Its name stays readable in OpenBao's audit log, so that log, PostgreSQL's log and Remit's can be joined.
- The manager's password is written only with a new or changed configuration: rotated by OpenBao, it stays rotated.
"""

from __future__ import annotations

from collections.abc import Mapping

from remit.bootstrap import postgres
from remit.bootstrap.logins import STEP_SECONDS
from remit.bootstrap.result import PostgresConnection
from remit.bootstrap.wanted import Wanted
from remit.catalogue import Catalogue
from remit.reaping import sweep
from remit.vault.paths import join

CONFIG = "remit"
_CONNECTIONS = 8


async def apply(wanted: Wanted, catalogue: Catalogue, connection: PostgresConnection) -> None:
    """Configure one database and the roles of its profiles."""
    mount = connection.mount
    roles = {**_roles(catalogue, mount), sweep.ROLE: STEP_SECONDS}
    tune = {"audit_non_hmac_response_keys": ["username"]}
    await wanted.settings(f"sys/mounts/{mount}/tune", tune, label=f"audit of {mount}")
    address = f"{connection.host}:{connection.port}/{connection.database}?sslmode={connection.sslmode}"
    config = {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": sorted(roles),
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{address}",
        "username": connection.manager,
        "password_authentication": "scram-sha-256",
        "username_template": postgres.username_template(wanted.vault.namespace),
        "max_open_connections": _CONNECTIONS,
    }
    await wanted.settings(
        join(mount, "config", CONFIG),
        config,
        secret={"password": connection.password},
        within="connection_details",
        label=f"database {connection.database}",
    )
    for role, seconds in roles.items():
        group = sweep.GROUP if role == sweep.ROLE else connection.group(role)
        settings = {
            "db_name": CONFIG,
            "creation_statements": postgres.creation(group=group, manager=connection.manager),
            "revocation_statements": postgres.REVOCATION,
            "rollback_statements": postgres.REVOCATION,
            "default_ttl": min(STEP_SECONDS, seconds),
            "max_ttl": seconds,
        }
        await wanted.settings(join(mount, "roles", role), settings)


def _roles(catalogue: Catalogue, mount: str) -> Mapping[str, int]:
    """Return the database roles of a mount's profiles and the seconds a user of each may live."""
    roles: dict[str, int] = {}
    for profile in catalogue.credentials.values():
        where, _, role = profile.path.partition("/creds/")
        if profile.kind == "postgres" and where == mount:
            roles[role] = max(profile.ttl, roles.get(role, 0))
    return roles
