"""Inputs that change in time: the same integers everywhere, and what is recorded of each frame."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import toy
from cli_tools import run_cli
from faulty_engines import WeightOffByOne
from models import sound_images, sound_model
from test_guides import run_page

from pvae_neuro.data.frames import load_frames
from pvae_neuro.errors import EngineError, InputError, NetworkError
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.exporters.lowerings import float_circuit_of
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.sim import frames as sim_frames
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.reference import ReferenceEngine, activate, initial_state
from pvae_neuro.verification.against_float import Tolerances
from pvae_neuro.verification.verify import verify

NETWORKS = [toy.lateral(), toy.predictive()]
FRAMES, HOLD = 3, 4
MODEL = sound_model()
DIGITS = sound_images(24)
# Every pixel moves on by one column from frame to frame.
MOVING = np.stack([np.roll(DIGITS.reshape(-1, 6, 5), f, axis=2) for f in range(FRAMES)], axis=1)
NETWORK = quantize(MODEL, DIGITS, QuantizeConfig(topology="predictive"))


def shown(network, samples=2, frames=FRAMES):
    return toy.images(network, samples * frames).reshape(samples, frames, -1)


def run_by_hand(network, frames, hold, seed, reset):
    """Feed frames one by one to the steps of the definition; every variable at every step."""
    samples = range(len(frames))
    state = initial_state(network, len(frames))
    steps, found = 0, []

    def run(activations):
        nonlocal steps
        words = {
            p.name: population_noise(p, seed, range(steps, steps + 1), samples)[:, 0]
            for p in network.drawing
        }
        for activation in activations:
            activate(network, activation, state, words)
        found.append(dict(state))
        steps += 1

    for frame in range(frames.shape[1]):
        if reset:
            state = initial_state(network, len(frames))
        x = network.input.encode(frames[:, frame])
        state.update({f"{e.population}.{e.variable}": e.apply(x) for e in network.encodings})
        for _ in range(hold):
            run(network.iteration)
        if reset or frame == frames.shape[1] - 1:
            run(network.final)
    return {name: np.stack([each[name] for each in found], axis=1) for name in network.variables}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_an_engine_gives_what_frames_fed_by_hand_give(network, reset):
    frames = shown(network)
    expected = run_by_hand(network, frames, HOLD, 7, reset)
    recording = ReferenceEngine().run(network, frames, HOLD, 7, record="full", reset=reset)
    for name, values in expected.items():
        assert np.array_equal(recording[name], values), name
        assert np.array_equal(recording.last[name], values[:, -1]), name
    # Where the state carries over, so that the test is not of still images.
    other = run_by_hand(network, frames, HOLD, 7, not reset)
    assert not np.array_equal(other["latents.u"][:, -1], expected["latents.u"][:, -1])


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("name", ["fast", "onnx"])
def test_engines_are_equal_on_frames(name, reset):
    package = {"fast": "llvmlite", "onnx": "onnxruntime"}[name]
    pytest.importorskip(package, reason=f"the engine {name} needs {package}")
    for network in NETWORKS:
        mine, right = (
            one.run(network, shown(network), 20, 3, record="full", first_sample=5, reset=reset)
            for one in (get_engine(name), ReferenceEngine())
        )
        for variable in network.variables:
            assert np.array_equal(mine[variable], right[variable]), variable
        for figure in (
            "squared_error", "spikes", "active", "saturated", "active_after", "saturated_after",
            "settling", "frame_spikes", "frame_mse",
        ):  # fmt: skip
            assert np.array_equal(getattr(mine, figure), getattr(right, figure)), figure


def test_lava_restarts_at_each_frame():
    pytest.importorskip("lava", reason="lava-nc is not installed")
    network = toy.lateral()
    mine, right = (
        one.run(network, shown(network, 1, 2), 3, 1, record="full", reset=True)
        for one in (get_engine("lava"), ReferenceEngine())
    )
    for variable in network.variables:
        assert np.array_equal(mine[variable], right[variable]), variable


def test_the_first_frame_with_reset_is_a_still_image():
    network = toy.predictive()
    frames = shown(network)
    recording = ReferenceEngine().run(network, frames, HOLD, 7, record="full", reset=True)
    still = ReferenceEngine().run(network, frames[:, 0], HOLD, 7, record="full")
    for name in network.variables:
        assert np.array_equal(recording[name][:, : HOLD + 1], still[name])
    assert np.array_equal(recording.squared_error[:, :HOLD], still.squared_error)
    # Words of later frames are others: no frame repeats the noise of one before.
    same = np.repeat(frames[:, :1], 2, axis=1)
    counts = ReferenceEngine().run(network, same, HOLD, 7, record="full", reset=True)["latents.z"]
    assert not np.array_equal(counts[:, : HOLD + 1], counts[:, HOLD + 1 :])


@pytest.mark.parametrize("reset", [False, True])
def test_errors_are_of_the_frame_that_was_shown(reset):
    network = toy.predictive()
    frames = shown(network)
    recording = ReferenceEngine().run(network, frames, HOLD, 7, record="full", reset=reset)
    x = network.input.encode(frames) * 2.0**-network.input.frac_bits
    weight = network.connection_of["prediction"].weight * 2.0**-network.readout.frac_bits
    counts = recording["latents.z"]
    for t in range(FRAMES * HOLD):
        frame = t // HOLD
        # With reset each frame before has left a step of `final`.
        drawn = counts[:, t + 1 + (frame if reset else 0)]
        residual = x[:, frame] - drawn @ weight.T
        expected = np.square(residual).sum(axis=1)
        found = recording.squared_error[:, t] * recording.error_unit
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert recording.frame_mse.tolist() == recording.mse[HOLD - 1 :: HOLD].tolist()
    emitted = recording.held.without_finals(counts)
    assert np.array_equal(recording.spikes, emitted.sum(axis=2))
    by_frame = emitted.reshape(2, FRAMES, HOLD, -1).sum(axis=(2, 3))
    assert np.array_equal(recording.frame_spikes, by_frame)
    ends = counts[:, HOLD :: HOLD + 1] if reset else counts[:, -1:]
    assert np.array_equal(recording.active_after, (ends > 0).sum(axis=2))
    assert recording.settling.tolist() == [[HOLD] * FRAMES] * 2
    assert (recording.frames, recording.hold, recording.reset) == (FRAMES, HOLD, reset)
    assert "3 of 4 iterations" in repr(recording)


def test_settling_is_the_end_of_the_first_window_without_a_fall():
    falling = 2.0 ** -np.arange(20.0) * 1e6
    settled = np.concatenate([falling, np.full(20, falling[-1])])
    # Over the 16 iterations that end with number 36 (from 1) the error was that of number 20.
    errors = np.stack([settled, np.zeros(40), np.linspace(100.0, 1.0, 40), np.arange(40.0)])
    assert Frames(1, 40).settling(errors).ravel().tolist() == [36, 17, 40, 17]
    whole = np.rint(errors).astype(np.int64)
    assert Frames(1, 40).settling(whole).ravel().tolist()[1:] == [17, 40, 17]
    # A window does not reach over two frames.
    assert Frames(2, 20).settling(np.full((1, 40), 5)).tolist() == [[17, 17]]
    assert Frames(4, 10).settling(np.full((1, 40), 5)).tolist() == [[10] * 4]
    assert sim_frames.WINDOW == 16


def test_the_float_circuit_takes_frames():
    circuit = float_circuit_of(MODEL, "float64")
    words = {p.name: population_noise(p, 1, range(2 * HOLD + 1), range(4)) for p in circuit.drawing}
    still = DIGITS[:4].astype(np.float64)
    twice = np.repeat(still[:, None], 2, axis=1)
    for a, b in zip(circuit.run(still, words), circuit.run(twice, words), strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)
    moving = np.stack([still, still[::-1]], axis=1)
    states = list(circuit.run(moving, words))
    before = list(circuit.run(still, words))
    assert np.array_equal(states[HOLD - 1]["latents.u"], before[HOLD - 1]["latents.u"])
    assert not np.array_equal(states[HOLD]["latents.u"], before[HOLD]["latents.u"])
    with pytest.raises(NetworkError, match="expected a multiple of 2 iterations"):
        list(circuit.run(moving, {n: w[:, :-1] for n, w in words.items()}))


@pytest.mark.parametrize("reset", [False, True])
def test_evaluate_has_the_figures_of_each_frame(reset):
    found = evaluate(NETWORK, MOVING, steps=20, engine="reference", reset=reset)
    recording = ReferenceEngine().run(NETWORK, MOVING, 20, record="full", reset=reset)
    np.testing.assert_allclose(found.mse, recording.mse, rtol=1e-12)
    by_frame = found.to_dict()["by_frame"]
    np.testing.assert_allclose(by_frame["mse"], recording.frame_mse, rtol=1e-12)
    np.testing.assert_allclose(by_frame["spikes"], recording.frame_spikes.mean(axis=0))
    np.testing.assert_allclose(by_frame["settling"], recording.settling.mean(axis=0))
    # Zeros of a frame are those of the draw after its last iteration.
    counts = recording["latents.z"]
    ends = counts[:, 20::21] if reset else counts[:, 20::20]
    np.testing.assert_allclose(by_frame["zeros"], (ends == 0).mean(axis=(0, 2)))
    variances = np.square(MOVING - MOVING.mean(axis=0)).sum(axis=(2, 3)).mean(axis=0)
    np.testing.assert_allclose(
        by_frame["r2_mean_image"], 1 - recording.frame_mse / variances, rtol=1e-5
    )
    assert found.final()["mse"] == pytest.approx(recording.frame_mse.mean())
    assert (found.frames, found.reset) == (FRAMES, reset)
    by_float = evaluate(MODEL, MOVING, steps=20, reset=reset)
    assert by_float.final()["mse"] == pytest.approx(found.final()["mse"], rel=0.01)
    if reset:
        still = evaluate(MODEL, MOVING[:, 0], steps=20)
        assert np.array_equal(by_float.mse[:20], still.mse)


def test_models_in_pytorch_are_evaluated_on_frames():
    pytest.importorskip("torch", reason="needs torch")
    with patch("pvae_neuro.evaluation.evaluate.float_circuit_of", return_value=None):
        carried, restarted = (
            evaluate(MODEL, MOVING, steps=20, reset=reset) for reset in (False, True)
        )
    by_circuit = evaluate(MODEL, MOVING, steps=20)
    # Other random words, so the same only on average: 72 images of an error whose spread over
    # images and noise is below its mean.
    assert carried.final()["mse"] == pytest.approx(by_circuit.final()["mse"], rel=0.1)
    assert carried.final()["mse"] != restarted.final()["mse"]
    assert carried.frames == FRAMES


@pytest.mark.parametrize("reset", [False, True])
def test_verify_compares_frames_with_engines_and_float(reset, tmp_path):
    report = verify(
        NETWORK, MODEL, MOVING, steps=8, engines=["reference"], reset=reset,
        tolerances=Tolerances(3.0, 1.0),
    )  # fmt: skip
    assert report.float_result is not None
    assert abs(report.float_result.mse.value) < 1
    by_float, by_integer = report.float_result.by_float, report.float_result.by_integer
    ratio = by_integer.final()["mse"] / by_float.final()["mse"]
    # The distance is over all seeds, as the figures are.
    assert report.float_result.mse.value == pytest.approx(100 * (ratio - 1))
    found = report.to_dict()
    assert (found["frames"], found["reset"]) == (FRAMES, reset)
    assert len(found["float_against_integer"]["float_by_frame"]["mse"]) == FRAMES
    assert report.traces.counts_float.shape[1] == (8 if reset else 24)
    assert np.array_equal(report.traces.inputs, MOVING[:8, -1].reshape(8, -1))
    if find_spec("matplotlib") and find_spec("jinja2"):
        report.to_html(tmp_path / "r.html")
        assert f"sequences of {FRAMES} frames" in (tmp_path / "r.html").read_text("utf-8")


@pytest.mark.parametrize("reset", [False, True])
def test_a_difference_names_its_frame(reset):
    class Late(WeightOffByOne):
        """Wrong from the third frame on."""

        name = "late"

        def run_block(self, block):
            right = ReferenceEngine.run_block(self, block)
            first = HOLD * 2 - block.first_step if block.first_step == 0 else 0
            if block.first_step < 2 * (HOLD + 1) and block.frames == 1:
                return right
            right.variables["latents.z"][:, first] += 1
            return right

    report = verify(
        NETWORK, None, MOVING[:2], steps=HOLD, engines=[ReferenceEngine(), Late()], reset=reset
    )
    assert not report.passed
    assert "differs first in iteration 1 on frame 3" in report.failures[0]
    assert report.pairs[0].first_divergence.to_dict()["frame"] == 3


def test_an_engine_without_frames_runs_them_with_reset():
    class Still(ReferenceEngine):
        name, has_frames = "still", False

    network = toy.lateral()
    with pytest.raises(EngineError, match="does not run frames that change in time"):
        Still().run(network, shown(network), 2)
    assert Still().run(network, shown(network), 2, reset=True).frames == FRAMES


def test_wrong_frames_are_named():
    network = toy.lateral()
    for call in (ReferenceEngine().run, evaluate):
        with pytest.raises(InputError, match=r"frames are \[N, F, 20\] or \[N, F, 4, 5\]"):
            call(network, np.zeros((2, 3, 19)), steps=2)
        with pytest.raises(InputError, match="at least one frame"):
            call(network, np.zeros((2, 0, 20)), steps=2)
        with pytest.raises(InputError, match=r"values in \[0, 1\]"):
            call(network, np.full((2, 3, 20), 2.0), steps=2)


# --------------------------------------------------------------------------------- from files


def test_arrays_of_frames_by_the_shape_of_the_model(tmp_path):
    declared = NETWORK.input  # 30 pixels, 6 x 5
    arrays = {
        (4, 3, 30): (4, 3), (4, 3, 6, 5): (4, 3), (4, 3, 1, 6, 5): (4, 3), (7, 30): (1, 7),
        (7, 6, 5): (1, 7), (7, 1, 6, 5): (7, 1),
    }  # fmt: skip
    for shape, (count, frames) in arrays.items():
        values = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
        np.save(tmp_path / "x.npy", values)
        read = load_frames(tmp_path / "x.npy", declared)
        assert (read.count, read.frames) == (count, frames), shape
        assert np.array_equal(read.images.pixels, values.reshape(-1, 30).astype(np.float32))
        assert read.take(1).count == 1
    for shape in ((4, 3, 29), (30,), (4, 3, 5, 6), (2, 2, 2, 6, 5), (0, 30)):
        np.save(tmp_path / "x.npy", np.zeros(shape))
        with pytest.raises(InputError, match=r"x\.npy: .*\[N, F, 30\] or \[N, F, 6, 5\]"):
            load_frames(tmp_path / "x.npy", declared)
    np.save(tmp_path / "x.npy", np.zeros((6, 5, 9)))
    assert load_frames(tmp_path / "x.npy", declared, layout="HWN").frames == 9
    with pytest.raises(InputError, match=r"one sequence .* in the layout 'NHW', got \[6, 5, 9\]"):
        load_frames(tmp_path / "x.npy", declared, layout="NHW")


def test_a_folder_of_pictures_is_one_sequence_in_natural_order(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for number in (10, 9, 1, 2):
        picture = np.full((6, 5), 20 * number, np.uint8)
        image.fromarray(picture).save(tmp_path / f"frame_{number}.png")
    read = load_frames(tmp_path, NETWORK.input)
    assert (read.count, read.frames) == (1, 4)
    shades = (read.images.pixels[:, 0] * 255 / 20).round().astype(int)
    assert shades.tolist() == [1, 2, 9, 10]
    (tmp_path / "more").mkdir()
    image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "more" / "a.png")
    with pytest.raises(InputError, match="pictures in 2 folders"):
        load_frames(tmp_path, NETWORK.input)
    with pytest.raises(InputError, match="got the data set 'mnist'"):
        load_frames("mnist", NETWORK.input)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from pvae_neuro.artifact import save_artifact
    from pvae_neuro.saved.model_file import save_model

    folder = tmp_path_factory.mktemp("frames")
    save_artifact(NETWORK, DIGITS[:2], folder / "m.onnx")
    save_model(MODEL, folder / "m.safetensors")
    np.save(folder / "f.npy", MOVING)
    return folder


def test_the_command_line_runs_frames(files, capsys):
    network = files / "m.onnx"
    for reset in (False, True):
        code, out, err = run_cli(
            capsys, "run", network, "-i", files / "f.npy", "--hold", "20", "-n", "4",
            "-e", "reference", "-o", files / "o.npz", "--json", "-", *["--reset"] * reset,
        )  # fmt: skip
        assert code == 0
        state = "starts anew at each" if reset else "carries over"
        assert "4 sequences of 3 frames of 30 pixels, each held for 20 iterations" in err
        assert state in err
        expected = ReferenceEngine().run(
            NETWORK, MOVING[:4], 20, record=["latents.z", "latents.u"], reset=reset
        )
        with np.load(files / "o.npz") as found:
            assert np.array_equal(found["settling"], expected.settling)
            assert np.array_equal(found["spikes"], expected.frame_spikes)
            errors = expected.squared_error.reshape(4, 3, 20) * expected.error_unit
            assert np.array_equal(found["error"], errors)
            counts = expected.held.without_finals(expected["latents.z"])
            assert found["counts"].shape == (4, 60, 24)
            assert np.array_equal(found["counts"], counts)
        told = json.loads(out)
        assert told["by_frame"]["spikes"] == expected.frame_spikes.mean(axis=0).tolist()
        assert told["mse"] == pytest.approx(expected.frame_mse.mean())


def test_the_command_line_evaluates_and_verifies_frames(files, capsys):
    network, model = files / "m.onnx", files / "m.safetensors"
    frames = ("-i", files / "f.npy", "--hold", "8")
    code, out, _ = run_cli(capsys, "evaluate", network, *frames, "-e", "reference")
    assert code == 0
    assert "24 sequences of 3 frames" in out
    assert "iterations to settle" in out
    code, out, _ = run_cli(capsys, "evaluate", model, *frames, "--reset", "--json", "-")
    assert code == 0
    assert len(json.loads(out)["by_frame"]["mse"]) == FRAMES
    code, out, _ = run_cli(
        capsys, "verify", network, "-m", model, *frames, "-e", "reference", "--json", "-"
    )
    report = json.loads(out)
    assert (report["frames"], report["steps"]) == (FRAMES, 8)
    assert len(report["by_frame"]["settling"]) == FRAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hold", "0"), "--hold: expected at least 1 iteration on each frame, got 0"),
        (("--hold", "4", "--steps", "4"), "--steps, --hold: expected one of them"),
        (("--reset",), "--reset: expected frames, and --hold"),
        (("-i", "flat.npy"), "24 sequences of 3 frames of the model's size, which change in time"),
        (("--hold", "4", "-i", "wrong.npy"), "wrong.npy: expected frames of the model's size"),
        (("--hold", "4", "-i", "mnist"), "got the data set 'mnist'"),
        (("--hold", "4", "--samples", "0"), "--samples"),
        (("--hold", "4", "--key", "x"), "key: only .npz and .mat files have arrays with names"),
        (("--hold", "4", "--split", "half"), "split: expected one of train, test, all"),
        (("--hold", "4", "-i", ".", "--layout", "HWN"), "layout: only arrays may be in another"),
        (("--hold", "4", "-i", ".", "--split", "train"), "split: expected none, as all pictures"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "evaluate", "verify"])
def test_one_clear_error_each(verb, options, message, files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    np.save("flat.npy", MOVING.reshape(24, 3, 30))
    np.save("wrong.npy", MOVING.reshape(24, 3, 30)[:, :, :29])
    given = () if "-i" in options else ("-i", "f.npy")
    output = ("-o", "never.npz") if verb == "run" else ()
    code, _, err = run_cli(capsys, verb, "m.onnx", *given, *output, *options)
    assert code == 2
    assert message in err
    assert err.strip().count("\n") == 0
    assert not Path("never.npz").exists()


def test_the_page(tmp_path, monkeypatch, capsys):
    """The examples of docs/frames.md; the graph of the file gives the frames' integers."""
    pytest.importorskip("onnxruntime", reason="runs the graph in ONNX Runtime")
    pytest.importorskip("llvmlite", reason="runs the engine fast")
    import pvae_neuro as pn
    from pvae_neuro.artifact import save_artifact

    digits, _ = pn.sample_digits()
    network = pn.quantize(pn.load_model("mnist"), digits, QuantizeConfig(topology="lateral"))
    save_artifact(network, digits[:2], tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    names = run_page("frames.md")
    frames, hold = names["frames"], names["hold"]
    found = ReferenceEngine().run(network, frames, hold, 0, record=["latents.z"])
    for number, decoded in enumerate(names["decoded"]):
        counts = found["latents.z"][:, (number + 1) * hold].astype(np.float64)
        weight = network.readout.weight.astype(np.float64) * 2.0**-network.readout.frac_bits
        assert np.array_equal(decoded, counts @ weight.T)
    assert len(capsys.readouterr().out.splitlines()) >= 3
