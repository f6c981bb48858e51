"""The HTML page and its short form: self-contained, complete, and honest about a failure."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from models import random_images, random_model

pytest.importorskip("matplotlib", reason="draws figures")
pytest.importorskip("jinja2", reason="writes the report page")

from faulty_engines import NoiseWordChanged

from pvae_neuro.artifact import program_hash
from pvae_neuro.errors import InputError, MissingDependencyError
from pvae_neuro.exporters.quantize import quantize
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification import against_float
from pvae_neuro.verification.integers import PairCheck
from pvae_neuro.verification.outcomes import FAILED, PASSED, UNDECIDED, WITHIN_DECLARED
from pvae_neuro.verification.provenance import content_hashes, provenance
from pvae_neuro.verification.report import (
    cards,
    render_report,
    report_fragment,
    verdict,
    write_report,
)
from pvae_neuro.verification.verify import verify

STEPS = 6
FIGURES = 16  # Two of pictures, six of curves, two of spikes, six of potentials.


class Twin(ReferenceEngine):
    name = "twin"


@pytest.fixture(scope="module")
def report():
    model = random_model()
    images = random_images(model, 10)
    with pytest.MonkeyPatch.context() as patch:
        # One seed: what the page shows does not depend on how many there are.
        patch.setattr(against_float, "MOST_SEEDS", 1)
        engines = [ReferenceEngine(), Twin()]
        return verify(quantize(model, images), model, images, steps=STEPS, engines=engines)


@pytest.fixture(scope="module")
def good(report):
    """The same without its figures, as if integers were at float, known to within nothing."""
    result = report.float_result
    exact = {
        name: replace(getattr(result, name), value=0.0, error=0.0) for name in ("mse", "zeros")
    }
    figures = replace(result.by_integer, r2_mean_image=np.full(STEPS, 0.9), capped=np.zeros(STEPS))
    result = replace(result, by_integer=figures, **exact)
    return replace(report, float_result=result, figures=figures, traces=None)


@pytest.fixture(scope="module")
def page(report):
    return render_report([report], title="A <title>")


class Tags(HTMLParser):
    """Start tags, with a check that each is closed."""

    EMPTY = frozenset({"meta", "img", "br", "link", "hr"})

    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_is_well_formed_and_refers_to_nothing_outside(page):
    tags = Tags(page)
    assert tags.open == []
    references = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", page)
    assert references and all(r.startswith(("data:image/png;base64,", "#")) for r in references)
    assert all(to.startswith("#") for to in re.findall(r"url\(([^)]*)\)", page))
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert not any(tag == "script" for tag, _ in tags.seen)
    assert "default-src 'none'" in page


def test_names_inside_figures_are_unique_and_all_there(page, report):
    for text in (page, render_report([report, report])):
        names = re.findall(r' id="([^"]*)"', text)
        assert len(names) == len(set(names))
        assert set(re.findall(r'(?:href="|url\()#([^")]*)', text)) == set(names)


def test_is_the_same_every_time(page, report):
    with_date = page.split("<td>date</td>")[0].split("</header>")[1]
    again = render_report([report], title="A <title>")
    assert with_date == again.split("<td>date</td>")[0].split("</header>")[1]


def test_figures_are_vectors_in_the_colours_of_the_page(page):
    assert page.count("<svg ") == FIGURES
    drawn = "".join(re.findall(r"<svg .*?</svg>", page, flags=re.S))
    colors = set(re.findall(r"(?:fill|stroke): ([^;\"]*)", drawn))
    assert colors <= {
        "none",
        *(f"var(--{name})" for name in ("ink", "guide", "float", "integer", "difference")),
    }
    assert "<text" in drawn and "font-family" not in drawn


def test_numbers_of_axes_are_written_whole():
    from matplotlib.figure import Figure

    from pvae_neuro.plots.svg import inline_svg

    figure = Figure(figsize=(3, 2))
    ax = figure.subplots()
    ax.plot([0.1234567], [0.1234567])
    ax.set_title("0.1234567 < 1 & 2")
    drawn = inline_svg(figure, "a & b", "salt")
    assert ">0.1234567 &lt; 1 &amp; 2<" in drawn
    assert 'aria-label="a &amp; b"' in drawn
    assert not re.search(r"<[^>]*\.\d\d\d", drawn)
    # Marks stay marks: as many dots as there are.
    ax.plot(np.arange(5), np.arange(5), "o")
    assert inline_svg(figure, "", "salt").count("<use ") - drawn.count("<use ") >= 5


def test_shows_every_table_scale_and_certified_range(page, report):
    for heading in (
        "Engine against engine",
        "Engines",
        "Network",
        "Certificate",
        "Chosen scales",
        "Where this comes from",
    ):
        assert heading in page
    for choice in report.network.choices:
        assert choice.name in page
    for row in report.certificate.widest():
        assert row.place in page and f"{row.high:,}" in page
    for population in report.network.populations:
        assert f"<td>{population.name}</td><td>{population.size} neurons</td>" in page
    assert "counts up to" in page
    assert "A &lt;title&gt;" in page
    assert f"u stays below {report.traces.largest_potential:.3g}" in page
    assert f"iterations 1 to {STEPS}" in page


def test_shows_what_was_measured(page, report):
    result = report.float_result
    explained = result.by_float.r2_mean_image[-1], result.by_integer.r2_mean_image[-1]
    assert "{:.4g} → {:.4g}".format(*explained) in page
    assert f"{result.mse.margin:.2g}" in page
    difference = report.traces.reconstruction_integer - report.traces.reconstruction_float
    assert f"±{np.abs(difference).max():.2g}" in page
    differing = np.count_nonzero(report.traces.counts_float[0] != report.traces.counts_integer[0])
    assert f"{differing:,} of" in page


def test_several_reports_are_compared_at_the_top(report, good):
    page = render_report([good, replace(report, traces=None)])
    table = page.split("Side by side</h2>")[1].split("</section>")[0]
    for card in cards(report):
        assert card.what.replace("'", "&#39;") in table
        assert card.value in table
    assert page.index("Side by side") < page.index('class="cards"')
    assert "Side by side" not in render_report([good])


def test_traces_show_spikes_with_the_potentials_that_they_are_drawn_of(report):
    recording = ReferenceEngine().run(
        report.network, report.traces.inputs, STEPS, report.seed, record="full"
    )
    unit = 2.0**-report.network.latents.sampler.frac_bits
    traces = report.traces
    # The last counts are those of the reconstruction.
    assert np.array_equal(traces.counts_integer[:, -1], recording.readout)
    assert np.array_equal(traces.counts_integer, recording["latents.z"][:, 1:])
    assert np.array_equal(traces.potentials_integer, recording["latents.u"][:, :-1] * unit)
    assert traces.potentials_integer.max() <= traces.largest_potential


# ------------------------------------------------------------------------------------- verdicts


def badge(page):
    return re.search(r'<span class="badge (\w+)">(.*?)</span>', page).groups()


def test_green_is_what_passed_without_a_warning(good):
    assert (good.outcome, good.warnings) == (PASSED, ())
    assert badge(render_report([good])) == ("good", "passed")


def test_a_warning_is_amber_and_at_the_top(good):
    silent = replace(good, figures=replace(good.figures, zeros=np.full(STEPS, 0.99)))
    assert silent.outcome == PASSED and len(silent.warnings) == 1
    page = render_report([silent])
    assert badge(page) == ("warn", "passed, with warnings")
    assert page.index(silent.warnings[0]) < page.index('class="cards"')


def far(report, error, declared=None):
    """The report with an MSE 5 % above float, known to within three of these errors."""
    result = report.float_result
    far = replace(result, mse=replace(result.mse, value=5.0, error=error))
    measurements = replace(report.network.measurements, mse_percent=declared, zeros_points=None)
    network = replace(report.network, measurements=measurements)
    return replace(report, float_result=far, network=network)


@pytest.mark.parametrize(
    ("error", "declared", "outcome", "state"),
    [
        (0.0, None, FAILED, "bad"),
        (0.0, 6.0, WITHIN_DECLARED, "warn"),
        (2.0, None, UNDECIDED, "warn"),
    ],
)
def test_nothing_else_is_green(good, error, declared, outcome, state):
    report = far(good, error, declared)
    assert report.outcome == outcome
    page = render_report([report])
    assert badge(page)[0] == state
    assert report.failures[0].replace("'", "&#39;") in page
    # Nor is a page of which another part passed.
    assert badge(render_report([good, report]))[0] == state


def test_what_explains_nothing_is_no_green_page(good):
    poor = replace(good, figures=replace(good.figures, r2_mean_image=np.full(STEPS, 0.01)))
    assert verdict(poor).state == "bad"
    assert "explains nothing" in render_report([poor])


def test_a_failure_is_named(report):
    model = random_model()
    images = random_images(model, 4)
    failed = verify(
        report.network, None, images, steps=STEPS, engines=[ReferenceEngine(), NoiseWordChanged()]
    )
    page = render_report([failed])
    assert badge(page) == ("bad", "FAILED")
    first = str(failed.pairs[0].first_divergence)
    assert first in page
    assert f"in iteration {failed.pairs[0].first_divergence.step + 1}" in first


# ----------------------------------------------------------------------------------- its edges


def test_without_a_float_model_the_tables_remain(report):
    images = random_images(random_model(), 2)
    alone = verify(report.network, None, images, steps=3, engines=[ReferenceEngine()])
    page = render_report([alone])
    assert "<svg" not in page
    assert "nothing to compare" in page
    assert "R² about the mean image" in page and "float → integer" not in page


def test_one_image_and_one_iteration_make_a_page(report):
    model = random_model()
    images = random_images(model, 1)
    single = verify(report.network, model, images, steps=1, engines=[ReferenceEngine()])
    page = render_report([single])
    assert page.count("<svg ") == FIGURES - 1
    assert badge(page)[0] != "good"
    assert "nan" not in page and "–" in page


def test_names_from_files_are_text(good, tmp_path):
    markup, control = "<script>alert(1)</script>", "\x1b[31m\u202e"
    choice = replace(good.network.choices[0], name=markup, why=markup)
    named = replace(good, network=replace(good.network, choices=(choice,)))
    # A network with control characters is refused; titles, commands and paths may have them.
    origin = provenance(command=control, files={"model": tmp_path / control})
    page = render_report([named], title=markup + control, origin=origin)
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4
    assert page.count("\\x1b[31m\\u202e") == 4
    failed = replace(good, pairs=(PairCheck(markup, control, 1, 1),))
    for text in (render_report([failed]), report_fragment(failed)):
        assert "<script" not in text and "\x1b" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; against \\x1b[31m" in text


def test_tells_where_it_comes_from(good, tmp_path):
    model = tmp_path / "a&b.bin"
    model.write_bytes(b"abc")
    origin = provenance(
        ["reference", "onnx"],
        command="pvae-neuro verify 'a&b.bin'",
        files={"model": model, "images": tmp_path},
    )
    page = render_report([good], origin=origin)
    assert "pvae-neuro verify &#39;a&amp;b.bin&#39;" in page
    # What `printf abc | sha256sum` prints.
    assert "sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" in page
    assert f"numpy {np.__version__}" in page and "onnxruntime" in page
    assert origin.date in page and origin.python in page and origin.machine in page
    assert [file["sha256"] == "" for file in origin.to_dict()["files"]] == [False, True]


def test_images_and_model_are_told_by_the_hash_of_their_values(report, good):
    model = random_model()
    images = random_images(model, 10)
    hashes = content_hashes(model, images)
    assert report.hashes == hashes == content_hashes(model, images.astype(np.float64))
    assert hashes["images, values as float32"] == sha256(images.tobytes()).hexdigest()
    page = render_report([good])
    assert all(value in page for value in hashes.values())
    # Several reports share them.
    both = render_report([good, good])
    assert all(both.count(value) == 1 for value in [*hashes.values(), program_hash(good.network)])
    other = random_model(seed=1)
    changed = content_hashes(other, images), content_hashes(model, images + 1)
    assert len({*hashes.values(), *(v for each in changed for v in each.values())}) == 4
    assert list(content_hashes(None, images)) == ["images, values as float32"]


def test_an_engine_of_somebody_else_has_no_version():
    assert set(provenance(["my engine"]).versions) == {"pvae-neuro", "numpy", "onnx"}


def test_is_written_whole_or_not_at_all(good, tmp_path):
    write_report(tmp_path / "r.html", good)
    assert (tmp_path / "r.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    with pytest.raises(InputError, match="folder"):
        write_report(tmp_path, good)


@pytest.mark.parametrize("reports", [[], "report", None, [3]])
def test_what_is_no_report_is_refused(reports, tmp_path):
    with pytest.raises(InputError, match="expected one or more parity reports"):
        write_report(tmp_path / "r.html", reports)
    assert not list(tmp_path.iterdir())


def test_a_missing_dependency_is_named(good, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"pvae-neuro\[report\]"):
        render_report([good])


def test_a_style_of_the_user_does_not_change_the_page(report, page):
    from matplotlib import style

    with style.context("dark_background"):
        again = render_report([report], title="A <title>")
    assert re.findall(r"<svg .*?</svg>", again, re.S) == re.findall(r"<svg .*?</svg>", page, re.S)


def test_the_short_form_needs_neither_jinja_nor_matplotlib(report, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fragment = report_fragment(report)
    tags = Tags(fragment)
    assert tags.open == []
    assert verdict(report).text in fragment
    for card in cards(report):
        assert card.value in fragment
    for line in report.failures:
        assert line in fragment


def test_the_guide_runs(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the guide compares the engine onnx")
    guide = (Path(__file__).parents[1] / "docs" / "report.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(against_float, "MOST_SEEDS", 1)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE):
        exec(compile(block, "report.md", "exec"), names)
    written = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert written.keys() == {"report.html", "both.html", "spikes.svg"}
    assert "Side by side" in written["both.html"] and "<svg" in written["spikes.svg"]
    assert names["report"].pairs[0].passed
