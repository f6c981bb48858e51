"""What must hold of an engine before a number from it is believed."""

from __future__ import annotations

import numpy as np
import pytest

from pvae_neuro.artifact import replay
from pvae_neuro.exporters.certify import examine
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.verification.draws import check_draws
from pvae_neuro.verification.integers import compare
from pvae_neuro.verification.verify import verify

SEEDS = (0, 1, 2)
# Engines that take too long with as many images as the distance from float needs.
INTEGERS_ALONE = ("loihi2",)


def run(engine, case, steps, seed, rows):
    first = range(len(case.images))[rows].start
    images = case.images[rows]
    return engine.run(case.network, images, steps, seed, record="full", first_sample=first)


def check_busy(network, recording):
    """Equality of silent networks would prove nothing: what is inferred moves in each sample.

    The other variables move too, or hang on the image alone, and differ between neurons; or they
    mark that something has begun, and are 0 nowhere.
    """
    for name, values in recording.variables.items():
        moved = np.ptp(values, axis=1).any(axis=1)
        if name != network.code and not moved.any():
            moved = np.ptp(values, axis=2).all(axis=1) | values.all(axis=(1, 2))
        assert moved.all(), f"{name}: in some sample it never moved"


@pytest.fixture
def injected(request):
    """Words of the definition: a generator of a chip's own gives other integers."""
    if request.config.getoption("--noise") != "injected":
        pytest.skip("the chip draws by its own generator")


@pytest.mark.usefixtures("injected")
@pytest.mark.parametrize("seed", SEEDS)
def test_every_integer_equals_the_definition(case, target, engine, rows, steps, seed, note):
    if target == "reference":
        pytest.skip("the reference engine is the definition")
    theirs, ours = run(engine, case, steps, seed, rows), case.definition(steps, seed)
    check_busy(case.network, ours)
    expected = {name: values[rows] for name, values in ours.variables.items()}
    found = compare(case.network, theirs.variables, expected)
    arrays = {
        name: {
            "compared": values.size,
            "differing": int(np.count_nonzero(theirs.variables[name] != values)),
        }
        for name, values in expected.items()
    }
    note(
        {"arrays": arrays},
        network=case.name,
        target=target,
        check=f"every integer, {len(case.images[rows])} images, seed {seed}",
        result=f"{found.differing:,} of {found.compared:,} differ",
    )
    assert found.compared > 0 and found.differing == 0, (
        f"{target} against reference: {found.differing} of {found.compared} integers differ; "
        f"{found.first}"
    )


@pytest.mark.usefixtures("injected")
def test_replays_the_golden_vector_of_the_file(case, target, engine, note):
    golden = case.artifact.golden
    difference = replay(case.network, golden, engine)
    note(
        network=case.name,
        target=target,
        check="golden vector",
        result="equal" if difference is None else "differs",
    )
    assert difference is None, f"{target} against the golden vector: {difference}"


@pytest.mark.usefixtures("injected")
def test_a_sample_does_not_depend_on_its_batch(case, target, engine, steps, note):
    if len(case.images) < 2:
        pytest.skip("needs two samples")
    steps = min(steps, 8)
    together = run(engine, case, steps, seed=0, rows=slice(0, 3))
    alone = run(engine, case, steps, seed=0, rows=slice(1, 2))
    equal = all(
        np.array_equal(alone[name][0], together[name][1]) for name in case.network.variables
    )
    note(
        network=case.name,
        target=target,
        check="alone as in a batch",
        result="equal" if equal else "differs",
    )
    assert equal, f"{target}: sample 1 run alone differs from sample 1 of a batch"


def test_integers_stay_near_float(case, target, engine, steps, note):
    if target in INTEGERS_ALONE:
        pytest.skip(f"{target} is held to the integers of the definition, which are near float")
    if case.model is None:
        pytest.skip("the float model is not known: give it with --float-model")
    if case.compared is None:
        pytest.skip("images that the model was made for are not known: give them with --images")
    # The engine computes the first seed; the fastest one adds further ones, and must agree with it.
    engines = [engine, fastest_engine(case.network)]
    report = verify(case.network, case.model, case.compared, steps=steps, engines=engines)
    result = report.float_result
    equal = "" if result.agreement is None else f", {100 * result.agreement:.1f} % equal"
    note(
        network=case.name,
        target=target,
        check=f"float, {result.samples} images, {result.seeds} seeds",
        result=f"{result.mse}{equal}",
    )
    assert report.passed, f"{report.outcome}: {'; '.join(report.failures)}"


def test_words_of_the_chip_are_uniform(case, target, engine, rows, steps, request, note):
    if request.config.getoption("--noise") == "injected":
        pytest.skip("words are those of the definition")
    for found in check_draws(case.network, run(engine, case, steps, 0, rows)):
        note(
            network=case.name,
            target=target,
            check=f"{found.population} draws, finds {found.detectable_variation:.1%} of variation",
            result=f"chi-square {found.chi_square:.1f} of {found.limit:.1f}",
        )
        assert found.passed, found


def test_the_samplers_are_poisson(case):
    samplers = examine(case.network).samplers
    if not samplers:
        pytest.skip("the network draws nothing")
    for sampler in samplers:
        assert sampler.total_variation <= sampler.limit, sampler
