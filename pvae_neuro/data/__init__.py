"""Data sets, patches of photographs, inputs that change in time, and the checks that all pass."""

from pvae_neuro.data.arrays import ImageShape
from pvae_neuro.data.checks import check_images
from pvae_neuro.data.feeder_names import FEEDERS, make_feeder
from pvae_neuro.data.feeders import Feeder
from pvae_neuro.data.images import Images, load_images, make_images
from pvae_neuro.data.ood import crop_patches_to, rotate_images, tile_patches
from pvae_neuro.data.patches import PatchConfig, PatchSet, extract_patches, save_patches

__all__ = [
    "FEEDERS",
    "Feeder",
    "ImageShape",
    "Images",
    "PatchConfig",
    "PatchSet",
    "check_images",
    "crop_patches_to",
    "extract_patches",
    "load_images",
    "make_feeder",
    "make_images",
    "rotate_images",
    "save_patches",
    "tile_patches",
]
