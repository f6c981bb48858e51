"""Training in two processes equals training in one, but for the rounding of sums."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
if not torch.distributed.is_available():
    pytest.skip("this torch was built without torch.distributed", allow_module_level=True)

from distributed_driver import KILLED_AT, SETTINGS, make_images, run  # noqa: E402

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.models.sampling.counter_noise import CounterNoise  # noqa: E402
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts  # noqa: E402
from pvae_neuro.saved.model_file import load_model  # noqa: E402
from pvae_neuro.training.ranks import Ranks, find_device, is_first_process  # noqa: E402

pytestmark = pytest.mark.cluster

CPU = torch.device("cpu")


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        *map(str, arguments),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=280)
        finally:
            # Nothing that torchrun started may outlive a test that failed.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def close(first: Path, second: Path) -> None:
    """Equal but for rounding.

    Gradients are sums over 11 samples, 16 pixels and 3 steps in float32, which another order
    changes by some 1e-5. Adamax divides them by their largest so far, so each of 24 steps of at
    most 0.02 is off by some 2e-7, and the next ones amplify that.
    """
    a, b = load_model(first).arrays, load_model(second).arrays
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(Path(__file__).with_name("distributed_driver.py"), folder)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    return folder, found


def test_two_processes_follow_one(
    together: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, (first, second) = together
    alone = run(tmp_path / "alone.st")
    assert len(alone) == 12
    np.testing.assert_allclose(first["whole"], alone, rtol=1e-4)
    assert first["whole"] == second["whole"]
    close(folder / "whole.st", tmp_path / "alone.st")
    # One update comes before the readings of the first batch: they differ by little more than the
    # rounding of their sums, 11 samples times 16 pixels: 176 * 2**-24 = 1e-5.
    np.testing.assert_allclose(first["whole"][0], alone[0], rtol=2e-5)


def test_the_first_process_alone_shows_and_writes(
    together: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, (first, second) = together
    assert "epoch 3/3" in first["shown"]
    assert second["shown"] == ""
    assert first["left"] == ["m.st.ckpt", "whole.st"]
    assert not list(folder.glob("*.ckpt.*"))


def test_several_processes_resume(together: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (first, _) = together
    assert first["resumed"] == first["whole"][KILLED_AT:]
    close(folder / "m.st", folder / "whole.st")


def test_what_the_first_process_refuses_all_refuse(
    together: tuple[Path, list[dict[str, Any]]],
) -> None:
    _, (first, second) = together
    assert "holds an unfinished run" in first["in the way"]
    assert second["in the way"] == first["in the way"]
    assert "with the same settings and data, got 1 that differ" in first["other data"]
    assert second["other data"] == first["other data"]


def test_torchrun_trains_from_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_images().pixels)
    done = torchrun(
        "-m", "pvae_neuro", "train", "--dataset", tmp_path / "x.npy", "--latents", 8, "--steps", 2,
        "--epochs", 2, "--batch-size", 10, "--device", "cpu", "-o", tmp_path / "m.safetensors",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_model(tmp_path / "m.safetensors").config.latents == 8
    assert done.stderr.count("epoch 2/2") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "m.safetensors"}


@pytest.mark.parametrize(("count", "size"), [(10, 2), (11, 3), (4, 4)])
def test_shares_cover_a_batch(count: int, size: int) -> None:
    shares = [Ranks(rank, size, CPU).share(count) for rank in range(size)]
    assert [i for share in shares for i in range(count)[share]] == list(range(count))
    assert {share.stop - share.start for share in shares} <= {count // size, count // size + 1}


@pytest.mark.parametrize("u", [-2.0, 0.5, 2.0])
def test_a_part_of_a_batch_draws_what_the_whole_does(u: float) -> None:
    state = torch.full((6, 5), u) + torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    for part in (slice(0, 2), slice(2, 6)):
        noise = CounterNoise(3, part.start * 5)
        whole = CounterNoise(3)
        for _ in range(3):
            counts = sample_counts(state[part], 0.1, noise, 64)
            expected = sample_counts(state, 0.1, whole, 64)[part]
            # Vector instructions and the rest of a row round exp and log differently.
            assert torch.allclose(counts, expected, rtol=1e-4, atol=1e-5)


def test_numbers_by_place_are_uniform_and_independent() -> None:
    noise = CounterNoise(7)
    places = torch.arange(1 << 17)
    rows = []
    for _ in range(2):
        draw = noise.draw(len(places), CPU)
        rows += [*draw(places, 0, 1), *draw(places, 1, 2)]
    rows += [row.roll(lag) for row in rows[:2] for lag in (1, 2, 512, 1024)]
    for i, first in enumerate(rows):
        assert first.min() >= 0.0
        assert first.max() < 1.0
        for second in rows[:i]:
            # 32 x 32 cells: chi-square of 1023 degrees of freedom, six standard deviations.
            cells = torch.bincount((first * 32).long() * 32 + (second * 32).long(), minlength=1024)
            expected = len(places) / 1024
            statistic = float(((cells - expected) ** 2 / expected).sum())
            assert abs(statistic - 1023) < 6 * (2 * 1023) ** 0.5


@pytest.mark.parametrize("u", [-3.0, 0.0, 1.5])
def test_counts_by_place_follow_poisson(u: float) -> None:
    counts = sample_counts(torch.full((200, 400), u), 0.005, CounterNoise(11), 64)
    rate = float(np.exp(u))
    # Six standard errors of a Poisson mean and, with its fourth moment, of its variance.
    assert abs(float(counts.mean()) - rate) < 6 * (rate / 80_000) ** 0.5 + 1e-3
    assert abs(float(counts.var()) - rate) < 6 * ((rate + 2 * rate**2) / 80_000) ** 0.5 + 0.01


def test_exact_counts_need_a_generator() -> None:
    with pytest.raises(InputError, match="exact counts need a torch"):
        sample_counts(torch.zeros(2), 0.0, CounterNoise(0))


def test_fewer_images_than_processes_are_refused(tmp_path: Path) -> None:
    from pvae_neuro.training import run as training_run
    from pvae_neuro.training.train import TrainConfig, TrainOptions

    many = Ranks(0, 12, CPU)
    config = TrainConfig(**SETTINGS)
    with pytest.raises(InputError, match="each of 12 processes, got 11"):
        training_run.TrainingRun(make_images(), config, tmp_path / "m.st", TrainOptions(), many)


def test_devices_and_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cpu", 3) == CPU
    if not torch.cuda.is_available():
        assert find_device("auto", 1) == CPU
        with pytest.raises(InputError, match="cuda:1"):
            find_device("cuda", 1)
    assert is_first_process()
    monkeypatch.setenv("RANK", "1")
    assert is_first_process()  # left over from elsewhere: torchrun sets more than that
    for name, value in {
        "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert not is_first_process()
