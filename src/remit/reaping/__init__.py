"""Reaping: what was left behind is found and ended, whoever died meanwhile.

- `leases` reconciles the registry's live logins with OpenBao's leases, those OpenBao has given up on included.
- `users` ends the minted PostgreSQL users that outlived their leases, as a user that may do that and nothing else.
- `cascades` starts what follows from a statement where nobody did.
- Each part goes as far as it can: what does not answer is told, and left to the next run.
- A report counts and names by digest; no lease id, login or password is in it.
"""

from __future__ import annotations

SCHEDULE = "remit-reaper"
WORKFLOW = "Reaper"
ACTIVITY = "reaper.reconcile"
