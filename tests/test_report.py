"""The HTML page: self-contained, complete, and honest about a failure."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from models import random_images, random_model

pytest.importorskip("matplotlib", reason="draws figures")
pytest.importorskip("jinja2", reason="writes the report page")

from faulty_engines import NoiseWordChanged

from pvae_neuro.errors import InputError, MissingDependencyError
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.quantize import quantize
from pvae_neuro.plots import parity as plots
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.report import ReportPart, render_report, write_report
from pvae_neuro.verification.verify import verify


class Twin(ReferenceEngine):
    name = "twin"


@pytest.fixture(scope="module")
def part():
    model = random_model()
    images = random_images(model, 10)
    network = quantize(model, images)
    report = verify(network, model, images, steps=6, engines=[ReferenceEngine(), Twin()])
    return ReportPart(report, network, certify(network), "ab" * 32)


@pytest.fixture(scope="module")
def page(part):
    return render_report([part], title="A <title>")


class Tags(HTMLParser):
    """Start tags, with a check that each is closed."""

    EMPTY = frozenset({"meta", "img", "br", "link", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_is_well_formed_and_refers_to_nothing_outside(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", page)
    assert "http" not in page
    assert "@import" not in page
    assert not any(tag == "script" for tag, _ in tags.seen)


def test_shows_every_figure_table_scale_and_certified_range(page, part):
    assert page.count('src="data:image/png;base64,') == 4
    for heading in ("Engine against engine", "Engines", "Network", "Certificate", "Chosen scales"):
        assert heading in page
    for choice in part.network.choices:
        assert choice.name in page
    for row in part.certificate.widest():
        assert row.place in page and f"{row.high:,}" in page
    for population in part.network.populations:
        assert f"<td>{population.name}</td><td>{population.size} neurons</td>" in page
    assert "counts up to" in page
    assert "A &lt;title&gt;" in page
    assert "ab" * 32 in page


def test_a_failure_is_named(part):
    model = random_model()
    images = random_images(model, 4)
    report = verify(
        part.network, model, images, steps=6, engines=[ReferenceEngine(), NoiseWordChanged()]
    )
    page = render_report([replace(part, report=report)])
    assert "FAILED" in page
    assert report.failures()[0].split(";")[0] in page


def test_without_a_float_model_the_tables_remain(part):
    images = random_images(random_model(), 2)
    report = verify(part.network, None, images, steps=3, engines=[ReferenceEngine()])
    page = render_report([ReportPart(report, part.network)])
    assert "data:image" not in page
    assert "nothing to compare" in page


def test_is_written_whole_or_not_at_all(part, tmp_path):
    write_report(tmp_path / "r.html", part)
    assert (tmp_path / "r.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    with pytest.raises(InputError, match="is a folder"):
        write_report(tmp_path, part)


def test_a_missing_dependency_is_named(part, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"pvae-neuro\[report\]"):
        render_report([part])


def test_plots_draw_on_the_axes_they_are_given():
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    for draw in (
        lambda ax: plots.image_grid({"a": rng.random((3, 4, 5))}, ax),
        lambda ax: plots.raster(rng.poisson(0.3, (6, 9)), ax),
        lambda ax: plots.traces(rng.random(6), rng.random(6), ax),
        lambda ax: plots.by_iteration({"a": rng.random(6), "b": rng.random(6)}, ax),
    ):
        ax = Figure().subplots()
        assert draw(ax) is ax


def test_flat_inputs_get_an_image_shape():
    assert plots.as_images(np.zeros((2, 12)), None).shape == (2, 3, 4)
    assert plots.as_images(np.zeros((2, 12)), (2, 6)).shape == (2, 2, 6)
    with pytest.raises(InputError, match="does not hold"):
        plots.as_images(np.zeros((2, 12)), (5, 5))
