"""Confined: what holds a secret never leaves the process that holds it by being pickled or copied whole."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex


class Confined:
    """Base of what holds a secret."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be taken apart.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"a {type(self).__name__} holds a secret and never leaves the process that holds it")
