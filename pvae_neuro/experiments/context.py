"""What every experiment is given: where to write, data, trained models, and work kept for later.

A full experiment takes hours and may be stopped at any moment. Models that it trained and parts
that it computed stay in its folder, and are taken from there when it is run again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pvae_neuro.data.images import Images, load_images
from pvae_neuro.errors import ModelFileError
from pvae_neuro.saved.model_file import Float32, SavedModel, load_model
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.utils.files import atomic_path

Tell = Callable[[str, int, int], None]
"""Takes a stage, and the units of it that are done and there are."""


@dataclass
class Context:
    """One run of an experiment.

    Attributes
    ----------
    out : Path
        Folder of this experiment.
    models : Path
        Folder of trained models; experiments that share it share their models.
    data_root : Path
        Folder with the data sets.
    quick : bool
        A version of minutes on two cores instead of the papers' budget.
    seed : int
        Of training and of inference.
    tell : callable
        Told how far each stage is.
    console : Console
        Where trainings show their bars.
    minutes : float
        What the run took, once it is over.
    """

    out: Path
    models: Path
    data_root: Path
    quick: bool = False
    seed: int = 0
    tell: Tell = field(default=lambda stage, done, total: None)
    console: Console = field(default_factory=lambda: Console(stderr=True))
    minutes: float = float("nan")

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Keep the minutes that the block takes."""
        started = time.monotonic()
        yield
        self.minutes = (time.monotonic() - started) / 60

    def choose(self, quick: Any, full: Any) -> Any:
        """The first in the quick version, the second in the full one."""
        return quick if self.quick else full

    def images(self, dataset: str, split: str, count: int | None = None) -> Images:
        """Images of a data set below the data folder, the first ``count``.

        Parameters
        ----------
        dataset : str
            A name that :func:`~pvae_neuro.data.load_images` knows, or a file below the data folder.
        split : {"train", "test"}
        count : int, optional

        Returns
        -------
        Images

        Raises
        ------
        InputError
            If the data are absent.
        """
        below = self.data_root / dataset
        images = load_images(str(below) if below.exists() else dataset, self.data_root, split)
        return images if count is None else first_images(images, count)

    def trained(self, key: str, images: Images, config: TrainConfig) -> SavedModel:
        """Train a model, or take the one trained before with the same settings and data.

        A training that was stopped goes on from its checkpoint.

        Parameters
        ----------
        key : str
            Name of the file, without its ending.
        images : Images
        config : TrainConfig

        Returns
        -------
        SavedModel
            Its ``config.training`` holds the provenance; see :func:`budget_of`.
        """
        from pvae_neuro.training.train import TrainOptions, checkpoint_path, train

        digest = _digest(images.pixels, config.model_dump_json())
        path = self.models / f"{key}-{digest}.safetensors"
        kept = _load(path)
        if kept is not None:
            return kept
        options = TrainOptions(resume=checkpoint_path(path).exists(), console=self.console)
        return train(images, config, path, options)

    def part(
        self, key: str, compute: Callable[[], dict[str, Any]], **settings: Any
    ) -> dict[str, Any]:
        """Compute a part, or take what was computed before under the same settings.

        Parameters
        ----------
        key : str
            Name of the part.
        compute : callable
            Returns plain values, JSON.
        **settings : Any
            Whatever the part depends on, JSON; seed and version (quick or full) belong to it.

        Returns
        -------
        dict
        """
        wanted = json.dumps({**settings, "seed": self.seed, "quick": self.quick}, sort_keys=True)
        path = self.out / "parts" / f"{key}-{_digest(wanted)}.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        value = compute()
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(value), encoding="utf-8")
        return value


def budget_of(model: SavedModel) -> str:
    """What a model's training cost: images, epochs, windows of steps, minutes."""
    found = model.config.training
    known = {"images", "epochs", "windows", "steps"} <= found.keys()
    if not known:
        return ""
    text = f"{found['images']:,} images × {found['epochs']} epochs"
    if found["steps"] * found["windows"] > 1:
        text += f", {found['windows']} × {found['steps']} steps"
    return text + (f", {found['minutes']:.1f} min" if "minutes" in found else "")


def first_images(images: Images, count: int) -> Images:
    """The first ``count`` images of a set."""
    labels = None if images.labels is None else images.labels[:count]
    return Images(
        images.pixels[:count], labels, images.image_shape, images.low, images.high, images.name
    )


def _load(path: Path) -> SavedModel | None:
    if not path.is_file():
        return None
    try:
        return load_model(path)
    except ModelFileError:
        return None


def _digest(*parts: str | Float32) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).data)
    return digest.hexdigest()[:12]
