"""The written listing: read back and run by a machine of narrow registers, with golden vectors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cli_tools import run_cli
from language_tools import small_network
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.exporters.listing import Passes
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network.sampler import cumulative, largest_potential, sample_counts
from pvae_neuro.saved.model_file import save_model
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.verification.search import trials
from pvae_neuro.verification.vectors import write_listing
from pvae_neuro.verification.words import read_listing, replay

SMALL = """\
network small
words 24 products 48


# The host: a pixel is rint(value * 2^frac_bits), rounded half to even.
input pixels 6 low 0.0 high 1.0 frac_bits 4
encode drive.x weight @drive.x shift 1 limit 100
"""
HIDDEN = """\
population hidden size 3
  variable a bits 9 initial @hidden.a.initial  # -200 .. 141
  constant bias @hidden.bias
  constant low -200
  constant high 200
  program hear
    t0 = add(sent, bias)                         9 bits
    t1 = max(t0, low)                            9 bits
    t2 = min(t1, high)                           9 bits
    a <- t2

connection forward dense cells.z -> hidden weights @forward
connection back dense hidden.a -> cells weights @forward transposed yes
connection given one_to_one drive.x -> hidden weights @given

iteration
  run cells.fire
  run hidden.hear
    receive sent exponent -2 from forward+given sum 11 bits, then 9 bits
  run cells.integrate
    receive feedback exponent 0 from back sum 14 bits, then 14 bits

final
  run cells.fire

# The host reads cells.z.
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small network and the folder of its listing."""
    network = small_network()
    inputs = np.random.default_rng(0).random((2, network.input.size))
    return network, inputs, write_listing(network, tmp_path_factory.mktemp("small"), inputs)


def trajectories(machine, network, inputs, iterations, seed=0, first=0):
    samples = range(first, first + len(inputs))
    words = {
        p.name: population_noise(p, seed, range(iterations + 1), samples) for p in network.drawing
    }
    states = list(machine.run(len(inputs), machine.encode(inputs), words, iterations))
    return {name: np.stack([s[name] for s in states], axis=1) for name in network.variables}


def assert_equals_reference(machine, network, inputs, iterations, seed=0, first=0):
    expected = get_engine("reference").run(
        network, inputs, iterations, seed, record="full", first_sample=first, progress=False
    )
    for name, values in trajectories(machine, network, inputs, iterations, seed, first).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.mark.parametrize(("most", "bits"), [(63, 14), (15, 8), (1, 4), (127, 14), (255, 12)])
def test_passes_draw_the_counts_of_the_sampler(most, bits):
    high = largest_potential(most, bits)
    u = np.random.default_rng(0).integers(-16 << bits, high + 1, 60)
    u = np.append(u, [-16 << bits, high])
    # The words on both sides of every count.
    word = cumulative(u, most, bits).astype(np.int64)[:, :, None] + [-1, 0]
    word = np.clip(word, 0, 65535).reshape(len(u), -1)
    u = np.broadcast_to(u[:, None], word.shape)
    np.testing.assert_array_equal(
        Passes(most, bits).draw(u, word), sample_counts(u, word, most, bits)
    )


def test_one_pass_at_a_time_takes_at_most_one_more_than_the_largest_count():
    states = list(Passes(15, 8).states(np.array([520, 500, -900]), np.array([65535, 0, 65535])))
    assert len(states) == 1 + 16
    assert [list(s["done"]).count(1) for s in (states[1], states[-1])] == [1, 3]
    # A neuron keeps its count while others go on.
    assert {int(s["z"][1]) for s in states[1:]} == {0}


def test_registers_of_the_sampler_have_24_bits_and_products_48():
    high = largest_potential(63, 14)
    widths = Passes(63, 14).widths(high - 20_000, high)
    for program in widths.values():
        for name, ends in program.items():
            assert ends.bits <= (48 if name.endswith("*") else 24), name


def test_listing_as_it_stands(small):
    _, _, folder = small
    text = (folder / "listing.txt").read_text("utf-8")
    assert text.startswith("listing 1\n#")
    assert SMALL in text and HIDDEN in text
    arrays = (folder / "arrays.txt").read_text("utf-8")
    assert "array given 3\n1 1 1\narray" in arrays + "array"
    assert sorted(p.name for p in folder.iterdir()) == [
        "arrays.txt", "listing.txt", "vectors.json",
    ]  # fmt: skip


def test_machine_equals_reference(small):
    network, inputs, folder = small
    assert_equals_reference(read_listing(folder), network, inputs, 12)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_machine_equals_reference_on_models(topology, tmp_path):
    model = random_model()
    images = random_images(model, 70)
    network = quantize(model, images, QuantizeConfig(topology))
    folder = write_listing(network, tmp_path / "new" / "folder", images)
    machine = read_listing(folder)
    assert_equals_reference(machine, network, images[:3], 16, seed=7, first=5)
    assert replay(machine, json.loads((folder / "vectors.json").read_text("utf-8"))) > 500


def test_machine_equals_reference_on_random_networks(tmp_path):
    for trial in trials(11, 10):
        if trial.inputs.ndim > 2:
            continue
        folder = write_listing(trial.network, tmp_path / "listing", trial.inputs)
        # Counts above 63 need registers of 26 bits, and sums are proved to have 24 once finished.
        machine = read_listing(folder, register_bits=26)
        assert_equals_reference(
            machine, trial.network, trial.inputs, trial.iterations, trial.noise_seed,
            trial.first_sample,
        )  # fmt: skip
        assert replay(machine, json.loads((folder / "vectors.json").read_text("utf-8"))) > 0


@pytest.mark.parametrize(
    ("line", "narrower", "where"),
    [
        ("= add(sent, bias) ", "9 bits>4 bits", r"hidden\.hear: t0 = add\(sent, bias\): "),
        ("receive sent ", "sum 11>sum 7", r"hidden\.hear: receive sent, sum: "),
        ("receive feedback ", "then 14>then 7", r"cells\.integrate: receive feedback: "),
        ("variable a bits", "bits 9>bits 4", r"hidden\.hear: a <- t2: "),
        ("variable x bits", "bits 24>bits 4", r"host, drive\.x: "),
        (
            "rate_log2_shift) ",
            "product 4\\d>product 30",
            r"counts_15_8\.begin: t\d+ = mul\(.*, product: ",
        ),
        ("coarse_shift)", "2\\d bits,>9 bits,", r"counts_15_8\.advance: t\d+ = mul\(.*\): "),
    ],
)
def test_a_width_that_is_too_narrow_is_named(small, tmp_path, line, narrower, where):
    network, inputs, folder = small
    changed = tmp_path / "narrow"
    write_listing(network, changed, inputs)
    lines = (folder / "listing.txt").read_text("utf-8").split("\n")
    old, new = narrower.split(">")
    row = next(k for k, text in enumerate(lines) if line in text)
    assert re.search(old, lines[row])
    lines[row] = re.sub(old, new, lines[row])
    (changed / "listing.txt").write_text("\n".join(lines), "utf-8")
    with pytest.raises(NetworkError, match=f"^{where}.* does not fit \\d+ bits$"):
        trajectories(read_listing(changed), network, inputs, 12)


def test_a_machine_that_is_too_narrow_refuses_the_listing(small):
    _, _, folder = small
    with pytest.raises(
        NetworkError, match=r"counts_15_8: @.*inverse: .* 24 bits, the machine has 11"
    ):
        read_listing(folder, register_bits=11)
    with pytest.raises(NetworkError, match=r"\.begin: t\d+ = mul.*product: .* the machine has 40"):
        read_listing(folder, product_bits=40)


def test_a_changed_operation_or_weight_is_found(small, tmp_path):
    network, inputs, folder = small
    vectors = json.loads((folder / "vectors.json").read_text("utf-8"))
    for file, old, new, where in (
        ("listing.txt", "min(t1, high)", "max(t1, high)", "hidden.hear: t2"),
        ("arrays.txt", "array given 3\n1 1 1", "array given 3\n1 1 2", "receive sent"),
        ("listing.txt", "constant exp2_2 1012684", "constant exp2_2 1012600", "after pass 0"),
    ):
        changed = tmp_path / "changed"
        write_listing(network, changed, inputs)
        text = (changed / file).read_text("utf-8")
        assert old in text
        (changed / file).write_text(text.replace(old, new), "utf-8")
        machine = read_listing(changed, register_bits=32, product_bits=64)
        with pytest.raises(NetworkError, match=re.escape(where)):
            replay(machine, vectors)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("listing 1", "listing 2"),
        ("iteration\n", "iterations\n"),
        ("t2 = min(t1, high)", "t2 = minimum(t1, high)"),
        ("t2 = min(t1, high)", "t2 = min(t1)"),
        ("@hidden.bias", "@bias"),
        ("from forward+given", "from forward+taken"),
        ("run hidden.hear", "run hidden.listen"),
        ("constant low -200", "constant low much"),
        ("network small", "network"),
        ("run hidden.hear", "run hidden.hear again"),
        ("forward dense cells.z", "forward dense cells.y"),
        ("forward dense cells.z", "forward dense hidden.a"),
        ("forward dense cells.z -> hidden", "forward dense cells.z -> drives"),
    ],
)
def test_a_line_that_says_nothing_is_named(small, tmp_path, old, new):
    _, _, folder = small
    text = (folder / "listing.txt").read_text("utf-8")
    assert old in text
    for name in ("arrays.txt", "listing.txt"):
        (tmp_path / name).write_text((folder / name).read_text("utf-8"), "utf-8")
    (tmp_path / "listing.txt").write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(InputError, match=r"listing\.txt, line \d+: expected a line of a listing"):
        read_listing(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("t2 = min(t1, high)", "t2 = min(t1, higher)", r"hidden\.hear: t2 reads 'higher'"),
        ("a <- t2", "a <- t3", r"hidden\.hear: a <- 't3'"),
        (
            "sampler counts_15_8 stream",
            "sampler none stream",
            r"fire: t0 reads 'sampler none'",
        ),
        ("inverse, unit_bits)", "inverses, unit_bits)", r"advance: t\d+ reads 'inverses'"),
        ("  program begin\n", "  program start\n", "counts_15_8: expected a program 'begin'"),
    ],
)
def test_a_name_that_nothing_gives_is_named(small, tmp_path, old, new, where):
    _, _, folder = small
    for name in ("arrays.txt", "listing.txt"):
        text = (folder / name).read_text("utf-8")
        assert old in text or name == "arrays.txt"
        (tmp_path / name).write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(InputError, match=where):
        read_listing(tmp_path)


@pytest.mark.parametrize("vectors", [{}, {"records": 1}, {"records": [{"run": "cells.fire"}]}])
def test_other_vectors_are_refused(small, vectors):
    with pytest.raises(InputError, match=r"^vectors: expected golden vectors of the network"):
        replay(read_listing(small[2]), vectors)


def test_other_folders_are_left_alone(small, tmp_path):
    network, inputs, _ = small
    with pytest.raises(InputError, match="expected a folder with listing"):
        read_listing(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'mine\.txt'"):
        write_listing(network, tmp_path, inputs)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_export_writes_a_listing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(sound_model(), "m.safetensors")
    np.save("x.npy", sound_images(20))
    export = ["export", "m.safetensors", "-o", "m.onnx", "--calibrate", "x.npy"]
    code, out, err = run_cli(capsys, *export, "--listing", "words", "--stability-steps", 20)
    assert code == 0, err
    assert "words: word operations" in out
    machine = read_listing("words")
    assert replay(machine, json.loads(Path("words/vectors.json").read_text("utf-8"))) > 500
    # An artifact gives the same words; its vectors are those of its own golden inputs.
    assert run_cli(capsys, "export", "m.onnx", "--listing", "again", "-q")[0] == 0
    for name in ("listing.txt", "arrays.txt"):
        assert Path("again", name).read_bytes() == Path("words", name).read_bytes()
    # The second time it is replaced; a folder with something else is refused before any work.
    assert run_cli(capsys, *export, "--listing", "words", "-q", "--stability-steps", 20)[0] == 0
    Path("words/mine").write_text("mine")
    Path("m.onnx").unlink()
    code, out, err = run_cli(capsys, *export, "--listing", "words")
    assert (code, out) == (2, "")
    assert "holds 'mine'" in err and err.count("\n") == 1
    assert not Path("m.onnx").exists()
