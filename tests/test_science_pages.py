"""``docs/science/`` holds what its command writes, from stored results of full runs alone."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="experiments need torch")

from pvae_neuro.errors import InputError
from pvae_neuro.experiments.shared.budget import BUDGETS

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "science_pages.py"


@pytest.fixture(scope="module")
def science_pages():
    spec = importlib.util.spec_from_file_location("science_pages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_those_of_the_stored_results(science_pages):
    for name, text in science_pages.pages().items():
        written = (science_pages.FOLDER / name).read_text(encoding="utf-8")
        assert written == text, f"{name} is old: run python benchmarks/science_pages.py"


def test_no_stored_result_is_quick(science_pages):
    for results in science_pages.stored_results().values():
        for result in results:
            assert result["budget"] in BUDGETS[1:]
            assert len(result["figures"]) == len(result["seeds"]) > 0


def result_file(folder, **changes):
    content = {
        "experiment": "tuning", "budget": "hour", "seeds": [0, 1, 2], "minutes": 9.0,
        "core_minutes": 8.0, "notes": ["four digits"],
        "by_seed": [{"figures": {"circular variance": value}} for value in (0.3, 0.4, 0.5)],
        **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def test_a_stored_result_is_judged_on_its_page(science_pages, tmp_path):
    result = result_file(tmp_path / "tuning")
    (result / "figure.svg").write_text("<svg/>")
    science_pages.store(result, tmp_path)
    (line,) = (
        line
        for line in science_pages.pages(tmp_path)["ipvae.md"].splitlines()
        if line.startswith("| `tuning` orientation |")
    )
    assert line.endswith("| hour, 3 | 0.400 ± 0.1 | reproduced |")
    page = science_pages.pages(tmp_path)["ipvae.md"]
    command = "pvae-neuro experiment tuning --out OUT --budget hour --seeds 3"
    assert f"{command}    # 8 minutes of one core\n" in page
    assert "\n- Note: four digits\n" in page
    assert "![tuning](results/tuning-hour.svg)" in page
    (result / "figure.svg").write_text(" " * (science_pages.LARGEST_FIGURE + 1))
    science_pages.store(result, tmp_path)
    assert "![tuning]" not in science_pages.pages(tmp_path)["ipvae.md"]
    # Of the other claims of the same experiment no figure is stored.
    contrast = next(line for line in page.splitlines() if "`tuning` contrast" in line)
    assert "| hour, 3 | not measured: " in contrast
    assert contrast.endswith("| not decided at this budget |")
    convergence = next(line for line in page.splitlines() if "`convergence` level-iP" in line)
    assert convergence.endswith("| – | not run yet | not run yet |")


def test_fewer_seeds_do_not_replace_more(science_pages, tmp_path):
    science_pages.store(result_file(tmp_path / "tuning"), tmp_path)
    fewer = result_file(tmp_path / "tuning", seeds=[0])
    with pytest.raises(InputError, match=r"expected at least 3 seeds, as .*, got 1; remove"):
        science_pages.store(fewer, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "quick"}, "expected a full result, got one of the budget quick"),
        ({"by_seed": [{}]}, "expected a result of pvae-neuro experiment: 'figures'"),
    ],
)
def test_what_is_no_full_result_is_not_stored(science_pages, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        science_pages.store(result_file(tmp_path / "tuning", **changes), tmp_path)
    assert not (tmp_path / "results").exists()


def test_quick_results_become_a_table_between_marks(science_pages, tmp_path):
    claims = [{"verdict": verdict} for verdict in ("reproduced", "reproduced", "unverifiable")]
    result_file(tmp_path / "tuning", budget="quick", claims=claims)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- quick: begin -->\nold\n<!-- quick: end -->\nafter\n")
    for _ in range(2):
        science_pages.write_quick(tmp_path, page)
    text = page.read_text()
    assert "| `tuning` | 9.0 | 8.0 | 2 |  |  |  | 1 |" in text
    assert text.startswith("before\n<!--") and text.endswith("-->\nafter\n") and "old" not in text
    with pytest.raises(InputError, match="expected results of"):
        science_pages.quick_table(tmp_path / "none")
