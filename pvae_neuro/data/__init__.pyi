"""The names of this package, listed once: ``__init__.py`` reads it too."""

from pvae_neuro.data.feeders import FEEDERS as FEEDERS
from pvae_neuro.data.feeders import Feeder as Feeder
from pvae_neuro.data.feeders import make_feeder as make_feeder
from pvae_neuro.data.images import Images as Images
from pvae_neuro.data.images import make_images as make_images
from pvae_neuro.data.load import load_images as load_images
from pvae_neuro.data.patches import PatchConfig as PatchConfig
from pvae_neuro.data.patches import PatchSet as PatchSet
from pvae_neuro.data.patches import extract_patches as extract_patches
from pvae_neuro.data.patches import save_patches as save_patches
from pvae_neuro.data.transforms import crop_patches_to as crop_patches_to
from pvae_neuro.data.transforms import rotate_images as rotate_images
from pvae_neuro.data.transforms import standardize_images as standardize_images
from pvae_neuro.data.transforms import tile_patches as tile_patches
from pvae_neuro.network import ImageShape as ImageShape
