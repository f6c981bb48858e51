"""Tables that the verbs print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pvae_neuro.cli.shared.support import plain_table
from pvae_neuro.network import IntegerNetwork

if TYPE_CHECKING:
    from rich.table import Table

    from pvae_neuro.evaluation.evaluate import Evaluation
    from pvae_neuro.exporters.certify import Certificate
    from pvae_neuro.verification.against_float import FloatResult
    from pvae_neuro.verification.verify import ParityReport


def parity_table(report: ParityReport) -> Table:
    """All three tiers of a parity report, a row each."""
    title = (
        f"{report.topology}: {report.samples} samples, {report.steps} iterations, "
        f"seed {report.seed}"
    )
    table = plain_table(title, "check", "result", "bound", "", right=(1, 2))
    for pair in report.pairs:
        count = f"{pair.differing_integers:,} of {pair.compared_integers:,} integers differ"
        _add(table, f"{pair.a} = {pair.b}", count, "0", _mark(pair.passed))
    if report.float_result is not None:
        for row in _float_rows(report.float_result):
            _add(table, *row)
    limit = report.to_dict()["sampler"]["limit"]
    variation = report.total_variation
    _add(table,
        "sampler ≈ Poisson", f"{variation:.1e} total variation", f"{limit:.0e}",
        _mark(variation <= limit),
    )  # fmt: skip
    return table


def _float_rows(result: FloatResult) -> Iterable[tuple[str, str, str, str]]:
    bounds = result.bounds
    mse = (
        f"MSE {result.mse_float[-1]:.3f} → {result.mse_integer[-1]:.3f}, "
        f"{result.mse_percent:+.2f} %"
    )
    zeros = (
        f"zeros {100 * result.zeros_float[-1]:.2f} → {100 * result.zeros_integer[-1]:.2f} %, "
        f"{result.zeros_points:+.2f} points"
    )
    agreement = f"{100 * result.agreement:.2f} % of counts equal"
    yield (
        "float ≈ integer", mse, f"±{bounds.mse_percent:.2f} %",
        _mark(abs(result.mse_percent) <= bounds.mse_percent),
    )  # fmt: skip
    yield (
        "", zeros, f"±{bounds.zeros_points:.2f} points",
        _mark(abs(result.zeros_points) <= bounds.zeros_points),
    )  # fmt: skip
    yield (
        "", agreement, f"≥{100 * bounds.agreement:.2f} %",
        _mark(result.agreement >= bounds.agreement),
    )  # fmt: skip


def _add(table: Table, *cells: str) -> None:
    """Add a row of plain text: names and reasons come from files and may look like markup."""
    from rich.text import Text

    styles = {"passed": "green", "FAILED": "bold red"}
    table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in cells))


def _mark(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def engine_table(report: ParityReport) -> Table:
    """Wall time of each engine."""
    table = plain_table("engines", "engine", "seconds", "ms per sample and iteration", right=(1, 2))
    for name, seconds in report.seconds.items():
        each = 1000 * seconds / (report.samples * report.steps)
        _add(table, name, f"{seconds:.2f}", f"{each:.3f}")
    return table


def network_table(network: IntegerNetwork) -> Table:
    """Populations and connections, with their widths."""
    table = plain_table(
        f"{network.topology} network", "part", "shape", "width", "scale", right=(1,)
    )
    source = network.input
    _add(
        table,
        "input",
        f"{source.pixels}",
        f"[{source.low:g}, {source.high:g}]",
        f"2^{-source.frac_bits}",
    )
    latents = network.latents
    for p in network.populations:
        if p is latents:
            low, high = latents.u_min, latents.u_max
            unit = 2.0**latents.frac_bits
            width = (
                f"u in [{low / unit:.2f}, {high / unit:.2f}], counts to {latents.table.max_count}"
            )
            _add(table, p.name, f"{p.size}", width, f"2^{-latents.frac_bits}")
        else:
            _add(table, p.name, f"{p.size}", "graded spikes", "")
    for c in network.connections:
        rows, columns = c.weight.shape
        place = f"{c.name}: {c.source} → {c.target}"
        _add(table, place, f"{rows} × {columns}", f"{c.bits}-bit weights", f"2^{c.exponent}")
    return table


def certificate_table(certificate: Certificate) -> Table:
    """Worst-case range of every accumulator and state."""
    table = plain_table(
        "certificate: worst case over every input and every noise word",
        "where", "quantity", "lowest", "highest", "bits", right=(2, 3, 4),
    )  # fmt: skip
    for row in certificate.rows:
        bits = f"{row.bits} of {row.limit_bits}"
        _add(table, row.where, row.quantity, f"{row.low:,}", f"{row.high:,}", bits)
    return table


def choices_table(network: IntegerNetwork) -> Table:
    """Every scale that quantization chose, and why."""
    table = plain_table("chosen scales", "name", "value", "why", right=(1,))
    for choice in network.choices:
        _add(table, choice.name, f"{choice.value:.6g}", choice.why)
    return table


def evaluation_table(evaluation: Evaluation) -> Table:
    """Figures at powers of two and after the last iteration."""
    title = f"{evaluation.engine}: {evaluation.samples} samples, seed {evaluation.seed}"
    table = plain_table(title, "iteration", "mse", "r2", "zeros %", right=(0, 1, 2, 3))
    marks = {1 << i for i in range(evaluation.steps.bit_length())} | {evaluation.steps}
    for step in sorted(mark for mark in marks if mark <= evaluation.steps):
        row = evaluation.mse[step - 1], evaluation.r2[step - 1], 100 * evaluation.zeros[step - 1]
        _add(table, f"{step}", f"{row[0]:.4f}", f"{row[1]:.4f}", f"{row[2]:.2f}")
    return table
