"""Claims of the papers: what was published, how it is tested here, and what the test says.

An experiment lists its claims, and its result gives figures by name. A claim has a :class:`Bar`,
which judges the figures of all seeds; the bars below cover most claims, and any function from
figures to a :class:`Finding` is one too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from statistics import fmean, stdev

from pvae_neuro.experiments.shared.budget import BUDGETS


class Verdict(Enum):
    """What a test says about a claim, from the best to the worst."""

    REPRODUCED = "reproduced"
    IN_ORDER = "reproduced in order"
    UNDECIDED = "not decided at this budget"
    NOT_REPRODUCED = "not reproduced"
    UNVERIFIABLE = "unverifiable"


Seeds = Sequence[Mapping[str, float | None]]
"""Figures by name, of each seed."""


@dataclass(frozen=True)
class Finding:
    """A verdict, and what we found in words."""

    verdict: Verdict
    ours: str

    measured: bool = True
    """Whether all figures were there."""


@dataclass(frozen=True)
class Bar:
    """What decides a claim."""

    text: str
    """The bar in words."""

    judge: Callable[[Seeds], Finding]
    """Raises ``LookupError`` with the name of a figure that is missing."""


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, or of this project."""

    key: str
    """Names the claim within its experiment."""

    paper: str
    """Page of ``docs/science/`` that lists it: a key of :data:`PAPERS`."""

    statement: str
    """The claim in a sentence."""

    published: str
    """The published value, and how it was read."""

    protocol: str
    """How it is tested here, and what differs from the paper."""

    bar: Bar

    decides_from: str = "quick"
    """The smallest budget at which a failure counts."""

    def judge(self, seeds: Seeds, budget: str) -> Finding:
        """Judge the figures of one or more seeds, found at a budget."""
        try:
            finding = self.bar.judge(seeds)
        except LookupError as absent:
            return Finding(Verdict.UNDECIDED, f"not measured: {absent.args[0]}", measured=False)
        early = BUDGETS.index(budget) < BUDGETS.index(self.decides_from)
        if early and finding.verdict is Verdict.NOT_REPRODUCED:
            return replace(finding, verdict=Verdict.UNDECIDED)
        return finding


PAPERS = {
    "ipvae": "The iterative Poisson VAE (arXiv:2410.19315)",
    "pvae": "The Poisson VAE (arXiv:2405.14473)",
    "metabolic": "Metabolic cost of the Poisson VAE (arXiv:2602.13421)",
    "generalized": "Generalized predictive coding (arXiv:2211.03481)",
    "beyond": "Beyond the papers",
}
"""Titles of the pages of ``docs/science/``."""


# Bars. Where there are several seeds, each but `holds` judges the mean over them.


def at_least(
    key: str,
    bar: float | str,
    *,
    factor: float = 1.0,
    slack: float = 0.0,
    within_error: bool = False,
    form: str = ".3g",
) -> Bar:
    """A figure is at least ``factor · bar - slack``; ``bar`` is a number or another figure.

    ``within_error`` lets it fall short by one standard error of the difference over seeds.
    """
    return _bounded(key, bar, factor, -slack, within_error, form, sign=1)


def at_most(
    key: str,
    bar: float | str,
    *,
    factor: float = 1.0,
    slack: float = 0.0,
    within_error: bool = False,
    form: str = ".3g",
) -> Bar:
    """A figure is at most ``factor · bar + slack``; see :func:`at_least`."""
    return _bounded(key, bar, factor, slack, within_error, form, sign=-1)


def _bounded(
    key: str,
    bar: float | str,
    factor: float,
    shift: float,
    within_error: bool,
    form: str,
    sign: int,
) -> Bar:
    text = f"{key} {'≥' if sign > 0 else '≤'} {'' if factor == 1 else f'{factor:g} × '}"
    text += bar if isinstance(bar, str) else f"{bar:g}"
    text += f" {'+' if shift > 0 else '−'} {abs(shift):g}" if shift else ""
    text += " within the standard error" if within_error else ""

    def judge(seeds: Seeds) -> Finding:
        found = _values(seeds, key)
        bounds = _values(seeds, bar) if isinstance(bar, str) else [bar] * len(found)
        gaps = [
            sign * (ours - factor * bound - shift)
            for ours, bound in zip(found, bounds, strict=True)
        ]
        error = stdev(gaps) / math.sqrt(len(gaps)) if within_error and len(gaps) > 1 else 0.0
        ours = spread_text(found, form)
        if isinstance(bar, str):
            ours += f" against {spread_text(bounds, form)}"
        return Finding(_verdict(fmean(gaps) + error >= 0), ours)

    return Bar(text, judge)


def within(key: str, value: float, tolerance: float, *, form: str = ".3g") -> Bar:
    """A figure differs from ``value`` by at most ``tolerance``."""

    def judge(seeds: Seeds) -> Finding:
        found = _values(seeds, key)
        near = abs(fmean(found) - value) <= tolerance
        return Finding(_verdict(near), spread_text(found, form))

    about = f"within {tolerance:g} of {value:{form}}" if tolerance else f"= {value:{form}}"
    return Bar(f"{key} {about}", judge)


def ordered(
    *keys: str, levels: Sequence[float] = (), tolerance: float = 0.2, form: str = ".3g"
) -> Bar:
    """Figures rise from the first to the last.

    With published ``levels`` the order alone is "reproduced in order"; it is "reproduced" where
    each figure also lies within a share ``tolerance`` of its level.
    """

    def judge(seeds: Seeds) -> Finding:
        found = {key: _values(seeds, key) for key in keys}
        means = [fmean(values) for values in found.values()]
        ours = ", ".join(spread_text(values, form) for values in found.values())
        if not all(low < high for low, high in pairwise(means)):
            return Finding(Verdict.NOT_REPRODUCED, ours)
        near = not levels or all(
            abs(mean - level) <= tolerance * abs(level)
            for mean, level in zip(means, levels, strict=True)
        )
        return Finding(Verdict.REPRODUCED if near else Verdict.IN_ORDER, ours)

    known = f" (published {', '.join(f'{level:g}' for level in levels)})" if levels else ""
    return Bar(" < ".join(keys) + known, judge)


def holds(key: str, text: str) -> Bar:
    """What ``text`` says holds in every seed: its figure ``key`` is 1, not 0."""

    def judge(seeds: Seeds) -> Finding:
        count = sum(value == 1 for value in _values(seeds, key))
        ours = "holds" if count else "fails"
        if len(seeds) > 1:
            ours = f"holds in {count} of {len(seeds)} seeds"
        return Finding(_verdict(count == len(seeds)), ours)

    return Bar(text, judge)


def all_of(*bars: Bar) -> Bar:
    """All of several bars; the worst verdict counts."""
    order = list(Verdict)

    def judge(seeds: Seeds) -> Finding:
        findings = [bar.judge(seeds) for bar in bars]
        worst = max(findings, key=lambda finding: order.index(finding.verdict))
        return Finding(worst.verdict, "; ".join(finding.ours for finding in findings))

    return Bar("; ".join(bar.text for bar in bars), judge)


def unverifiable(reason: str) -> Bar:
    """Nothing can decide the claim, for a reason."""
    return Bar("none", lambda _: Finding(Verdict.UNVERIFIABLE, reason))


def spread_text(values: Sequence[float], form: str = ".3g") -> str:
    """Mean over seeds, and the standard deviation where there are several."""
    text = format(fmean(values), form)
    return f"{text} ± {stdev(values):.2g}" if len(values) > 1 else text


def _values(seeds: Seeds, key: str) -> list[float]:
    found = [figures.get(key) for figures in seeds]
    values = [value for value in found if value is not None and math.isfinite(value)]
    if not values or len(values) < len(found):
        raise LookupError(key)
    return values


def _verdict(met: bool) -> Verdict:
    return Verdict.REPRODUCED if met else Verdict.NOT_REPRODUCED
