"""The parity report as one self-contained HTML page: figures, tables, certificate, scales."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.exporters.certify import Certificate
from pvae_neuro.network import IntegerNetwork, Population
from pvae_neuro.plots import parity as plots
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.optional import require
from pvae_neuro.verification.traces import Traces
from pvae_neuro.verification.verify import ParityReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "report.html"
TRACED_NEURONS = 8
DOTS_PER_INCH = 170


@dataclass(frozen=True, eq=False)
class ReportPart:
    """One artifact on the page.

    Attributes
    ----------
    report : ParityReport
        What was checked.
    network : IntegerNetwork
        What was run.
    certificate : Certificate or None
        What was proved at export.
    sha256 : str
        Of the artifact; empty where there is no file.
    title : str
        Heading; the circuit's name where empty.
    """

    report: ParityReport
    network: IntegerNetwork
    certificate: Certificate | None = None
    sha256: str = ""
    title: str = ""


def write_report(
    path: str | os.PathLike[str],
    parts: ReportPart | Sequence[ReportPart],
    *,
    title: str = "Parity report",
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        The ``.html`` file.
    parts : ReportPart or sequence of ReportPart
        One per artifact.
    title : str
        Heading of the page.

    Raises
    ------
    MissingDependencyError
        If jinja2 or matplotlib is not installed.
    InputError
        If the file cannot be written.
    """
    page = render_report([parts] if isinstance(parts, ReportPart) else parts, title=title)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def require_report() -> None:
    """Raise :class:`MissingDependencyError` where a dependency of the page is missing."""
    plots.require_matplotlib()
    require("jinja2", "report", "the HTML report")


def render_report(parts: Sequence[ReportPart], *, title: str = "Parity report") -> str:
    """Return the page as text.

    Parameters
    ----------
    parts : sequence of ReportPart
    title : str

    Returns
    -------
    str
        HTML that refers to nothing outside itself.
    """
    require_report()
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    text = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(
        title=title,
        version=version("pvae-neuro"),
        passed=all(part.report.passed for part in parts),
        parts=[_view(part) for part in parts],
    )


def _view(part: ReportPart) -> dict[str, Any]:
    """What the template shows of one artifact."""
    report = part.report
    return {
        "title": part.title or f"{report.topology} topology",
        "result": report.to_dict(),
        "network": _network_rows(part.network),
        "choices": part.network.choices,
        "certificate": part.certificate,
        "sha256": part.sha256,
        "figures": [] if report.traces is None else _figures(report.traces),
    }


def _network_rows(network: IntegerNetwork) -> list[tuple[str, str, str]]:
    low, high = network.input.low, network.input.high
    rows = [
        (
            "input",
            f"{network.input.size} pixels",
            f"declared range [{low:g}, {high:g}], {network.input.frac_bits} fractional bits",
        )
    ]
    for p in network.populations:
        programs = ", ".join(program.name for program in p.programs) or "set by the host"
        rows.append((p.name, f"{p.size} neurons", programs))
    rows += [_sampler_row(network, population) for population in network.drawing]
    rows += [
        (
            c.name,
            f"{c.source}.{c.variable} → {c.target}.{c.received_as}, {c.kind}",
            f"{' × '.join(map(str, c.weight.shape))} weights, exponent {c.exponent:+d}"
            + ("" if c.shared is None else f", those of {c.shared.connection}"),
        )
        for c in network.connections
    ]
    return rows


def _sampler_row(network: IntegerNetwork, population: Population) -> tuple[str, str, str]:
    sampler = population.sampler
    log_rate = network.ranges.log_rates.get(population.name)
    if sampler is None or log_rate is None:
        return population.name, "random words", ""
    unit = 2.0**-sampler.frac_bits
    return (
        f"log-rate of {population.name}",
        f"{sampler.frac_bits} fractional bits",
        f"within [{log_rate.smallest * unit:.3g}, {log_rate.largest * unit:.3g}], counts up to "
        f"{sampler.max_count}, drawn by inversion",
    )


def _figures(traces: Traces) -> list[dict[str, str]]:
    """Title, explanation and picture of each figure."""
    return [
        {
            "title": "Inputs and reconstructions",
            "note": "One Poisson sample of the last state, float and integer under the same "
            "random words. Last row: difference of the two reconstructions.",
            "image": _png(_digits(traces)),
        },
        {
            "title": "Reconstruction error and sparsity by iteration",
            "note": "Squared error summed over pixels and share of silent neurons, mean over all "
            "samples.",
            "image": _png(_curves(traces)),
        },
        {
            "title": "Spikes of the first sample",
            "note": "Dot size shows the count; red circles mark counts that differ between float "
            "and integer.",
            "image": _png(_rasters(traces)),
        },
        {
            "title": "Membrane potentials of the first sample",
            "note": "Log-rate u after each update, of its most active neurons: float as a line, "
            "integers as dots.",
            "image": _png(_traces(traces)),
        },
    ]


def _digits(traces: Traces) -> Figure:
    shape = traces.image_shape
    reconstructions = traces.reconstruction_float, traces.reconstruction_integer
    rows = {
        "input": traces.inputs,
        "float": reconstructions[0],
        "integer": reconstructions[1],
        "|difference|": np.abs(reconstructions[0] - reconstructions[1]),
    }
    stacks = {name: plots.as_images(np.asarray(flat), shape) for name, flat in rows.items()}
    count, height, width = stacks["input"].shape[:3]
    inches = 9.2
    figure = _figure(inches, inches * 4 * height / (count * width) + 0.1)
    plots.image_grid(stacks, figure.subplots())
    return figure


def _curves(traces: Traces) -> Figure:
    figure = _figure(9.2, 2.9)
    left, right = figure.subplots(1, 2)
    plots.by_iteration(
        {"float": traces.mse_float, "integer": traces.mse_integer}, left, ylabel="squared error"
    )
    plots.by_iteration(
        {"float": traces.zeros_float, "integer": traces.zeros_integer}, right, ylabel="zeros"
    )
    return figure


def _rasters(traces: Traces) -> Figure:
    figure = _figure(9.2, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    by_float, by_integer = traces.counts_float[0], traces.counts_integer[0]
    plots.raster(by_float, left, color=plots.FLOAT_COLOR, title="float")
    plots.raster(by_integer, right, color=plots.INTEGER_COLOR, title="integer")
    right.set_ylabel("")
    plots.mark_differences(by_float, by_integer, right)
    return figure


def _traces(traces: Traces) -> Figure:
    figure = _figure(9.2, 3.9)
    activity = traces.counts_integer[0].sum(axis=0, dtype=np.int64)
    neurons = np.sort(np.argsort(activity, kind="stable")[::-1][:TRACED_NEURONS])
    columns = -(-len(neurons) // 2)
    axes = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False).ravel()
    by_float, by_integer = traces.potentials_float[0], traces.potentials_integer[0]
    for ax, neuron in zip(axes, neurons, strict=False):
        plots.traces(by_float[:, neuron], by_integer[:, neuron], ax, title=f"neuron {neuron}")
        ax.label_outer()
    for ax in axes[len(neurons) :]:
        ax.set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _figure(width: float, height: float) -> Figure:
    # Not through pyplot: a library must not start a display or keep figures open.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> str:
    """Return the figure as a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
