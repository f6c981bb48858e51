"""Inputs that change in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pvae_neuro.data import FEEDERS, Feeder, Images, make_feeder, make_images
from pvae_neuro.data.feeders import (
    DriftingGrating,
    Jittering,
    Rotating,
    Sequence,
    Stationary,
)
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import memory_limit


def some_images(count: int = 3, channels: int = 1, side: int = 8) -> Images:
    shape = (count, channels, side, side)
    return make_images(np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32))


def flat_images() -> Images:
    return make_images(np.zeros((2, 9)))


def make(name: str, images: Images) -> Feeder:
    return make_feeder(name, images, steps_per_frame=4)


@pytest.mark.parametrize("name", FEEDERS)
def test_frames_keep_to_shape_range_and_number(name: str) -> None:
    pytest.importorskip("scipy", reason="needs SciPy")
    images = some_images()
    feeder = make(name, images)
    assert isinstance(feeder, Feeder)
    assert feeder.steps_per_frame == 4
    assert (feeder.low, feeder.high, feeder.image_shape) == (0.0, 1.0, (8, 8))
    batch = 1 if name in ("sequence", "drifting-grating") else 3
    frames = list(feeder)
    assert len(frames) == len(feeder)
    for t, frame in enumerate(frames):
        assert (frame.shape, frame.dtype) == ((batch, 64), np.float32)
        assert frame.flags.c_contiguous
        assert frame.min() >= 0.0
        assert frame.max() <= 1.0
        assert np.array_equal(feeder[t], frame)
    # Frames do not depend on what was asked for before, nor on what is done to them.
    feeder.frame(0)[:] = 9.0
    assert np.array_equal(make(name, images).frame(len(frames) - 1), frames[-1])
    assert np.array_equal(feeder.frame(0), frames[0])
    assert np.array_equal(feeder[-1], frames[-1])


def test_images_turn_into_the_next_ones() -> None:
    images = some_images()
    feeder = make_feeder("morphing", images, images_per_frame=0.5, frames=9)
    following = np.roll(images.pixels, -1, axis=0)
    assert np.array_equal(feeder[0], images.pixels)
    np.testing.assert_allclose(feeder[1], (images.pixels + following) / 2, rtol=1e-6)
    assert np.array_equal(feeder[2], following)
    assert np.array_equal(feeder[6], images.pixels)


@pytest.mark.parametrize("name", FEEDERS)
def test_there_is_no_frame_beyond_the_last(name: str) -> None:
    feeder = make(name, some_images())
    with pytest.raises(IndexError):
        feeder[len(feeder)]
    for t in (-1, len(feeder), 0.5, True):
        with pytest.raises(InputError, match=r"frame: expected a whole number from 0 to"):
            feeder.frame(t)  # type: ignore[arg-type]


def test_stationary_frames_are_the_images() -> None:
    images = some_images()
    feeder = Stationary(images, frames=3)
    assert all(np.array_equal(frame, images.pixels) for frame in feeder)


@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 2, 4, 6), (5, 2, 3, 4, 6)])
def test_sequences_give_their_frames(tmp_path: Path, shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", frames)
    np.savez(tmp_path / "a.npz", frames)
    batch = 1 if len(shape) == 3 else shape[1]
    for given in (frames, tmp_path / "a.npy", str(tmp_path / "a.npz")):
        feeder = Sequence(given)
        assert len(feeder) == 5
        assert feeder.image_shape == ((3, 4, 6) if len(shape) == 5 else (4, 6))
        for t in (4, 0):
            assert np.array_equal(feeder[t], frames[t].reshape(batch, -1) / np.float32(255))


def test_folders_of_frames_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    frames = np.random.default_rng(0).integers(256, size=(3, 4, 6, 3), dtype=np.uint8)
    for t in (2, 0, 1):
        image.fromarray(frames[t]).save(tmp_path / f"{t:03d}.png")
    feeder = make_feeder("sequence", frames=tmp_path)
    assert feeder.image_shape == (3, 4, 6)
    for t, frame in enumerate(feeder):
        expected = frames[t].transpose(2, 0, 1).reshape(1, -1) / np.float32(255)
        assert np.array_equal(frame, expected)
    assert Sequence(tmp_path, size=2).image_shape == (3, 2, 2)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_films_of_matlab_have_time_last(tmp_path: Path, colours: tuple[int, ...]) -> None:
    io = pytest.importorskip("scipy.io", reason="writes MATLAB's files")
    film = np.random.default_rng(0).random((6, 6, *colours, 4)).astype(np.float32)
    io.savemat(tmp_path / "film.mat", {"film": film})
    feeder = Sequence(tmp_path / "film.mat")
    assert (len(feeder), feeder.image_shape) == (4, (*colours, 6, 6))
    for t in range(4):
        expected = np.moveaxis(film[..., t], -1, 0) if colours else film[..., t]
        assert np.array_equal(feeder[t], expected.reshape(1, -1))


def test_images_may_be_the_frames_of_a_sequence() -> None:
    images = some_images(5, channels=3)
    feeder = make_feeder("sequence", images)
    assert (len(feeder), feeder.image_shape) == (5, (3, 8, 8))
    assert np.array_equal(np.concatenate(list(feeder)), images.pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_rotation_is_counter_clockwise_and_from_the_original(channels: int) -> None:
    pytest.importorskip("scipy", reason="needs SciPy")
    images = some_images(channels=channels)
    planes = images.pixels.reshape(3, channels, 8, 8)
    feeder = Rotating(images, 45.0, start=90.0, frames=9)
    for t, turns in ((0, 1), (2, 2), (4, 3), (8, 1)):
        expected = np.rot90(planes, turns, axes=(2, 3)).reshape(3, -1)
        assert np.abs(feeder[t] - expected).max() < 1e-6
    full = Rotating(images, 360.0, frames=2)
    assert np.array_equal(full[1], images.pixels)
    # Corners come from outside.
    assert feeder[1].reshape(3, channels, 8, 8)[..., 0, 0].max() == 0.0


def test_jitter_shifts_whole_pixels() -> None:
    images = make_images(np.pad(np.ones((200, 1, 1)), ((0, 0), (6, 6), (6, 6))))
    feeder = Jittering(images, max_shift=2, seed=1, frames=5)
    shifts = feeder.shifts(3)
    assert set(np.unique(shifts)) == {-2, -1, 0, 1, 2}
    frame = feeder[3].reshape(200, 13, 13)
    assert (frame.sum(axis=(1, 2)) == 1).all()
    for image, (down, right) in zip(frame, shifts, strict=True):
        assert image[6 + down, 6 + right] == 1
    normal = np.concatenate([Jittering(images, sd=3.0).shifts(t) for t in range(20)])
    assert normal.std() == pytest.approx(3.0, rel=0.1)
    assert abs(normal.mean()) < 0.15
    assert np.array_equal(Jittering(images, sd=0.0)[7], images.pixels)


def test_jitter_depends_on_seed_frame_and_image_alone() -> None:
    images = some_images(4)
    few = Images(images.pixels[:2], None, (8, 8), 0.0, 1.0, "few")
    assert np.array_equal(Jittering(images, seed=5)[9][:2], Jittering(few, seed=5)[9])
    shifts = [Jittering(images, sd=9.0, seed=s).shifts(t) for s in (0, 1) for t in (0, 1)]
    assert len({shift.tobytes() for shift in shifts}) == 4


def test_zeros_from_outside_stay_in_range() -> None:
    images = Images(np.full((1, 64), 0.75, np.float32), None, (8, 8), 0.5, 1.0, "bright")
    assert Jittering(images, sd=4.0)[2].min() == 0.5


def test_gratings_follow_their_formula() -> None:
    feeder = DriftingGrating(
        (6, 8), orientation=30.0, spatial_frequency=0.1, temporal_frequency=0.05, contrast=0.5,
        phase=40.0, low=0.0, high=1.0,
    )  # fmt: skip
    row, column = np.mgrid[:6, :8] - np.array([2.5, 3.5])[:, None, None]
    along = column * np.cos(np.pi / 6) - row * np.sin(np.pi / 6)
    for t in (0, 7):
        wave = np.cos(2 * np.pi * (0.1 * along - 0.05 * t) + np.radians(40))
        assert np.allclose(feeder[t][0], (0.5 + 0.25 * wave).ravel(), atol=1e-6)


@pytest.mark.parametrize(("orientation", "axis", "step"), [(0, 1, 1), (90, 0, -1)])
def test_gratings_drift_along_their_orientation(orientation: float, axis: int, step: int) -> None:
    speed = {"spatial_frequency": 0.125, "temporal_frequency": 0.125}
    feeder = DriftingGrating(16, orientation=orientation, phase=20.0, **speed)
    before, after = (feeder[t].reshape(16, 16) for t in (0, 1))
    # One pixel per frame: to the right, or upwards.
    moved = np.roll(before, step, axis=axis)
    assert np.allclose(after, moved, atol=1e-5)


def test_gratings_come_in_batches() -> None:
    angles = np.arange(0, 180, 15)
    feeder = DriftingGrating(12, orientation=angles, contrast=0.3, amplitude=2.0, low=-4, high=4)
    assert feeder[3].shape == (12, 144)
    one = DriftingGrating(12, orientation=30, contrast=0.3, amplitude=2.0, low=-4, high=4)
    assert np.array_equal(feeder[3][2], one[3][0])
    assert np.abs(feeder[3]).max() <= 0.6 + 1e-6


def test_gratings_without_mean_stay_in_range() -> None:
    frequencies = np.array([0.0, 0.02, 0.07, 0.3])
    feeder = DriftingGrating(16, spatial_frequency=frequencies, zero_mean=True, phase=33.0)
    plain = DriftingGrating(16, spatial_frequency=frequencies, phase=33.0)
    frames = np.stack(list(feeder))
    assert np.abs(frames.mean(axis=2)).max() < 1e-6
    assert np.abs(np.stack(list(plain)).mean(axis=2)).max() > 0.1
    assert np.abs(frames).max() <= 1.0
    # A uniform field has nothing left.
    assert np.abs(frames[:, 0]).max() < 1e-12


def test_gratings_take_size_and_range_from_images() -> None:
    images = Images(np.zeros((1, 48), np.float32), None, (6, 8), -3.0, 3.0, "patches")
    feeder = make_feeder("drifting-grating", images, contrast=1.0)
    assert (feeder.image_shape, feeder.low, feeder.high) == ((6, 8), -3.0, 3.0)
    assert np.abs(feeder[0]).max() == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(
    ("name", "images", "options", "message"),
    [
        ("rotate", True, {}, "did you mean 'rotating'"),
        (
            "zzz",
            True,
            {},
            "known: stationary, sequence, rotating, jittering, morphing, drifting-grating",
        ),
        ("jittering", True, {"sds": 1}, "'jittering': has no option 'sds'; did you mean 'sd'"),
        ("stationary", False, {}, "expected images to show, got none"),
        ("sequence", False, {}, "expected images to show, got none"),
        ("stationary", True, {"frames": 0}, "frames: expected 1 to"),
        ("stationary", True, {"steps_per_frame": 1.5}, "steps_per_frame: expected a whole"),
        ("rotating", True, {"degrees_per_frame": np.inf}, "degrees_per_frame: expected a finite"),
        ("jittering", True, {"sd": -1.0}, "sd: expected a finite number from 0 to"),
        ("jittering", True, {"max_shift": -1}, "max_shift: expected 0 to"),
        ("jittering", True, {"sd": 1.0, "max_shift": 1}, "expected sd or max_shift, got both"),
        ("jittering", True, {"seed": -1}, "seed: expected 0 to"),
        ("sequence", False, {"frames": np.zeros((2, 3))}, r"shape \[T, H, W\]"),
        ("sequence", False, {"frames": np.zeros((0, 3, 3))}, r"shape \[T, H, W\]"),
        ("sequence", False, {"frames": np.full((2, 3, 3), np.nan)}, "NaN"),
        ("sequence", False, {"frames": "absent.npy"}, "absent.npy: no such file"),
        ("sequence", False, {"frames": "absent"}, "absent: no such folder"),
        ("drifting-grating", False, {"size": 0}, "size: expected pixels"),
        ("drifting-grating", False, {"low": "x"}, "low: expected a finite number"),
        ("drifting-grating", False, {"zero_mean": np.zeros(3)}, "zero_mean: expected True"),
        ("drifting-grating", False, {"temporal_frequency": 1e308}, "temporal_frequency: expected"),
        ("sequence", False, {"frames": np.zeros((2, 3, 3)), "scale": 0}, "scale: expected a num"),
        ("sequence", False, {"frames": np.zeros((2, 3, 3)), "scale": "x"}, "scale: expected a fin"),
        ("jittering", True, {"max_shift": 10**30}, "max_shift: expected 0 to"),
        ("jittering", True, {"sd": 1e308}, "sd: expected a finite number from 0 to"),
        ("drifting-grating", False, {"contrast": 1.5}, r"contrast: expected values in \[0, 1\]"),
        ("drifting-grating", False, {"spatial_frequency": 0.6}, "spatial_frequency: expected"),
        ("drifting-grating", False, {"phase": np.nan}, "phase: expected finite numbers"),
        ("drifting-grating", False, {"phase": "x"}, "gratings: expected one number each"),
        ("drifting-grating", False, {"phase": [1, 2], "contrast": [1, 1, 1]}, "of one length"),
        ("drifting-grating", False, {"low": 1.0, "high": 1.0}, "low, high: expected low below"),
        ("drifting-grating", False, {"amplitude": 2.0}, r"amplitude: .*at most 1, half of"),
    ],
)
def test_unfit_feeders_are_refused(name: str, images: bool, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_feeder(name, some_images() if images else None, **options)


@pytest.mark.parametrize("name", ["sequence", "rotating", "jittering"])
def test_flat_images_cannot_move(name: str) -> None:
    with pytest.raises(InputError, match="height and a width"):
        make_feeder(name, flat_images())
    with pytest.raises(InputError, match="expected grey images"):
        make_feeder("drifting-grating", flat_images())


def test_gratings_that_do_not_fit_into_memory_are_refused() -> None:
    with memory_limit(1000), pytest.raises(InputError, match="gratings of 64x64 pixels: needs"):
        DriftingGrating(64)


def test_frames_take_a_scale(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    frames = np.random.default_rng(0).integers(2, size=(3, 4, 5), dtype=np.uint8)
    for t, frame in enumerate(frames):
        image.fromarray(frame).save(tmp_path / f"{t}.png")
    np.save(tmp_path / "a.npy", frames)
    for given in (frames, tmp_path, tmp_path / "a.npy"):
        with pytest.raises(InputError, match="scale"):
            Sequence(given)
        feeder = Sequence(given, scale=1)
        assert np.array_equal(np.stack(list(feeder)), frames.reshape(3, 1, 20))
        assert feeder.about
