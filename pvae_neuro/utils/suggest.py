"""What to say about a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 3


def suggest(name: str, known: Iterable[str]) -> str:
    """End an error message on an unknown name with the nearest known ones.

    Parameters
    ----------
    name : str
        What was asked for; case does not count.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        ``"; did you mean 'mnist'?"``: the names that begin so, or the three nearest; where none is
        near, ``"; known: celeba, cifar10, ..."``, all of them in their order.
    """
    names = list(known)
    by_lower = {candidate.lower(): candidate for candidate in names}
    begun = [candidate for candidate in by_lower if candidate.startswith(name.lower())]
    near = begun or difflib.get_close_matches(name.lower(), by_lower, n=_MOST)
    if not near:
        return f"; known: {', '.join(names) or 'none'}"
    return f"; did you mean {' or '.join(repr(by_lower[match]) for match in near)}?"
