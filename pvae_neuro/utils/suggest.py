"""Suggestions of the kind "did you mean …?" for unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 3


def suggest(name: str, known: Iterable[str]) -> str:
    """End of an error message about an unknown name, such as ``"; did you mean 'mnist'?"``.

    It proposes the known names that begin with ``name``, or else the three nearest; where none is
    near it lists all of them. Case does not count.
    """
    names = list(known)
    by_lower = {candidate.lower(): candidate for candidate in names}
    begun = [each for each in by_lower if name and each.startswith(name.lower())]
    near = begun or difflib.get_close_matches(name.lower(), by_lower, n=_MOST)
    if not near:
        return f"; known: {', '.join(names) or 'none'}"
    return f"; did you mean {' or '.join(repr(by_lower[match]) for match in near)}?"
