"""Remit: agents act only within their remit."""
