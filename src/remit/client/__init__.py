"""What a person can do: delegate, look, decide, stop, explain."""

from remit.client.remit import Remit
from remit.client.submitting import Terms

__all__ = ["Remit", "Terms"]
