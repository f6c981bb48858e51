"""Budgets: how long an experiment may train and infer."""

from __future__ import annotations

from pvae_neuro.errors import InputError
from pvae_neuro.utils.suggest import suggest

BUDGETS = ("quick", "hour", "night", "published")
"""From the smallest: seconds to a minute per model on two cores; at most an hour of one core per
claim; at most six; the papers' own."""

PUBLISHED = BUDGETS[-1]


def check_budget(name: str) -> None:
    """Refuse what is no budget with :class:`InputError`."""
    if name not in BUDGETS:
        raise InputError(f"budget {name!r}: no such budget{suggest(name, BUDGETS)}")
