"""Things that are told once."""

import warnings


class Once:
    """Warns of each thing the first time only."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, what: str, message: str) -> None:
        """Warn, unless `what` was told before."""
        if what not in self._told:
            self._told.add(what)
            warnings.warn(message, stacklevel=2)
