"""Data sets and the checks that every input passes."""

from pvae_neuro.data.images import Images, check_images, load_images

__all__ = ["Images", "check_images", "load_images"]
