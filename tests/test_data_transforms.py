"""Images derived from others: turned, cropped, put together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pvae_neuro.data import (
    Images,
    crop_patches_to,
    load_images,
    make_images,
    rotate_images,
    standardize_images,
    tile_patches,
)
from pvae_neuro.errors import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data"


def some_images(count: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Images:
    values = np.random.default_rng(0).uniform(low, high, (count, *shape))
    images = make_images(values, np.arange(count))
    return replace(images, low=low, high=high)


def test_rotated_images_keep_their_labels() -> None:
    pytest.importorskip("scipy", reason="needs SciPy")
    images = some_images(3, 6, 6)
    turned = rotate_images(images, 90.0)
    expected = np.rot90(images.pixels.reshape(3, 6, 6), axes=(1, 2)).reshape(3, -1)
    assert np.abs(turned.pixels - expected).max() < 1e-6
    assert turned.labels is images.labels
    assert turned.image_shape == (6, 6)
    oblique = rotate_images(images, 30.0).pixels
    assert oblique.min() >= 0.0
    assert oblique.max() <= 1.0
    with pytest.raises(InputError, match="degrees: expected a finite"):
        rotate_images(images, float("nan"))


def test_crops_are_the_centre_in_unit_range() -> None:
    images = some_images(2, 7, 9, low=-2.0, high=2.0)
    crop = crop_patches_to(images, (3, 5))
    expected = (images.pixels.reshape(2, 7, 9)[:, 2:5, 2:7] + 2) / 4
    assert np.allclose(crop.pixels.reshape(2, 3, 5), expected, atol=1e-6)
    assert (crop.low, crop.high, crop.image_shape) == (0.0, 1.0, (3, 5))
    assert crop.labels is not None
    assert crop_patches_to(some_images(2, 3, 32, 32)).pixels.shape == (2, 784)
    with pytest.raises(InputError, match="at least 28x28 pixels, got 7x9; tile_patches"):
        crop_patches_to(images)


def test_standardized_images_have_zero_mean_and_unit_deviation() -> None:
    images = some_images(5, 4, 4, low=-3.0, high=9.0)
    images.pixels[2] = 0.1
    images.pixels[3] *= 1e-4
    found = standardize_images(images)
    kept = [0, 1, 3, 4]
    assert np.allclose(found.pixels.mean(axis=1), 0, atol=1e-6)
    assert np.allclose(found.pixels[kept].std(axis=1), 1, atol=1e-5)
    assert not found.pixels[2].any()
    assert (found.low, found.high, found.image_shape) == (-4.0, 4.0, (4, 4))
    assert found.labels is images.labels
    assert np.allclose(standardize_images(found).pixels, found.pixels, atol=1e-5)


def test_mosaics_are_made_of_patches() -> None:
    # Each patch is constant, so its place in the mosaic shows.
    values = np.arange(9, dtype=np.float32)
    patches = make_images(np.repeat(values, 16 * 16).reshape(9, 16, 16), scale=1)
    mosaics = tile_patches(patches, 28, seed=1)
    assert mosaics.pixels.shape == (2, 784)
    assert (mosaics.low, mosaics.high, mosaics.labels) == (0.0, 1.0, None)
    assert (mosaics.pixels.min(axis=1) == 0).all()
    assert (mosaics.pixels.max(axis=1) == 1).all()
    for mosaic in mosaics.pixels.reshape(2, 28, 28):
        for rows in (slice(14), slice(14, 28)):
            for columns in (slice(14), slice(14, 28)):
                assert len(np.unique(mosaic[rows, columns])) == 1
        assert len(np.unique(mosaic)) == 4
    assert np.array_equal(tile_patches(patches, 28, seed=1).pixels, mosaics.pixels)
    assert not np.array_equal(tile_patches(patches, 28, seed=2).pixels, mosaics.pixels)


def test_unfit_patches_make_no_mosaic() -> None:
    with pytest.raises(InputError, match=r"at least 4 patches of at least 14x14 .* got 3 of 16x16"):
        tile_patches(some_images(3, 16, 16))
    with pytest.raises(InputError, match="got 4 of 13x16"):
        tile_patches(some_images(4, 13, 16))
    with pytest.raises(InputError, match="height and a width"):
        tile_patches(make_images(np.zeros((4, 256))))
    assert not tile_patches(make_images(np.zeros((4, 16, 16)))).pixels.any()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data at {SHARED}")
def test_mosaics_of_whitened_patches() -> None:
    patches = load_images(str(SHARED / "natural16_whitened.npz"), split="test")
    mosaics = tile_patches(patches)
    assert mosaics.pixels.shape == (1250, 784)
    assert 0.3 < mosaics.pixels.mean() < 0.7
    assert mosaics.pixels.std() > 0.1
