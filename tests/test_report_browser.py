"""The report as a browser shows it: nothing cut, nothing asked for, figures drawn and legible."""

from __future__ import annotations

import re

import pytest
from chromium import Browser
from faulty_engines import NoiseWordChanged
from models import random_images, random_model

pytest.importorskip("matplotlib", reason="draws figures")
pytest.importorskip("jinja2", reason="writes the report page")

from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification import against_float
from pvae_neuro.verification.provenance import provenance
from pvae_neuro.verification.report import write_report
from pvae_neuro.verification.verify import verify

WIDTHS = (1280, 390)
# Pixels; what a browser's smallest text is by default.
SMALLEST_TEXT = 10
# Of texts and their background, by WCAG 2.
LEAST_CONTRAST = 4.5
LONG = "a_name_without_any_place_to_break_it_" * 4

MEASURE = (
    """(([smallest, contrast]) => {
  const found = [], say = (what, element) => found.push(
    `${what}: <${element.tagName.toLowerCase()} class="${element.getAttribute('class') ?? ''}"> ` +
    (element.textContent ?? '').trim().slice(0, 40));
  const shown = element => element.getClientRects().length > 0;
  const color = text => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const c = color(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const readable = (element, ink) => {
    const [a, b] = [light(color(ink)), light(ground(element))];
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < contrast) say('contrast', element);
  };

  for (const e of document.querySelectorAll('body, body *:not(svg):not(svg *)')) {
    if (!shown(e)) continue;
    const style = getComputedStyle(e);
    if (style.display !== 'inline' && !e.matches('.scroll') && e.scrollWidth > e.clientWidth + 1)
      say('cut', e);
    if (!e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1)
      say('outside', e);
    if ([...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) {
      if (parseFloat(style.fontSize) < smallest) say('small', e);
      readable(e, style.color);
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) say('wide', document.documentElement);

  let scrolling = 0;
  for (const e of document.querySelectorAll('.scroll')) {
    if (e.scrollWidth <= e.clientWidth + 1) continue;
    scrolling += 1;
    if (!getComputedStyle(e).backgroundImage.includes('radial-gradient')) say('no shadow', e);
    if (e.tabIndex !== 0 || !e.getAttribute('aria-label')) say('no keyboard', e);
  }

  const figures = document.querySelectorAll('svg');
  for (const svg of figures) {
    const box = svg.getBoundingClientRect();
    const marks = [...svg.querySelectorAll('path, use, image')].filter(mark => {
      const b = mark.getBoundingClientRect();
      return !mark.closest('defs, clipPath') && b.width + b.height > 0 &&
        !(getComputedStyle(mark).fill === 'none' && getComputedStyle(mark).stroke === 'none' &&
          mark.tagName !== 'image');
    });
    if (box.width < 200 || box.height < 50 || marks.length < 2) say('not drawn', svg);
    const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim());
    const boxes = texts.map(t => t.getBoundingClientRect());
    texts.forEach((t, i) => {
      const b = boxes[i];
      const size = parseFloat(getComputedStyle(t).fontSize) * box.width / svg.viewBox.baseVal.width;
      if (size < smallest) say(`small (${size} px)`, t);
      if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 ||
          b.bottom > box.bottom + 1) say('outside its figure', t);
      readable(t, getComputedStyle(t).fill);
      // Boxes of letters have room above and below.
      boxes.slice(i + 1).forEach(o => {
        const across = Math.min(b.right, o.right) - Math.max(b.left, o.left);
        const down = Math.min(b.bottom, o.bottom) - Math.max(b.top, o.top);
        if (across > 1 && down > 0.3 * Math.min(b.height, o.height)) say('overlaps', t);
      });
    });
    for (const image of svg.querySelectorAll('image'))
      if (!image.getAttribute('xlink:href').startsWith('data:image/png')) say('no picture', image);
  }
  return {found, figures: figures.length, scrolling};
})("""
    + f"[{SMALLEST_TEXT}, {LEAST_CONTRAST}])"
)


class Twin(ReferenceEngine):
    name = "twin"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with all that one can hold: the shipped model; failures; long names."""
    from pvae_neuro.zoo import load_pretrained, sample_digits

    reports = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(against_float, "MOST_SEEDS", 1)
        for topology, model, images, other in (
            ("lateral", load_pretrained(), sample_digits()[0], Twin()),
            ("predictive", random_model(), random_images(random_model(), 10), NoiseWordChanged()),
        ):
            network = quantize(model, images, QuantizeConfig(topology=topology))
            reports.append(
                verify(network, model, images[:8], steps=12, engines=[ReferenceEngine(), other])
            )
    folder = tmp_path_factory.mktemp("report")
    origin = provenance(command=f"pvae-neuro verify {LONG}", files={"model": folder / LONG[:100]})
    title = f"<script>document.title = 'run'</script> {LONG}"
    write_report(folder / "report.html", reports, title=title, origin=origin)
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_is_whole_and_legible(browser, page, width, dark):
    shown = browser.page(page, width, dark=dark)
    assert shown.complaints == []
    assert shown.requests == [page.as_uri()]
    assert shown.evaluate("innerWidth") == width
    measured = shown.evaluate(MEASURE)
    assert measured["found"] == []
    assert measured["figures"] == 2 * 16
    # A narrow window has tables to show that they scroll.
    assert measured["scrolling"] > 0 or width > 600
    assert "<script>" in shown.evaluate("document.title")
    assert shown.evaluate("document.scripts.length") == 0


def test_dark_is_dark(browser, page):
    grounds = [
        browser.page(page, 1280, dark=dark).evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        for dark in (False, True)
    ]
    assert min(grounds[0]) > 200 and max(grounds[1]) < 50


@pytest.mark.parametrize(
    ("fault", "place", "instead"),
    [
        ("cut", "<footer>", "<footer style='overflow: hidden; white-space: nowrap'>"),
        ("wide", "<footer>", "<p style='width: 2000px'>x</p><footer>"),
        ("small", "svg text {", "svg text { font-size: 5px !important;"),
        ("contrast", "--ink: #1a202c", "--ink: #cccccc"),
        ("no shadow", "radial-gradient(", "linear-gradient("),
        ("outside its figure", "<text ", "<text dx='-900' "),
        ("not drawn", "<svg ", "<svg style='height: 0' "),
        ("overlaps", "<text ", "<text transform='translate(40 40)' "),
    ],
)
def test_a_page_with_a_fault_is_found(browser, page, tmp_path, fault, place, instead):
    text = page.read_text("utf-8")
    assert place in text
    if fault == "overlaps":
        text = re.sub(r' x="[^"]*" y="[^"]*"([^>]*>\w)', r" x='0' y='0'\1", text)
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace(place, instead), "utf-8")
    found = browser.page(broken, 390).evaluate(MEASURE)["found"]
    assert any(line.startswith(fault) for line in found)


@pytest.mark.parametrize(
    "addition",
    [
        "<script>console.log(1)</script>",
        "<img src='http://127.0.0.1:9/x.png'>",
        "<link rel='stylesheet' href='http://127.0.0.1:9/x.css'>",
        "<p onclick='x()'>x</p><iframe src='http://127.0.0.1:9/'></iframe>",
    ],
)
def test_the_page_s_own_policy_forbids_everything_else(browser, page, tmp_path, addition):
    changed = tmp_path / "changed.html"
    changed.write_text(page.read_text("utf-8").replace("<footer>", f"{addition}<footer>"), "utf-8")
    shown = browser.page(changed, 1280)
    assert any("Content Security Policy" in line for line in shown.complaints)


def test_a_request_and_a_message_are_seen(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<img src='missing.png'><script>console.log(1); x.y</script>", "utf-8")
    shown = browser.page(page, 1280)
    assert (tmp_path / "missing.png").as_uri() in shown.requests
    assert "console.log" in shown.complaints and "Uncaught" in shown.complaints
