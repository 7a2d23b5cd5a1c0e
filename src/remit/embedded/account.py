"""Who PostgreSQL runs as: it refuses to be root.

- Not root: as the caller.
- Root: as an unprivileged system user (``nobody`` where there is one). The state folder stays 0700 and
  root's: the server is started *inside* its data folder, which is that user's, and names it
  ``/proc/self/cwd``, so it never has to walk the folders above.
- Root, and the programs lie in a folder closed to others (a virtual environment under ``/root``): that
  user is given the one capability to pass folders, through ``setpriv``, and no other.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from remit.embedded.process import Account
from remit.errors import RemitError

_INSIDE = Path("/proc/self/cwd")
_CANDIDATES = ("nobody", "daemon", "bin")
# Capability numbers of linux/capability.h. Of the two, the narrower first; containers often have only the second.
_BECOME = (0, 6, 7)  # chown, setgid, setuid
_SETPCAP = 8
_PASS_FOLDERS = (("dac_read_search", 2), ("dac_override", 1))
# PostgreSQL asks access(2) about its own programs, which else forgets capabilities of users other than root.
_ASK_WITH_CAPABILITY = "--securebits=+no_setuid_fixup"


@dataclass(frozen=True, slots=True)
class RunAs:
    """How to run a PostgreSQL program.

    Args:
        account: The user to become, None: the caller, or the prefix sees to it.
        prefix: Goes before the program's name.
        owner: Whom the data folder must belong to, None: the caller.
    """

    account: Account | None = None
    prefix: tuple[str, ...] = ()
    owner: Account | None = None

    def data(self, folder: Path) -> str:
        """Return the data folder's name, for a program started inside it."""
        return str(_INSIDE if self.owner else folder)


def run_as(programs: Path) -> RunAs:
    """Decide how the programs in the folder ``programs`` are run.

    Raises:
        RemitError: ``postgres.root`` when root cannot run them as another user here.
    """
    if os.geteuid() != 0:
        return RunAs()
    account = _unprivileged()
    if not _INSIDE.exists():
        raise _impossible("this system has no /proc")
    permitted = _permitted()
    if not permitted.issuperset(_BECOME):
        raise _impossible("this root may not change user")
    if _can_run(programs, account):
        return RunAs(account, (), account)
    setpriv = shutil.which("setpriv")
    capability = next((name for name, number in _PASS_FOLDERS if number in permitted), None)
    if setpriv is None or capability is None or _SETPCAP not in permitted:
        raise _impossible(f"its programs in {programs} are closed to other users")
    become = (f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
    carry = (f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}", _ASK_WITH_CAPABILITY)
    return RunAs(None, (setpriv, *become, *carry, "--"), account)


def _unprivileged() -> Account:
    entries = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in (*_CANDIDATES, *sorted(entries)):
        if name in entries:
            return Account(entries[name].pw_uid, entries[name].pw_gid)
    raise _impossible("this system has no other user")


def _can_run(programs: Path, account: Account) -> bool:
    # Asked of the kernel, as that user: modes alone do not tell.
    wanted = 'test -x "$0/postgres" && test -r "$0/../share/postgres.bki"'
    try:
        return (
            subprocess.run(
                ["/bin/sh", "-c", wanted, str(programs)],
                user=account.uid,
                group=account.gid,
                extra_groups=[],
                cwd="/",
                check=False,
                stderr=subprocess.DEVNULL,
            ).returncode
            == 0
        )
    except OSError:
        return False


def _permitted() -> frozenset[int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:"))
    return frozenset(number for number in range(64) if mask >> number & 1)


def _impossible(why: str) -> RemitError:
    return RemitError(
        f"PostgreSQL does not run as root, and cannot be run as another user: {why}",
        code="postgres.root",
        next_action="Run as an ordinary user, or install where every user may read (not under /root).",
    )
