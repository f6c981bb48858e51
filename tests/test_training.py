from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from rich.console import Console  # noqa: E402
from training_tools import killed_at, options  # noqa: E402

from pvae_neuro.data import Images  # noqa: E402
from pvae_neuro.errors import (  # noqa: E402
    InputError,
    MissingDependencyError,
    ModelFileError,
    PvaeNeuroError,
)
from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.saved.model_file import SavedModel, load_model, save_model  # noqa: E402
from pvae_neuro.training.run import TrainingRun  # noqa: E402
from pvae_neuro.training.state import load_state  # noqa: E402
from pvae_neuro.training.train import (  # noqa: E402
    TrainConfig,
    checkpoint_path,
    recipe,
    train,
)
from pvae_neuro.utils.memory import memory_limit  # noqa: E402

SMALL = {"latents": 8, "steps": 3, "beta": 3.0, "epochs": 2, "batch_size": 10}


def make_images(count: int = 45, seed: int = 0) -> Images:
    """Sums of a few bars: something that a dictionary can learn."""
    random = np.random.default_rng(seed)
    bars = np.zeros((8, 4, 4), np.float32)
    bars[np.arange(4), np.arange(4)] = 1.0
    bars[4 + np.arange(4), :, np.arange(4)] = 1.0
    chosen = random.random((count, 8)) < 0.25
    pixels = np.clip(chosen.astype(np.float32) @ bars.reshape(8, 16), 0, 1)
    return Images(pixels, None, (4, 4), 0.0, 1.0, "bars")


def same_bits(first: SavedModel, second: SavedModel) -> bool:
    """Equal bits, which two runs of the same operations on as many threads must give."""
    return all(np.array_equal(a, second.arrays[n]) for n, a in first.arrays.items())


def test_training_lowers_the_loss_and_saves_the_model(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    config = TrainConfig(**{**SMALL, "epochs": 60, "beta": 1.0, "init_scale": 0.05})
    console = Console(file=io.StringIO(), width=200)
    saved = train(make_images(), config, out, options(console=console))
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("epoch")]
    first, last = (float(line.split("loss ")[1].split()[0]) for line in (lines[0], lines[-1]))
    assert last < first - 2
    assert same_bits(saved, load_model(out))
    assert list(tmp_path.iterdir()) == [out]
    assert saved.config.image_shape == (4, 4)
    assert saved.config.training["dataset"] == "bars"
    assert saved.config.training["epochs"] == 60


def test_same_seed_same_bits_other_seed_others(tmp_path: Path) -> None:
    first, second, other = (
        train(make_images(), TrainConfig(**SMALL, seed=seed), tmp_path / f"{i}.st", options())
        for i, seed in enumerate((0, 0, 1))
    )
    assert same_bits(first, second)
    assert not same_bits(first, other)


def train_until_killed(
    monkeypatch: pytest.MonkeyPatch, config: TrainConfig, out: Path, batch: int
) -> None:
    """Train, and be killed before a batch."""
    with killed_at(monkeypatch, batch):
        train(make_images(), config, out, options(checkpoint_seconds=0.0))


@pytest.mark.parametrize("windows", [1, 2])
@pytest.mark.parametrize("batch", [0, 1, 4, 7])
def test_resumed_run_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: int, batch: int
) -> None:
    config = TrainConfig(**SMALL, windows=windows, gradient_clip=5.0)
    whole = train(make_images(), config, tmp_path / "whole.st", options())
    out = tmp_path / "m.st"
    train_until_killed(monkeypatch, config, out, batch)
    assert load_state(checkpoint_path(out)).batches_done == batch
    assert not out.exists()
    resumed = train(make_images(), config, out, options(resume=True))
    assert same_bits(whole, resumed)
    assert not checkpoint_path(out).exists()


def test_run_with_a_tuple_in_its_architecture_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = {"estimator": "exact", "first_log_rates": (-6.0, -4.0)}
    config = recipe("pvae-linear", **{**SMALL, "architecture": architecture})
    out = tmp_path / "m.st"
    train_until_killed(monkeypatch, config, out, 1)
    resumed = train(make_images(), config, out, options(resume=True))
    assert same_bits(train(make_images(), config, tmp_path / "whole.st", options()), resumed)


def test_what_is_refused_at_the_first_batch_leaves_no_checkpoint(tmp_path: Path) -> None:
    architecture = {"families": {"latents": "poisson"}}
    config = recipe("gpc-vae", **{**SMALL, "architecture": architecture})
    for _ in range(2):
        with pytest.raises(InputError, match="expected a family of 2 parameters a unit"):
            train(make_images(), config, tmp_path / "m.st", options())
    assert not list(tmp_path.iterdir())


KILLED = TrainConfig(**{**SMALL, "epochs": 15})
KILL_FROM, STALL_AT = 5, 50
# The child stalls before its last batches, so that it cannot end before it is killed.
CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_training import *
from pvae_neuro.training.run import TrainingRun
torch.set_num_threads({threads})
plain = TrainingRun.train_batch
TrainingRun.train_batch = lambda run, batch: (
    time.sleep(600) if batch == STALL_AT else plain(run, batch)
)
train(make_images(), KILLED, Path({out!r}), options(checkpoint_seconds=0.0))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_process_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = train(make_images(), KILLED, tmp_path / "whole.st", options())
    out = tmp_path / "m.st"
    code = CHILD.format(
        tests=str(Path(__file__).parent), out=str(out), threads=torch.get_num_threads()
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: checkpoint_path(out).exists(), process)
        wait_for(lambda: load_state(checkpoint_path(out)).batches_done >= KILL_FROM, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert KILL_FROM <= load_state(checkpoint_path(out)).batches_done <= STALL_AT
    resumed = train(make_images(), KILLED, out, options(resume=True))
    assert same_bits(whole, resumed)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until the timeout of the test: how long a process takes depends on what runs beside it."""
    while not condition():
        assert process.poll() is None
        time.sleep(0.1)


def interrupted(tmp_path: Path, **settings: Any) -> Path:
    """A run that stopped before its first batch."""
    from pvae_neuro.training.run import TrainingRun

    out = tmp_path / "m.st"
    TrainingRun(make_images(), TrainConfig(**{**SMALL, **settings}), out, options()).start()
    return out


def test_making_a_run_touches_no_file(tmp_path: Path) -> None:
    from pvae_neuro.training.run import TrainingRun

    TrainingRun(make_images(), TrainConfig(**SMALL), tmp_path / "m.st", options())
    assert list(tmp_path.iterdir()) == []


def test_training_is_imported_without_torch(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
import pvae_neuro as pn
from pvae_neuro.data import make_images
from pvae_neuro.errors import MissingDependencyError
images = make_images(np.array([[0.0, 1.0]]))
for call in (lambda: pn.recipe("igvae"), lambda: pn.train(images, pn.TrainConfig(), "m.st")):
    try:
        call()
    except MissingDependencyError as error:
        assert "pvae-neuro[train]" in str(error)
    else:
        raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_resume_refuses_other_settings_and_data(tmp_path: Path) -> None:
    out = interrupted(tmp_path)
    resume = options(resume=True)
    with pytest.raises(InputError, match=r"beta: 3\.0 != 4\.0, seed: 0 != 1"):
        train(make_images(), TrainConfig(**{**SMALL, "beta": 4.0, "seed": 1}), out, resume)
    with pytest.raises(InputError, match="the training data"):
        train(make_images(seed=5), TrainConfig(**SMALL), out, resume)


def test_unfinished_run_is_not_overwritten(tmp_path: Path) -> None:
    out = interrupted(tmp_path)
    with pytest.raises(InputError, match=r"unfinished run: resume it, or delete it"):
        train(make_images(), TrainConfig(**SMALL), out, options())


def test_resume_needs_a_checkpoint_that_is_whole(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no unfinished run to resume"):
        train(make_images(), TrainConfig(**SMALL), tmp_path / "m.st", options(resume=True))
    out = interrupted(tmp_path)
    whole = checkpoint_path(out).read_bytes()
    checkpoint_path(out).write_bytes(whole[:-5])
    with pytest.raises(ModelFileError):
        train(make_images(), TrainConfig(**SMALL), out, options(resume=True))


def test_weights_of_an_unfinished_run_can_be_taken_out(tmp_path: Path) -> None:
    out = interrupted(tmp_path)
    saved = load_state(checkpoint_path(out)).to_saved()
    save_model(saved, out)
    assert same_bits(saved, load_model(out))


def test_a_model_is_not_a_training_state(tmp_path: Path) -> None:
    out = tmp_path / "m.st"
    train(make_images(), TrainConfig(**SMALL), out, options())
    with pytest.raises(ModelFileError, match="expected a training state"):
        load_state(out)


def test_unfit_requests_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "m.st"
    with pytest.raises(InputError, match="at least one batch of 10 images, got 9"):
        train(make_images(9), TrainConfig(**SMALL), out, options())
    with pytest.raises(InputError, match="device 'abacus'"):
        train(make_images(), TrainConfig(**SMALL), out, options(device="abacus"))
    # It makes tensors without values.
    with pytest.raises(InputError, match="device 'meta' is not usable here"):
        train(make_images(), TrainConfig(**SMALL), out, options(device="meta"))
    wide = TrainConfig(**{**SMALL, "latents": 1 << 20})
    with memory_limit(200_000_000), pytest.raises(InputError, match=r"1,048,576 latents.*0\.2 GB"):
        train(make_images(), wide, out, options())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("latents", 10**20), ("steps", 1 << 63), ("inner_updates", 1 << 63), ("epochs", 1 << 63),
        ("batch_size", 1 << 63), ("windows", 1 << 63), ("max_arrivals", 1 << 63),
        ("seed", 1 << 64), ("beta", 1e308), ("clamp_u", 1e308), ("clamp_du", 1e308),
        ("learning_rate", 1e308), ("final_learning_rate", 1e308), ("dictionary_rate", 1e308),
        ("weight_decay", 1e308), ("gradient_clip", 1e308), ("activity_cost", 1e308),
        ("temperature", 1e308), ("final_temperature", 1e308), ("init_scale", 1e308),
    ],
)  # fmt: skip
def test_settings_beyond_all_use_are_refused(setting: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{setting}: .*less than"):
        TrainConfig(**{setting: value})


def test_divergence_is_an_error_and_not_a_model(tmp_path: Path) -> None:
    images = make_images()
    # Far beyond the range that they declare: their squares are no float32.
    huge = Images(images.pixels * 1e30, None, (4, 4), 0.0, 1.0, "huge")
    out = tmp_path / "m.st"
    with pytest.raises(PvaeNeuroError, match="diverged at batch 1 "):
        train(huge, TrainConfig(**SMALL), out, options())
    assert not out.exists()


def test_tensorboard_gets_the_metrics_or_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "events"
    request = options(tensorboard=folder)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"TensorBoard.*pvae-neuro\[train\]"):
        train(make_images(), TrainConfig(**SMALL), tmp_path / "a.st", request)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    pytest.importorskip("tensorboard", reason="writes TensorBoard logs")
    train(make_images(), TrainConfig(**SMALL), tmp_path / "b.st", request)
    assert [path.name[:6] for path in folder.iterdir()] == ["events"]


def test_schedules() -> None:
    config = TrainConfig(
        learning_rate=1.0, final_learning_rate=0.1, warm_up=0.1, beta=8.0, beta_anneal=0.5,
        temperature=1.0, final_temperature=0.01, temperature_anneal=0.5,
    )  # fmt: skip
    assert config.learning_rate_at(0.05) == pytest.approx(0.5)
    assert config.learning_rate_at(0.1) == pytest.approx(1.0)
    assert config.learning_rate_at(0.55) == pytest.approx(0.55)
    assert config.learning_rate_at(1.0) == pytest.approx(0.1)
    assert [config.beta_at(p) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 4.0, 8.0, 8.0]
    assert config.temperature_at(0.25) == pytest.approx(0.505)
    assert config.temperature_at(0.75) == pytest.approx(0.01)
    flat = TrainConfig(warm_up=0.0, beta_anneal=0.0, temperature_anneal=0.0)
    assert flat.learning_rate_at(0.0) == flat.learning_rate
    assert flat.beta_at(0.0) == flat.beta
    assert flat.temperature_at(0.0) == flat.final_temperature


def test_schedules_hold_their_start_and_may_span_a_longer_run(tmp_path: Path) -> None:
    config = TrainConfig(
        beta=8.0, beta_start=1e-4, beta_anneal=0.5, hold=0.1, clamp_start=2.0, clamp_anneal=0.2,
    )  # fmt: skip
    assert [config.beta_at(p) for p in (0.0, 0.05, 0.7, 1.0)] == [1e-4, 1e-4, 8.0, 8.0]
    assert config.beta_at(0.35) == pytest.approx((1e-4 + 8.0) / 2)
    assert [config.clamp_growth_at(p) for p in (0.05, 0.4, 1.0)] == [0.0, 1.0, 1.0]
    assert config.clamp_growth_at(0.2) == pytest.approx(0.5)
    assert TrainConfig(beta_start=1.0, hold=0.5).beta_at(0.4) == 1.0
    settings = {"beta": 8.0, "beta_anneal": 1.0, "batch_size": 4, "epochs": 2, "latents": 3}
    for spanned, expected in ((None, 8.0), (8, 4.0)):
        config = TrainConfig(**settings, schedule_batches=spanned)
        run = TrainingRun(make_images(8), config, tmp_path / "run.st", options())
        assert run._beta_after(run.batches) == expected


@pytest.mark.parametrize(
    "settings",
    [{"clamp_anneal": 0.1}, {"clamp_start": 1.0}, {"beta_start": 1.0}, {"schedule_batches": 9}],
)
def test_schedules_that_would_change_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))}.*expected"):
        TrainConfig(**settings)


@pytest.mark.parametrize("model", ["ipvae-linear", "ipvae-mlp", "ipvae-hierarchical"])
def test_bounds_grow_from_their_start(model: str, tmp_path: Path) -> None:
    config = recipe(
        model, latents=6, batch_size=4, epochs=1, windows=1, steps=3, clamp_start=1e-3,
        schedule_batches=1_000_000, clamp_anneal=1.0, clamp="hard", estimator="exact",
    )  # fmt: skip
    run = TrainingRun(make_images(8), config, tmp_path / "run.st", options())
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            if name.endswith("initial_potential"):
                parameter.fill_(3.0)
    x = run.pixels[:4]
    window = run.model.window(x, run.model.start(x), run._window_settings(CounterNoise(0), 1.0))
    # The floor of a change is far below, so potentials may fall, but no further up than the start.
    assert all(float(part.detach().max()) <= 1.1e-3 for part in window.state)


@pytest.mark.parametrize(
    ("model", "setting", "value"),
    [
        ("gpc-chain", "clamp", "soft"),
        ("igvae", "kl", "released"),
        ("pvae-linear", "estimator", "exact"),
    ],
)
def test_settings_that_a_family_does_not_read_are_refused(
    model: str, setting: str, value: str, tmp_path: Path
) -> None:
    config = recipe(model, latents=4, batch_size=4, **{setting: value})
    with pytest.raises(InputError, match=f"^{setting}: the family '{model}' does not read"):
        TrainingRun(make_images(8), config, tmp_path / "run.st", options())


def test_starting_from_a_model(tmp_path: Path) -> None:
    first = train(make_images(), TrainConfig(**SMALL), tmp_path / "a.st", options())
    request = options()
    request.start = first
    still = TrainConfig(**{**SMALL, "learning_rate": 1e-30, "final_learning_rate": 1e-30})
    second = train(make_images(), still, tmp_path / "b.st", request)
    assert np.allclose(first.dictionary, second.dictionary)
    assert second.config.training["start"] and not first.config.training["start"]


def test_starting_from_a_model_of_another_size_is_refused(tmp_path: Path) -> None:
    first = train(make_images(), TrainConfig(**SMALL), tmp_path / "a.st", options())
    request = options()
    request.start = first
    other = TrainConfig(**{**SMALL, "latents": SMALL["latents"] + 1})
    with pytest.raises(InputError, match="of the same size"):
        train(make_images(), other, tmp_path / "b.st", request)
