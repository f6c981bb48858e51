"""The parity report as one self-contained HTML page: figures, tables, certificate, scales."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvae_neuro.artifact import program_hash
from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork, Population
from pvae_neuro.plots.style import require_matplotlib
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.html import html_table
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.plain_text import printable
from pvae_neuro.utils.show import show
from pvae_neuro.verification.against_float import Distance
from pvae_neuro.verification.outcomes import (
    FAILED,
    PASSED,
    UNDECIDED,
    WITHIN_DECLARED,
)
from pvae_neuro.verification.provenance import Provenance, provenance
from pvae_neuro.verification.report_figures import report_figures

if TYPE_CHECKING:
    from pvae_neuro.verification.parity import ParityReport

TEMPLATE = "report.html"


@dataclass(frozen=True)
class Verdict:
    """What a report comes to, in words and as one of the colours good, warn, bad."""

    text: str
    state: str


OUTCOMES = {
    PASSED: Verdict("passed", "good"),
    WITHIN_DECLARED: Verdict("within what it declares, outside the tolerance", "warn"),
    UNDECIDED: Verdict("undecided", "warn"),
    FAILED: Verdict("FAILED", "bad"),
}
WARNED = Verdict("passed, with warnings", "warn")
SEVERITY = ("good", "warn", "bad")


@dataclass(frozen=True)
class Card:
    """One figure of a report.

    Attributes
    ----------
    what, value, note : str
        Name, figure, and what it is held to.
    state : str
        good, bad, or empty where nothing is judged.
    """

    what: str
    value: str
    note: str = ""
    state: str = ""


@checked
def write_report(
    path: str | os.PathLike[str],
    reports: ParityReport | Sequence[ParityReport],
    *,
    title: str = "Parity report",
    origin: Provenance | None = None,
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        The ``.html`` file.
    reports : ParityReport or sequence of ParityReport
        Several are compared at the top.
    title : str
        Heading of the page.
    origin : Provenance, optional
        Command, files and versions to show; the default has this moment's date and versions.

    Raises
    ------
    MissingDependencyError
        If jinja2 or matplotlib is not installed.
    InputError
        If the file cannot be written.
    """
    several = reports if isinstance(reports, Sequence) else [reports]
    # By what they have: their class imports this module, for its short form.
    if not several or not all(hasattr(report, "outcome") for report in several):
        raise InputError(f"write_report: expected one or more parity reports, got {show(reports)}")
    page = render_report(several, title=title, origin=origin)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def require_report() -> None:
    """Raise :class:`MissingDependencyError` where a dependency of the page is missing."""
    require_matplotlib()
    require("jinja2", "report", "the HTML report")


def render_report(
    reports: Sequence[ParityReport],
    *,
    title: str = "Parity report",
    origin: Provenance | None = None,
) -> str:
    """Return the page as text: HTML that refers to nothing outside itself.

    Parameters as for :func:`write_report`.
    """
    require_report()
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        # Names come from files: what would act on a terminal is written out.
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
    )
    text = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    engines = {name: None for report in reports for name in report.seconds}
    parts = [_view(report, f"{place}") for place, report in enumerate(reports)]
    return environment.from_string(text).render(
        title=title,
        verdict=max((verdict(r) for r in reports), key=lambda v: SEVERITY.index(v.state)),
        parts=parts,
        comparison=_comparison(parts) if len(parts) > 1 else [],
        hashes=_all_hashes(reports),
        origin=origin or provenance(engines),
    )


def report_fragment(report: ParityReport) -> str:
    """A short form for notebooks, without figures: it needs no further package."""
    shown = "samples" if report.frames == 1 else f"sequences of {report.frames} frames"
    caption = (
        f"{report.topology}: {report.samples} {shown}, {report.steps} iterations, seed "
        f"{report.seed}: {verdict(report).text}"
    )
    rows: list[tuple[object, ...]] = [(card.what, card.value, card.note) for card in cards(report)]
    rows += [("failure", line, "") for line in report.failures]
    rows += [("warning", line, "") for line in report.warnings]
    return html_table(caption, rows)


def verdict(report: ParityReport) -> Verdict:
    """What a report comes to; green only where it passed without a warning."""
    found = OUTCOMES[report.outcome]
    return WARNED if found.state == "good" and report.warnings else found


def cards(report: ParityReport) -> list[Card]:
    """The figures of a report, most important first."""
    return [*_engine_cards(report), *_float_cards(report), *_model_cards(report)]


def _engine_cards(report: ParityReport) -> Iterator[Card]:
    if report.pairs:
        differing = sum(pair.differing_integers for pair in report.pairs)
        compared = sum(pair.compared_integers for pair in report.pairs)
        passed = all(pair.passed for pair in report.pairs)
        yield Card(
            "differing integers between engines", f"{differing:,}", f"of {compared:,} compared",
            _state(passed),
        )  # fmt: skip
    if report.certificate.samplers:
        found, limit = report.total_variation, report.total_variation_limit
        yield Card(
            f"sampler: total variation from {report.certificate.law}", f"{found:.1e}",
            f"exact, over every rate; bound {limit:.0e}", _state(found <= limit),
        )  # fmt: skip


def _float_cards(report: ParityReport) -> Iterator[Card]:
    result = report.float_result
    if result is None:
        return
    for distance, what in (
        (result.mse, "squared error"),
        (result.zeros, "share of silent neurons"),
    ):
        yield Card(
            f"{what}, integer against float",
            _distance(distance),
            f"tolerance {distance.limit}",
            OUTCOMES[distance.outcome].state,
        )
    if result.agreement is not None:
        yield Card(
            "spike counts equal to float's", f"{100 * result.agreement:.2f} %",
            "not judged: trajectories part where one count differs",
        )  # fmt: skip


def _distance(distance: Distance) -> str:
    """A distance and its margin, to the digits that the margin has."""
    margin = distance.margin
    if not 0 < margin < math.inf:
        return f"{distance.value:+.3g} ± {margin:.2g}{distance.unit}"
    digits = max(0, 1 - math.floor(math.log10(margin)))
    # To round to no more than zero is to be zero, without a sign.
    return f"{round(distance.value, digits) + 0.0:+.{digits}f} ± {margin:.{digits}f}{distance.unit}"


def _model_cards(report: ParityReport) -> Iterator[Card]:
    """How well images are reconstructed after the last iteration: float, where it ran, integers."""
    if report.figures is None:
        return
    runs = (
        [report.figures]
        if report.float_result is None
        else [report.float_result.by_float, report.float_result.by_integer]
    )
    last = [figures.final() for figures in runs]
    poor = "bad" if report.explains_nothing else ""
    whose = "" if len(runs) == 1 else ", float → integer"
    for name, what, scale, unit, note, state in (
        ("mse", "squared error", 1, "", "of an image, summed over pixels", ""),
        ("r2", "R²", 1, "", "of each image about its own mean; 1 is perfect", ""),
        ("r2_mean_image", "R² about the mean image", 1, "", "0 explains nothing", poor),
        ("zeros", "silent neurons", 100, " %", "", ""),
        ("capped", "counts at the largest", 100, " %", "", ""),
    ):
        values = " → ".join(_number(scale * figures[name]) for figures in last)
        yield Card(what + whose, values + unit, note, state)
    if report.held is not None:
        yield Card("neurons at the clamp of u", f"{100 * report.held:.3g} %", "of the integers")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def _state(passed: bool) -> str:
    return "good" if passed else "bad"


def _comparison(parts: Sequence[dict[str, Any]]) -> list[tuple[str, list[Card]]]:
    """Rows of figures with a card of each part, for those that all parts have."""
    by_part = [{card.what: card for card in part["cards"]} for part in parts]
    return [
        (what, [found[what] for found in by_part])
        for what in by_part[0]
        if all(what in found for found in by_part)
    ]


def _view(report: ParityReport, salt: str) -> dict[str, Any]:
    """What the template shows of one report."""
    from markupsafe import Markup

    result, traces = report.float_result, report.traces
    groups = [] if result is None or traces is None else report_figures(result, traces, salt)
    return {
        "title": f"{report.topology} topology",
        "verdict": verdict(report),
        "report": report,
        "cards": cards(report),
        "network": _network_rows(report.network),
        "groups": [(g.title, g.note, [Markup(panel) for panel in g.panels]) for g in groups],
        "neurons": sum(population.size for population in report.network.populations),
        "weights": sum(connection.weight.size for connection in report.network.connections),
    }


def _all_hashes(reports: Sequence[ParityReport]) -> list[tuple[str, str]]:
    """Hashes by what they are of; what several reports share is there once."""
    networks: list[tuple[str, str]] = []
    given: list[tuple[str, str]] = []
    for report in reports:
        name, file = f"{report.topology} network", report.network.file_bytes
        networks.append((f"{name}, program_hash", program_hash(report.network)))
        if file is not None:
            networks.append((f"{name}, sha256 of its file", hashlib.sha256(file).hexdigest()))
        given += report.hashes.items()
    return list(dict.fromkeys(networks + given))


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
