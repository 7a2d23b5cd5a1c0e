"""PostgreSQL: how minted users are made and ended, as SQL.

- The manager is no superuser: it has CREATEROLE and may grant the group roles.
- Ending a user first shuts it out and commits, then ends its sessions, and once more right before it is gone. A session
  whose login began before and ended after all that (one in thirty, when the user logs in as fast as it can while it is
  ended) stays connected, but its role is gone and it may do nothing.
- What the user owned goes to ``app_rw``, so that published tables stay.
- The user's name says which delegation and step it is for. The reaper's own is named apart: it is no step's.

``{{name}}``, ``{{password}}`` and ``{{expiration}}`` are OpenBao's.
"""

from __future__ import annotations

from remit.reaping.sweep import ROLE as SWEEP
from remit.vault.steps import MOUNT as STEPS


def username_template(namespace: str | None) -> str:
    """Return how users are named: ``d-<delegation>-<step>-<random>``, the reaper's ``sweep-<random>``.

    OpenBao hands in ``[<namespace>-auth-]<login mount>-<display name of the login>``.
    """
    inside = namespace.strip("/").replace("/", "-") + "-auth-" if namespace else ""
    name = f'.DisplayName | replace "{inside}{STEPS}-" "" | truncate_sha256 50'
    step = f'{{{{ printf "d-%s-%s" ({name}) (random 8) | truncate 63 }}}}'
    return (
        f'{{{{ if eq .RoleName "{SWEEP}" }}}}{{{{ printf "{SWEEP}-%s" (random 12) }}}}{{{{ else }}}}{step}{{{{ end }}}}'
    )


_IF_THERE = "DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname='{{name}}') THEN %s END IF; END $$"

_END_SESSIONS = "pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename='{{name}}'"

REVOCATION = (
    _IF_THERE % """ALTER ROLE "{{name}}" NOLOGIN PASSWORD NULL CONNECTION LIMIT 0;""",
    "COMMIT",
    f"SELECT {_END_SESSIONS}",
    _IF_THERE % f"""REASSIGN OWNED BY "{{{{name}}}}" TO app_rw; DROP OWNED BY "{{{{name}}}}"; """
    f"""PERFORM {_END_SESSIONS}; DROP ROLE "{{{{name}}}}";""",
)
"""Statements that end a user; also those that undo a failed creation."""


def creation(*, group: str, manager: str) -> tuple[str, ...]:
    """Return the statements that make a user.

    Args:
        group: Role it gets its rights from. manager: Role that makes it, and must be able to end its sessions.
    """
    return (
        """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' CONNECTION LIMIT 8 """
        f"""IN ROLE {_name(group)}; GRANT "{{{{name}}}}" TO {_name(manager)};""",
    )


def _name(role: str) -> str:
    if not role.replace("_", "").isalnum() or not role.isascii() or len(role) > 63:
        raise ValueError(f"not a role's name: {role!r}")
    return f'"{role}"'
