"""Delivery: the credential of the running attempt, where tools expect to find one.

- Each place reads it at the moment it is used and holds nothing: one client, engine or session object serves all
  attempts, and each attempt finds its own credential in it.
- Outside an attempt, and after it, each refuses with ``credential.none``.
- What needs somebody else's package is in a module of its own, imported by whoever uses it: `remit.delivery.httpx`,
  `.httpx2`, `.mcp`, `.postgres` (psycopg) and `.aws` (botocore).
"""

from remit.delivery.environment import environment
from remit.delivery.keys import api_key, sync_api_key
from remit.delivery.reference import Current

__all__ = ["Current", "api_key", "environment", "sync_api_key"]
