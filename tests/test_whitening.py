"""Whitening, patches of photographs, and the verb that writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer

from pvae_neuro.cli.patches import patches as verb
from pvae_neuro.data import PatchConfig, extract_patches, load_images, save_patches
from pvae_neuro.data.pictures import to_grey
from pvae_neuro.data.whitening import (
    CUTOFF,
    normalize_contrast,
    normalize_local_contrast,
    whiten,
    whitening_response,
)
from pvae_neuro.errors import InputError


def pink(seed: int, height: int = 256, width: int = 256) -> np.ndarray:
    """An image of random phases whose amplitude falls as 1/f, f in cycles per pixel."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.random.default_rng(seed).standard_normal((height, width))
    return np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width)).astype(np.float32)


def radial_spectrum(picture: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of |F|^2 / (H W) over rings of equal frequency, whose middles are relative to Nyquist.

    It is 1 for white noise of unit variance; the mean of the picture is left out.
    """
    spectrum = np.abs(np.fft.fft2(picture - picture.mean())) ** 2 / picture.size
    down, across = (np.fft.fftfreq(length) for length in picture.shape)
    ring = (np.hypot(down[:, None], across[None]) / 0.5 * bins).astype(np.int64).ravel()
    inside = ring < bins
    total = np.bincount(ring[inside], spectrum.ravel()[inside], minlength=bins)
    count = np.bincount(ring[inside], minlength=bins)
    return (np.arange(bins) + 0.5) / bins, total / np.maximum(count, 1)


def mean_spectrum(boundary: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    found = [
        radial_spectrum(whiten(pink(seed, height, width), boundary=boundary), 16)
        for seed in range(12)
    ]
    return found[0][0], np.mean([power for _, power in found], axis=0)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (192, 250)])
@pytest.mark.parametrize("boundary", ["periodic", "mirror"])
def test_spectra_of_1_over_f_become_flat(boundary: str, height: int, width: int) -> None:
    frequency, power = mean_spectrum(boundary, height, width)
    # The roll-off exp(-2 (f/f0)^4) is part of the filter; the rest is white, to 10 %: the lowest
    # ring holds 150 frequencies, and mirrors change what is slower than the picture is wide.
    white = power / np.exp(-2 * (frequency / CUTOFF) ** 4)
    assert np.abs(white[frequency < CUTOFF] - 1).max() < 0.1
    # Without correction for the roll-off: within 15 % up to half of the cut-off.
    assert np.abs(power[frequency < CUTOFF / 2] - 1).max() < 0.15
    assert power[-1] < 0.1


def test_without_whitening_the_spectrum_is_not_flat() -> None:
    _, power = radial_spectrum(pink(0), 16)
    assert power[0] > 100 * power[8]


def test_the_response_is_that_of_olshausen_and_field() -> None:
    # f0 is 200 cycles per picture of 512 pixels; the maximum lies at f0 / 4^(1/4).
    response = whitening_response(512, 512)
    for cycles in (0, 1, 50, 200, 256):
        expected = cycles / 512 * np.exp(-((cycles / 200) ** 4))
        assert response[0, cycles] == pytest.approx(expected, rel=1e-4, abs=1e-9)
        assert response[cycles, 0] == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert response[0].argmax() == round(200 / 4**0.25)
    assert whitening_response(64, 48, 1.0)[0, 24] == pytest.approx(0.5 * np.exp(-1), rel=1e-4)


def test_white_noise_has_a_spectrum_of_one() -> None:
    noise = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    assert np.abs(radial_spectrum(noise, 8)[1] - 1).max() < 0.15


def test_mirrored_borders_do_not_ring() -> None:
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (128, 1))
    assert np.abs(whiten(ramp, boundary="periodic")).max() > 10 * np.abs(whiten(ramp)).max()


def test_contrast_is_normalized() -> None:
    image = 3 + 2 * pink(0, 64, 64)
    normal = normalize_contrast(image)
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=1e-4)
    assert not normalize_contrast(np.ones((4, 4), np.float32)).any()
    uneven = whiten(pink(1)) * np.linspace(0.2, 2, 256, dtype=np.float32)
    even = normalize_local_contrast(uneven, 12.0)
    assert uneven[:, 200:].std() > 3 * uneven[:, :56].std()
    assert even[:, 200:].std() == pytest.approx(even[:, :56].std(), rel=0.1)
    assert not normalize_local_contrast(np.ones((8, 8), np.float32), 2.0).any()


def test_grey_is_luminance() -> None:
    colour = np.array([[[1.0]], [[0.5]], [[0.25]]], np.float32)
    assert to_grey(colour).item() == pytest.approx(0.299 + 0.2935 + 0.0285)
    assert to_grey(np.stack([colour, colour])).shape == (2, 1, 1)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, 1.5, float("nan")])
def test_unfit_cutoffs_are_refused(cutoff: float) -> None:
    with pytest.raises(InputError, match="cutoff: expected a part of the Nyquist"):
        whiten(pink(0, 16, 16), cutoff)
    with pytest.raises(InputError, match="cutoff: expected a part of the Nyquist"):
        PatchConfig(cutoff=cutoff)
    with pytest.raises(InputError, match="boundary"):
        whiten(pink(0, 16, 16), boundary="zero")
    with pytest.raises(InputError, match="radius"):
        normalize_local_contrast(pink(0, 16, 16), 0.0)


def write_photograph(path: Path, values: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(values).save(path)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twelve pink photographs of different sizes, some in colour."""
    for seed in range(12):
        shape = (40 + seed, 48)
        values = pink(seed, *shape)
        grey = np.clip(128 + 40 * values / values.std(), 0, 255).astype(np.uint8)
        picture = np.stack([grey] * 3, axis=2) if seed % 3 == 0 else grey
        write_photograph(tmp_path / "photographs" / f"{seed:02d}.png", picture)
    return tmp_path / "photographs"


def test_held_out_patches_come_from_other_photographs(tmp_path: Path) -> None:
    # Every photograph has grey values of its own, so a patch tells where it comes from.
    rng = np.random.default_rng(0)
    for place in range(30):
        values = rng.integers(8 * place, 8 * place + 8, (20, 20)).astype(np.uint8)
        write_photograph(tmp_path / f"{place:02d}.png", values)
    # A copy of a photograph is that photograph.
    for place in range(0, 30, 2):
        copy = tmp_path / f"copy-{place:02d}.png"
        copy.write_bytes((tmp_path / f"{place:02d}.png").read_bytes())
    for seed in range(5):
        config = PatchConfig(8, train=200, test=40, whiten=False, seed=seed)
        found = extract_patches(tmp_path, config)
        owners = []
        for part, source in (
            (found.train, found.train_photograph),
            (found.test, found.test_photograph),
        ):
            signature = np.rint(part.reshape(len(part), -1) * 255).astype(int) // 8
            assert (signature == signature[:, :1]).all()
            named = [int(found.photographs[place].removesuffix(".png")) for place in source]
            assert named == signature[:, 0].tolist()
            owners.append(set(named))
        assert not owners[0] & owners[1]
        assert (len(owners[0]), len(owners[1])) == (27, 3)
        assert found.value_range == (0.0, 1.0)
        assert found.scale == 1.0


def test_patches_are_whitened_to_unit_variance(photographs: Path) -> None:
    found = extract_patches(photographs, PatchConfig(12, train=600, test=60))
    assert found.train.shape == (600, 12, 12)
    assert found.test.shape == (60, 12, 12)
    assert found.train.dtype == np.float32
    assert found.train.std() == pytest.approx(1, abs=1e-3)
    assert abs(found.train.mean()) < 0.05
    assert 0.5 < found.test.std() < 2
    assert len(np.unique(found.train.reshape(600, -1), axis=0)) == 600
    # Neighbours in a patch are hardly correlated any more; they were by about 0.9.
    correlation = np.corrcoef(found.train[:, 5, 5], found.train[:, 5, 7])[0, 1]
    assert abs(correlation) < 0.2


def test_seeds_choose_the_patches(photographs: Path) -> None:
    config = PatchConfig(8, train=50, test=10, seed=3)
    first, again = (extract_patches(photographs, config) for _ in range(2))
    assert np.array_equal(first.train, again.train)
    assert np.array_equal(first.test_photograph, again.test_photograph)
    other = extract_patches(photographs, PatchConfig(8, train=50, test=10, seed=4))
    assert not np.array_equal(first.train, other.train)


def test_patches_can_be_standardized(photographs: Path) -> None:
    config = PatchConfig(8, train=80, test=20, standardize=True, contrast="local", radius=6.0)
    found = extract_patches(photographs, config)
    for part in (found.train, found.test):
        assert np.abs(part.mean(axis=(1, 2))).max() < 1e-5
        assert np.abs(part.std(axis=(1, 2)) - 1).max() < 1e-4


def test_photographs_can_share_their_contrast(tmp_path: Path) -> None:
    for seed in range(4):
        values = pink(seed, 64, 64)
        grey = 128 + (4 + 30 * (seed % 2)) * values / values.std()
        write_photograph(tmp_path / f"{seed}.png", np.clip(grey, 0, 255).astype(np.uint8))

    def deviations(contrast: str) -> np.ndarray:
        config = PatchConfig(16, 900, 100, contrast=contrast, test_fraction=0.25)  # type: ignore[arg-type]
        found = extract_patches(tmp_path, config)
        places = np.unique(found.train_photograph)
        return np.array([found.train[found.train_photograph == p].std() for p in places])

    assert deviations("none").max() > 3 * deviations("none").min()
    assert deviations("image").max() < 1.2 * deviations("image").min()


def test_flat_patches_can_be_left_out(tmp_path: Path) -> None:
    for seed in range(3):
        values = np.full((32, 64), 100, np.uint8)
        values[:, 40:] = np.random.default_rng(seed).integers(256, size=(32, 24))
        write_photograph(tmp_path / f"{seed}.png", values)
    lively = PatchConfig(8, train=100, test=50, whiten=False, minimum_contrast=0.8)
    found = extract_patches(tmp_path, lively)
    assert found.train.std(axis=(1, 2)).min() > 0.1
    plain = extract_patches(tmp_path, PatchConfig(8, train=100, test=50, whiten=False))
    assert (plain.train.std(axis=(1, 2)) == 0).any()
    # Constant patches have no deviation to divide by.
    standard = PatchConfig(8, train=100, test=50, whiten=False, standardize=True)
    assert np.isfinite(extract_patches(tmp_path, standard).train).all()
    with pytest.raises(InputError, match=r"\.png: expected 50 patches of 8x8.*found 0; take fewer"):
        extract_patches(tmp_path, PatchConfig(8, 100, 50, whiten=False, minimum_contrast=9.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 1}, "size: expected 2 to"),
        ({"train": 0}, "train: expected 1 to"),
        ({"test": 0}, "test: expected 1 to"),
        ({"contrast": "loud"}, "contrast: expected 'none', 'image' or 'local', got 'loud'"),
        ({"dtype": "int8"}, "dtype: expected 'auto', 'float16' or"),
        ({"minimum_contrast": float("nan")}, "minimum_contrast: expected 0"),
        ({"test_fraction": 1.0}, "test_fraction: expected a fraction"),
        ({"radius": 0.0}, "radius: expected a positive"),
        ({"radius": 1e308}, "radius: expected a positive number of pixels, at most 1,000,000"),
        ({"size": 2.5}, "size: expected a whole number"),
        ({"cutoff": "high"}, r"cutoff: expected a part of the Nyquist frequency"),
        ({"whiten": 1}, "whiten: expected True or False"),
        ({"train": 10**20}, "train: expected 1 to"),
        ({"seed": -1}, "seed: expected 0 to"),
    ],
)
def test_unfit_options_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PatchConfig(**change)


def test_unfit_photographs_are_named(photographs: Path) -> None:
    with pytest.raises(InputError, match=r"00\.png: expected at least 41x41 .*got 40x48; leave"):
        extract_patches(photographs, PatchConfig(41, train=11, test=1, seed=1))
    with pytest.raises(InputError, match="found 9; take fewer patches"):
        extract_patches(photographs, PatchConfig(40, train=4000, test=1, seed=1))
    write_photograph(photographs / "00.png", np.full((50, 50), 7, np.uint8))
    with pytest.raises(InputError, match=r"00\.png: is constant"):
        extract_patches(photographs, PatchConfig(8, 60, 60, seed=1))
    with pytest.raises(InputError, match="no such folder"):
        extract_patches(photographs / "absent")


def test_photographs_of_van_hateren_are_cut(tmp_path: Path) -> None:
    for seed in range(2):
        values = pink(seed, 1024, 1536)
        stored = np.clip(2000 + 400 * values / values.std(), 0, 65535).astype(">u2")
        (tmp_path / f"imk0000{seed}.iml").write_bytes(stored.tobytes())
    found = extract_patches(tmp_path, PatchConfig(8, train=200, test=20))
    assert found.train.std() == pytest.approx(1, abs=1e-3)
    assert "16 bits, as they are" in found.about


def test_copies_across_the_parts_are_refused(photographs: Path) -> None:
    for part in ("train", "test"):
        (photographs / part).mkdir()
        (photographs / part / f"{part}.png").write_bytes((photographs / "01.png").read_bytes())
    with pytest.raises(InputError, match=r"test\.png: is a copy of .*train\.png"):
        extract_patches(photographs, PatchConfig(8, 10, 10))
    (photographs / "test" / "test.png").write_bytes((photographs / "02.png").read_bytes())
    found = extract_patches(photographs, PatchConfig(8, 10, 10))
    assert found.photographs == ("train/train.png", "test/test.png")


def test_files_of_patches_load_like_any_set(photographs: Path, tmp_path: Path) -> None:
    found = extract_patches(photographs, PatchConfig(8, train=90, test=30))
    save_patches(found, tmp_path / "p.npz")
    train, test = (load_images(str(tmp_path / "p.npz"), split=s) for s in ("train", "test"))
    assert (train.low, train.high) == (test.low, test.high) == found.value_range
    assert train.image_shape == (8, 8)
    assert np.abs(train.pixels.reshape(found.train.shape) - found.train).max() < 0.01
    with np.load(tmp_path / "p.npz", allow_pickle=False) as kept:
        assert kept["train"].dtype == np.float16
        assert json.loads(str(kept["config"]))["cutoff"] == CUTOFF
        assert len(kept["photographs"]) == 12
    with pytest.raises(InputError, match=r"ends in \.npz"):
        save_patches(found, tmp_path / "p.npy")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    app = typer.Typer(add_completion=False)
    app.command("patches")(verb)
    with pytest.raises(SystemExit) as stop:
        app([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_the_verb_writes_patches(photographs: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "p.npz"
    sizes = ["--size", 8, "--train", 60, "--test", 20, "--dtype", "float32", "--seed", 5]
    code, out, err = run(capsys, photographs, "-o", path, *sizes, "--json", tmp_path / "p.json")
    assert code == 0
    assert "12 photographs, 1 of 12 files, drawn by seed 5, are for testing; 8 bits" in err
    assert "train" in out
    assert str(path) in out
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["config"]["seed"] == 5
    training, testing = (set(content["parts"][p]["photographs"]) for p in ("train", "test"))
    assert not training & testing
    assert load_images(str(path)).pixels.shape == (60, 64)
    code, out, err = run(capsys, photographs, "-o", path, *sizes, "--quiet", "--json", "-")
    assert (code, err) == (0, "")
    assert json.loads(out)["parts"]["test"]["patches"] == 20


def test_the_verb_refuses_with_one_line(photographs: Path, tmp_path: Path, capsys) -> None:
    for arguments, message in (
        ([tmp_path / "absent", "-o", tmp_path / "p.npz"], "no such folder"),
        ([photographs, "-o", tmp_path / "p.npy"], "ends in .npz"),
        ([photographs, "-o", tmp_path / "p.npz", "--cutoff", 2], "cutoff"),
        ([photographs, "-o", tmp_path / "p.npz", "--contrast", "loud"], "contrast"),
        ([photographs, "-o", tmp_path / "p.npz", "--size", 100], "take smaller patches"),
        ([photographs, "-o", tmp_path / "p.npz", "--max-memory", 0.001], "45,000 patches: needs"),
        ([photographs, "-o", tmp_path / "p.npz", "--train", 10**20], "train: expected 1 to"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "p.npz").exists()
