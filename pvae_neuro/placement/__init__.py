"""Placement of networks on chips: which neurons lie on which core, and whether they fit."""

from __future__ import annotations

from pvae_neuro.placement.boards import Board, Limit, board_names, load_board
from pvae_neuro.placement.engine import PlacedEngine
from pvae_neuro.placement.place import Core, Placement, Traffic, place
from pvae_neuro.placement.split import Part, Split, split

__all__ = [
    "Board",
    "Core",
    "Limit",
    "Part",
    "PlacedEngine",
    "Placement",
    "Split",
    "Traffic",
    "board_names",
    "load_board",
    "place",
    "split",
]
