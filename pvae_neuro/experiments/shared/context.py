"""What every experiment gets: folders, data, trained models, and results computed before.

A full experiment takes hours and may be stopped at any moment. The models that it trained and the
parts that it computed stay in its folders and are used again in the next run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from pvae_neuro.data import Images, load_images
from pvae_neuro.errors import ModelFileError
from pvae_neuro.experiments.shared.budget import BUDGETS, PUBLISHED, check_budget
from pvae_neuro.saved.model_file import Float32, SavedModel, load_model
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.utils.digest import digest
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.progress import Advance, StageProgress, no_stages, stage_advance
from pvae_neuro.utils.show import show

if TYPE_CHECKING:
    from pvae_neuro.evaluation.infer import Trace

_Choice = TypeVar("_Choice")


class _Absent:
    """No value was given for a budget; None may be a value."""


_ABSENT = _Absent()


@dataclass
class Context:
    """One run of an experiment."""

    out: Path
    """Folder of this experiment."""

    models: Path
    """Folder of trained models; experiments that share it share their models."""

    data_root: Path
    """Folder with the data sets."""

    budget: str = PUBLISHED
    """How long it may take: one of :data:`~pvae_neuro.experiments.shared.budget.BUDGETS`."""

    seed: int = 0
    """Of training and of inference."""

    progress: StageProgress = no_stages

    console: Console = field(default_factory=lambda: Console(stderr=True))
    """Where trainings show their progress bars."""

    minutes: float = float("nan")
    """How long the run took, once it is over."""

    core_minutes: float = float("nan")
    """Processor time that it took, in minutes of one core."""

    _sets: dict[tuple[str, str], Images] = field(default_factory=dict, init=False)
    """Data sets that were read, by source and split."""

    def __post_init__(self) -> None:
        check_budget(self.budget)

    def __repr__(self) -> str:
        place = show(str(self.out))
        return f"<Context: budget {self.budget}, seed {self.seed}, into {place}>"

    @property
    def quick(self) -> bool:
        """Whether the budget is the smallest."""
        return self.budget == BUDGETS[0]

    def pick(
        self,
        quick: _Choice,
        *,
        hour: _Choice | _Absent = _ABSENT,
        night: _Choice | _Absent = _ABSENT,
        published: _Choice | _Absent = _ABSENT,
    ) -> _Choice:
        """The value of the largest budget named that is not above this run's."""
        chosen = quick
        given = (quick, hour, night, published)
        for value in given[: BUDGETS.index(self.budget) + 1]:
            if not isinstance(value, _Absent):
                chosen = value
        return chosen

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure :attr:`minutes` and :attr:`core_minutes` of the block.

        Those of earlier runs into the same folder count too, since parts that they computed are
        read; trainings that other experiments did in the same folder of models do not.
        """
        path = self.out / "parts" / f"times-{self.budget}-{self.seed}.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else [0.0, 0.0]
        started, worked = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            self.minutes = before[0] + (time.monotonic() - started) / 60
            self.core_minutes = before[1] + (time.process_time() - worked) / 60
            with atomic_path(path) as temporary:
                temporary.write_text(
                    json.dumps([self.minutes, self.core_minutes]), encoding="utf-8"
                )

    def advance(self, stage: str, total: int) -> Advance:
        """Report a stage of ``total`` units by the units done since the last call."""
        return stage_advance(self.progress, stage, total)

    def images(self, dataset: str, split: str, count: int | None = None) -> Images:
        """The first ``count`` images of a data set.

        ``dataset`` is a file below the data folder or a name that :func:`load_images` knows.
        """
        if (dataset, split) not in self._sets:
            below = self.data_root / dataset
            source = str(below) if below.exists() else dataset
            self._sets[dataset, split] = load_images(source, self.data_root, split)
        return self._sets[dataset, split].take(count)

    def infer(
        self, stage: str, model: SavedModel, inputs: Float32, steps: int, average: int = 1
    ) -> Trace:
        """:func:`~pvae_neuro.evaluation.infer.infer` with the seed of the run and its progress."""
        from pvae_neuro.evaluation.infer import infer

        advance = self.advance(stage, len(inputs) * steps)
        return infer(model, inputs, steps, self.seed, average=average, progress=advance)

    def trained(
        self, key: str, images: Images, config: TrainConfig, start: SavedModel | None = None
    ) -> SavedModel:
        """Train a model, or load the one that was trained with the same settings and data.

        ``key`` begins the name of its file, ``start`` holds the weights to start from. A training
        that was stopped continues from its checkpoint.
        """
        from pvae_neuro.training.train import TrainOptions, checkpoint_path, train

        settings = config.model_dump_json() + (weights_digest(start) if start else "")
        name = f"{key}-{digest(images.pixels, settings)[:12]}.safetensors"
        path = self.models / name
        try:
            if path.is_file():
                return load_model(path)
        except ModelFileError:
            pass  # A damaged file is trained anew.
        resume = checkpoint_path(path).exists()
        options = TrainOptions(resume=resume, start=start, console=self.console)
        return train(images, config, path, options)

    def cached(
        self,
        key: str,
        model: SavedModel,
        compute: Callable[[], dict[str, Any]],
        **settings: Any,
    ) -> dict[str, Any]:
        """Compute a part of the result, or read what was computed before under the same settings.

        ``compute`` returns values that JSON can hold. Beside the weights of the model, the seed
        and the budget, ``settings`` must hold whatever the part depends on.
        """
        known = {"weights": weights_digest(model), "seed": self.seed, "budget": self.budget}
        text = json.dumps({**settings, **known}, sort_keys=True)
        path = self.out / "parts" / f"{key.replace(' ', '-')}-{digest(text)[:12]}.json"
        if path.is_file():
            stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return stored
        value = compute()
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(value), encoding="utf-8")
        return value


def weights_digest(model: SavedModel) -> str:
    """Short digest of a model's arrays."""
    parts = (part for name in sorted(model.arrays) for part in (name, model.arrays[name]))
    return digest(*parts)[:16]


def budget_of(model: SavedModel) -> str:
    """What the training of a model cost: images, epochs, windows of steps, minutes."""
    training = model.config.training
    if not {"images", "epochs", "windows", "steps"} <= training.keys():
        return ""
    text = f"{training['images']:,} images × {training['epochs']} epochs"
    if training["steps"] * training["windows"] > 1:
        text += f", {training['windows']} × {training['steps']} steps"
    return text + (f", {training['minutes']:.1f} min" if "minutes" in training else "")
