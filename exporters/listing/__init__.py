"""Word operations, widths and arrays of a network as text, for owners of other stacks."""

from __future__ import annotations

from pvae_neuro.exporters.listing.sampler import Passes
from pvae_neuro.exporters.listing.text import word_listing

__all__ = ["Passes", "word_listing"]
