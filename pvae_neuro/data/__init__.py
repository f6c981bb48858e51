"""Images to train and test on: readers, whitened patches, inputs that change in time.

Each name is loaded at its first use, so that reading a NumPy file imports NumPy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvae_neuro.data.feeders import FEEDERS as FEEDERS
    from pvae_neuro.data.feeders import Feeder as Feeder
    from pvae_neuro.data.feeders import make_feeder as make_feeder
    from pvae_neuro.data.images import Images as Images
    from pvae_neuro.data.images import check_images as check_images
    from pvae_neuro.data.images import make_images as make_images
    from pvae_neuro.data.load import load_images as load_images
    from pvae_neuro.data.patches import PatchConfig as PatchConfig
    from pvae_neuro.data.patches import PatchSet as PatchSet
    from pvae_neuro.data.patches import extract_patches as extract_patches
    from pvae_neuro.data.patches import save_patches as save_patches
    from pvae_neuro.data.transforms import crop_patches_to as crop_patches_to
    from pvae_neuro.data.transforms import rotate_images as rotate_images
    from pvae_neuro.data.transforms import tile_patches as tile_patches
    from pvae_neuro.network import ImageShape as ImageShape

_HOME_OF = {
    "FEEDERS": "data.feeders",
    "Feeder": "data.feeders",
    "ImageShape": "network",
    "Images": "data.images",
    "PatchConfig": "data.patches",
    "PatchSet": "data.patches",
    "check_images": "data.images",
    "crop_patches_to": "data.transforms",
    "extract_patches": "data.patches",
    "load_images": "data.load",
    "make_feeder": "data.feeders",
    "make_images": "data.images",
    "rotate_images": "data.transforms",
    "save_patches": "data.patches",
    "tile_patches": "data.transforms",
}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pvae_neuro.data' has no attribute {name!r}")
    value = getattr(import_module(f"pvae_neuro.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
