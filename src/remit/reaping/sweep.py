"""Sweep: what lets a user end expired minted users, and nothing else, as SQL that may run again and again.

- The manager's password is OpenBao's alone, so its right is lent by functions that run as the manager.
- They end a user only if the manager made it, its name is a minted one's and its time has passed; whoever calls them
  can do no more harm than the clock has done.
- They look nowhere but in ``pg_catalog``, and only the group ``remit_sweep`` may call them.
"""

from __future__ import annotations

ROLE = "sweep"
"""OpenBao's database role, on every mount that makes users."""
GROUP = "remit_sweep"
"""PostgreSQL's group role."""

_FUNCTION = """\
CREATE OR REPLACE FUNCTION remit.{signature}
LANGUAGE {language} SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
{body}
$body$
"""
_EXPIRED = """\
  SELECT r.rolname FROM pg_roles r
  WHERE r.rolname ~ '^(d|sweep)-' AND NOT r.rolsuper
    AND r.rolvaliduntil < now() - greatest(grace, interval '0')
    AND EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.member
                WHERE m.roleid = r.oid AND g.rolname = current_user)"""
_SHUT_OUT = """\
BEGIN
  IF who NOT IN (SELECT remit.expired_users(interval '0')) THEN RETURN false; END IF;
  EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL CONNECTION LIMIT 0', who);
  RETURN true;
END"""
_END = """\
BEGIN
  IF who NOT IN (SELECT remit.expired_users(interval '0')) THEN RETURN false; END IF;
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = who;
  EXECUTE format('REASSIGN OWNED BY %I TO app_rw', who);
  EXECUTE format('DROP OWNED BY %I', who);
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = who;
  EXECUTE format('DROP ROLE %I', who);
  RETURN true;
END"""
_FUNCTIONS = {
    "expired_users(grace interval) RETURNS SETOF name": ("sql", _EXPIRED),
    "shut_out(who name) RETURNS boolean": ("plpgsql", _SHUT_OUT),
    "end_user(who name) RETURNS boolean": ("plpgsql", _END),
}
NAMES = ("expired_users(interval)", "shut_out(name)", "end_user(name)")

SETUP: tuple[str, ...] = (
    f"GRANT {GROUP} TO {{manager}} WITH ADMIN OPTION",
    f"GRANT CONNECT ON DATABASE {{database}} TO {GROUP}",
    "CREATE SCHEMA IF NOT EXISTS remit AUTHORIZATION {manager}",
    f"GRANT USAGE ON SCHEMA remit TO {GROUP}",
    *(
        _FUNCTION.format(signature=signature, language=language, body=body)
        for signature, (language, body) in _FUNCTIONS.items()
    ),
    *(f"ALTER FUNCTION remit.{name} OWNER TO {{manager}}" for name in NAMES),
    f"REVOKE ALL ON FUNCTION {', '.join(f'remit.{name}' for name in NAMES)} FROM PUBLIC",
    f"GRANT EXECUTE ON FUNCTION {', '.join(f'remit.{name}' for name in NAMES)} TO {GROUP}",
)
"""To be run by the database's administrator, in order, after ``CREATE ROLE remit_sweep NOLOGIN``; placeholders
``{manager}`` and ``{database}`` stand for quoted names."""
