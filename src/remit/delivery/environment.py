"""Environment: fields of the credential under the names of variables, for a process that is about to be started.

- Only what is named: nothing of the credential and nothing of this process's own environment goes along by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from remit.credentials import current_credential


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables, now; give them to one process and keep them nowhere.

    Args:
        variables: Field of the credential by the variable's name, e.g. ``{"PGPASSWORD": "password"}``.

    Raises:
        Refused: ``credential.none`` outside an attempt, ``credential.field`` for a field it does not have.
    """
    credential = current_credential()
    return {variable: credential[field] for variable, field in variables.items()}
