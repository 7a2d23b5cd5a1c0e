"""What a person can do: delegate, look, decide, stop, explain."""

from remit.client.remit import Remit

__all__ = ["Remit"]
