"""A written listing, read back and run by a machine of narrow registers. ``docs/listing.md``."""

from __future__ import annotations

from pvae_neuro.verification.words.machine import Ints, Machine, State
from pvae_neuro.verification.words.reading import read_listing
from pvae_neuro.verification.words.replay import replay

__all__ = ["Ints", "Machine", "State", "read_listing", "replay"]
