"""Texts as windows of code points: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pvae_neuro as pn
from pvae_neuro.errors import InputError
from pvae_neuro.network import Input

TEXT = "".join(chr(0x20 + i % 90) for i in range(950)) + "é€𝄞" * 20  # 1,010 symbols.


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "own.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_windows_predict_every_symbol_but_the_first_once(tmp_path: Path, split: str) -> None:
    images = pn.load_images(_file(tmp_path, TEXT), split=split, size=16)
    chosen = {"train": TEXT[:909], "test": TEXT[909:], "all": TEXT}[split]
    rows = ["".join(map(chr, row.astype(int))) for row in images.pixels]
    assert all(len(row) == 17 for row in rows)
    following = "".join(row[1:] for row in rows)
    assert following == chosen[1 : 1 + len(following)]
    assert len(chosen) - len(following) - 1 < 16
    assert "16 symbols" in images.about
    left = len(chosen) - len(following) - 1
    assert f"{len(chosen):,} symbols, the last {left} of which fill no window" in images.about


def test_a_wide_window_takes_the_memory_of_its_text_alone(tmp_path: Path) -> None:
    images = pn.load_images(_file(tmp_path, "ab" * 15_000), split="all", size=20_000)
    assert images.pixels.shape == (1, 20_001)
    picture = tmp_path / "picture.png"  # Refused before it is opened.
    picture.touch()
    with pytest.raises(InputError, match="size 20000x20000"):
        pn.load_images(picture, size=20_000, max_memory=1 << 30)


def test_a_model_decides_the_windows(tmp_path: Path) -> None:
    model = Input(9, 0.0, 1114111.0, 0)
    assert pn.load_images(_file(tmp_path, TEXT), model=model).pixels.shape[1] == 9
    assert pn.load_images(_file(tmp_path, TEXT)).pixels.shape[1] == 33


def test_the_text_of_python() -> None:
    images = pn.load_images("python-topics", split="train")
    assert images.pixels.shape[1] == 33 and len(images.pixels) > 10_000
    first = "".join(map(chr, images.pixels[0].astype(int)))
    topics = pytest.importorskip("pydoc_data.topics").topics
    assert first == "\n".join(topics[name] for name in sorted(topics))[:33]
    assert (images.low, images.high) == (0.0, 1114111.0)
    assert np.array_equal(images.pixels, np.rint(images.pixels))


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("", {}, "expected at least 33 symbols in the test part"),
        ("short", {"split": "all"}, "got 5 of 5"),
        ("x" * 200, {"split": "test"}, "got 20 of 200"),
        (b"good \xff bad", {}, "byte 0xff at place 5"),
        (TEXT, {"size": (3, 4)}, "got 3x4"),
        (TEXT, {"layout": "NHWC"}, "layout"),
    ],
)
def test_texts_that_are_refused(
    tmp_path: Path, content: str | bytes, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        pn.load_images(_file(tmp_path, content), **{"split": None, **options})  # type: ignore[arg-type]
