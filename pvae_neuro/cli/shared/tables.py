"""Tables that the verbs print."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pvae_neuro.cli.shared.support import plain_table
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.verification.outcomes import FAILED, PASSED, UNDECIDED

if TYPE_CHECKING:
    from rich.table import Table

    from pvae_neuro.bench.run import BenchResult
    from pvae_neuro.bench.timing import Measurement, Spread
    from pvae_neuro.evaluation.evaluate import Evaluation
    from pvae_neuro.evaluation.figures import Figures
    from pvae_neuro.evaluation.measures.measured import Measured
    from pvae_neuro.exporters.certify import Certificate
    from pvae_neuro.verification.against_float import FloatResult
    from pvae_neuro.verification.loss_by_hop import LossByHop
    from pvae_neuro.verification.parity import ParityReport


def parity_table(report: ParityReport, where: str = "") -> Table:
    """All three tiers of a parity report, a row each, and what the network explains."""
    result = report.float_result
    seeds = "" if result is None or result.seeds == 1 else f" and {result.seeds - 1} more"
    samples = shown_samples(report.samples, report.frames)
    title = (
        f"{report.topology}{where and ', '}{where}: {samples}, {report.steps} iterations, "
        f"seed {report.seed}{seeds}: {report.outcome}"
    )
    table = plain_table(title, "check", "result", "tolerance", "", right=(1, 2))
    for pair in report.pairs:
        count = f"{pair.differing_integers:,} of {pair.compared_integers:,} integers differ"
        _add(table, f"{pair.a} = {pair.b}", count, "0", _mark(pair.passed))
    for row in () if result is None else _float_rows(result):
        _add(table, *row)
    if report.certificate.samplers:
        variation, limit = report.total_variation, report.total_variation_limit
        name, found = f"sampler ≈ {report.certificate.law}", f"{variation:.1e} total variation"
        _add(table, name, found, f"{limit:.0e}", _mark(variation <= limit))
    if report.figures is not None:
        for row in _quality_rows(report.figures, None if result is None else result.by_float):
            _add(table, *row)
    return table


def shown_samples(samples: int, frames: int) -> str:
    """Samples, or sequences of frames, in words."""
    if frames == 1:
        return f"{samples} samples"
    return f"{samples} sequence{'s' * (samples != 1)} of {frames} frames"


def _float_rows(result: FloatResult) -> Iterable[tuple[str, str, str, str]]:
    mse, zeros = result.mse, result.zeros
    ours, theirs = result.by_integer.final(), result.by_float.final()
    yield (
        "float ≈ integer",
        f"MSE {theirs['mse']:.3f} → {ours['mse']:.3f}, {mse.value:+.2f} ± {mse.margin:.2f} %",
        mse.limit, _MARKS[mse.outcome],
    )  # fmt: skip
    yield (
        "", f"zeros {100 * theirs['zeros']:.2f} → {100 * ours['zeros']:.2f} %, "
        f"{zeros.value:+.2f} ± {zeros.margin:.2f} points",
        zeros.limit, _MARKS[zeros.outcome],
    )  # fmt: skip
    if result.agreement is not None:
        yield "", f"{100 * result.agreement:.2f} % of counts equal", "not judged", ""


def _quality_rows(
    figures: Figures, by_float: Figures | None
) -> Iterable[tuple[str, str, str, str]]:
    """What the integers explain, after that of float where it is known."""
    for name, title in (("r2", "R² within images"), ("r2_mean_image", "R² about the mean image")):
        shown = [each.final()[name] for each in (by_float, figures) if each is not None]
        yield title, " → ".join(decimal(value, 4) for value in shown), "", ""


def _add(table: Table, *cells: str) -> None:
    """Add a row of plain text: names and reasons come from files and may look like markup."""
    from rich.text import Text

    table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))


_MARKS = {PASSED: "passed", FAILED: "FAILED", UNDECIDED: "undecided"}
_STYLES = {"passed": "green", "FAILED": "bold red", "undecided": "yellow"}


def _mark(passed: bool) -> str:
    return _MARKS[PASSED if passed else FAILED]


def decimal(value: float, digits: int) -> str:
    """A number; a dash for one that is not defined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def engine_table(report: ParityReport) -> Table:
    """Wall time of each engine."""
    table = plain_table("engines", "engine", "seconds", "ms per sample and iteration", right=(1, 2))
    for name, seconds in report.seconds.items():
        each = 1000 * seconds / (report.samples * report.frames * report.steps)
        _add(table, name, f"{seconds:.2f}", f"{each:.3f}")
    return table


def network_table(network: IntegerNetwork) -> Table:
    """Input, populations with their variables, and connections."""
    table = plain_table(
        f"{network.name} network", "part", "size", "what", "bits or unit", right=(1,)
    )
    source = network.input
    where = f"[{source.low:g}, {source.high:g}]"
    _add(table, "input", f"{source.size}", where, f"2^{-source.frac_bits}")
    bounds = network.ranges.variables
    for p in network.populations:
        programs = ", ".join(program.name for program in p.programs) or "set by the host"
        if p.sampler is not None:
            programs += f"; draws counts to {p.sampler.max_count}"
        _add(table, p.name, f"{p.size}", programs, "")
        for v in p.variables:
            interval = bounds[f"{p.name}.{v.name}"]
            proved = f"in [{interval.smallest:,}, {interval.largest:,}]"
            _add(table, f"  {p.name}.{v.name}", "", proved, f"{interval.bits} of {v.bits} bits")
    for c in network.connections:
        size = " × ".join(str(side) for side in c.weight.shape)
        ends = f"{c.kind}, {c.source}.{c.variable} → {c.target}.{c.received_as}"
        if c.shared is not None:
            ends += f", weights of {c.shared.connection}"
        _add(table, c.name, size, ends, f"2^{c.exponent}")
    return table


def certificate_table(certificate: Certificate) -> Table:
    """The widest word of every program, connection, variable and host part."""
    table = plain_table(
        "certificate: worst case over every input and every random word",
        "where", "widest word", "lowest", "highest", "bits", right=(2, 3, 4),
    )  # fmt: skip
    for row in certificate.widest():
        bits = f"{row.bits} of {row.limit_bits}"
        _add(table, row.where, row.quantity, f"{row.low:,}", f"{row.high:,}", bits)
    return table


def choices_table(network: IntegerNetwork) -> Table:
    """Every scale that quantization chose, and why."""
    table = plain_table("chosen scales", "name", "value", "why", right=(1,))
    for choice in network.choices:
        _add(table, choice.name, f"{choice.value:.6g}", choice.why)
    return table


def loss_table(found: LossByHop) -> Table:
    """What each part of quantization costs, and how many values of a hop are at their limits."""
    table = plain_table(
        f"loss by hop: {found.samples} samples, {found.steps} iterations, seed {found.seed}",
        "rounded alone", "MSE", "± standard error", "values at their limit", right=(1, 2),
    )  # fmt: skip
    for loss in found.losses:
        at_limit = (s for s in found.saturations if s.variable in loss.sets)
        shown = "; ".join(f"{s.variable} {s.count:,} of {s.values:,}" for s in at_limit)
        _add(table, loss.part, f"{loss.mse_percent:+.2f} %", f"{loss.error:.2f} %", shown)
    return table


def evaluation_table(evaluation: Evaluation) -> Table:
    """Figures at powers of two and after the last iteration; of frames, on each."""
    samples = shown_samples(evaluation.samples, evaluation.frames)
    title = f"{evaluation.engine}: {samples}, seed {evaluation.seed}"
    if evaluation.frames > 1:
        return _frame_table(evaluation, title)
    table = plain_table(
        title, "iteration", "mse", "r2", "r2 about the mean image", "zeros %",
        right=(0, 1, 2, 3, 4),
    )  # fmt: skip
    marks = {1 << i for i in range(evaluation.steps.bit_length())} | {evaluation.steps}
    for step in sorted(mark for mark in marks if mark <= evaluation.steps):
        at = step - 1
        _add(
            table, f"{step}", f"{evaluation.mse[at]:.4f}", decimal(evaluation.r2[at], 4),
            decimal(evaluation.r2_mean_image[at], 4), f"{100 * evaluation.zeros[at]:.2f}",
        )  # fmt: skip
    return table


def measures_table(measured: Measured) -> Table:
    """Measures of the papers, by name."""
    title = f"{measured.samples:,} images after {measured.steps:,} iterations"
    if measured.fitted:
        title += f", classifiers fitted to {measured.fitted:,}"
    table = plain_table(title, "measure", "value", right=(1,))
    for name, value in measured.figures.items():
        _add(table, name.replace("_", " "), decimal(value, 4))
    return table


def _frame_table(evaluation: Evaluation, title: str) -> Table:
    """Figures after the last iteration on some twenty of the frames, and their means over all."""
    table = plain_table(
        title, "frame", "mse", "r2", "zeros %", "spikes", "iterations to settle",
        right=(0, 1, 2, 3, 4, 5),
    )  # fmt: skip
    by_frame, frames = evaluation.by_frame(), evaluation.frames
    every = -(-frames // _MOST_FRAMES)
    rows = [
        (f"{place + 1}", {name: values[place] for name, values in by_frame.items()})
        for place in sorted({*range(0, frames, every), frames - 1})
    ]
    means = {
        **evaluation.final(),
        "spikes": float(evaluation.spikes.mean()),
        "settling": float(evaluation.settling.mean()),
    }
    for frame, figures in (*rows, ("mean", means)):
        _add(
            table, frame, f"{figures['mse']:.4f}", decimal(figures["r2"], 4),
            f"{100 * figures['zeros']:.2f}", f"{figures['spikes']:.1f}",
            f"{figures['settling']:.1f}",
        )  # fmt: skip
    return table


_MOST_FRAMES = 20


def bench_table(result: BenchResult) -> Table:
    """Every measurement of a benchmark, a row each."""
    table = plain_table(
        f"µs per image and iteration; ratios: {result.baseline} over the contender",
        "case", "K", "batch", "active", "threads", "contender", "µs", "quartiles", "ratio",
        "quartiles", right=(1, 2, 3, 4, 6, 7, 8, 9),
    )  # fmt: skip
    for measured in result.cases:
        case = measured.case
        cells = (
            case.model or case.network.name,
            f"{case.latents}",
            f"{len(case.images)}",
            f"{100 * case.activity:.1f} %",
            f"{case.threads}",
        )
        for row, measurement in enumerate(measured.measurements):
            table.add_row(*(cells if row == 0 else [""] * len(cells)), *_bench_cells(measurement))
        table.add_section()
    return table


def _bench_cells(measurement: Measurement) -> tuple[str, ...]:
    cost, ratio = measurement.microseconds, measurement.ratio
    shown = ("", "") if ratio is None else (f"{number(ratio.median)} ×", _quartiles(ratio))
    return (measurement.engine, number(cost.median), _quartiles(cost), *shown)


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def _quartiles(spread: Spread) -> str:
    return f"{number(spread.q25)} to {number(spread.q75)}"
