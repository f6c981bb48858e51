"""The pages of ``docs/science/``: each claim with what was published, what we get, and a verdict.

    python benchmarks/science_pages.py                       # write the pages
    python benchmarks/science_pages.py store OUT/NAME ...    # keep results, then write the pages
    python benchmarks/science_pages.py quick OUT             # the table of docs/experiments.md

``store`` copies what claims need of ``OUT/NAME/result.json``, which ``pvae-neuro experiment NAME
--out OUT`` wrote, to ``docs/science/results/NAME-BUDGET.json``, and the figure beside it, unless it
is large. Quick results are refused: ``quick`` makes them a table of times and verdicts instead.
Verdicts are not stored: each claim judges the stored figures anew, so a bar that changes shows at
once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pvae_neuro.errors import InputError, PvaeNeuroError
from pvae_neuro.experiments.registry import experiment_claims, experiment_names
from pvae_neuro.experiments.shared.budget import BUDGETS
from pvae_neuro.experiments.shared.claims import PAPERS, Claim, Verdict
from pvae_neuro.experiments.shared.summary import table_lines
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.json_text import json_text

FOLDER = Path(__file__).parents[1] / "docs" / "science"
RESULTS = "results"
LARGEST_FIGURE = 400_000
"""Bytes of a figure that is kept."""

KEPT = ("experiment", "budget", "seeds", "core_minutes", "notes")
NOT_RUN = "not run yet"
BEGIN, END = "<!-- quick: begin -->", "<!-- quick: end -->"
WARNING = "<!-- Written by benchmarks/science_pages.py from docs/science/results. Do not edit. -->"

Stored = dict[str, Any]
"""What :data:`KEPT` names, and ``figures`` of each seed."""


def store(result: Path, folder: Path = FOLDER) -> Path:
    """Keep what claims need of a full result, a folder or its ``result.json``."""
    path = result / "result.json" if result.is_dir() else result
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kept: Stored = {key: content[key] for key in KEPT}
        kept["figures"] = [each["figures"] for each in content["by_seed"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a result of pvae-neuro experiment: {error}") from error
    if kept["budget"] == BUDGETS[0]:
        raise InputError(f"{path}: expected a full result, got one of the budget {BUDGETS[0]}")
    target = folder / RESULTS / f"{kept['experiment']}-{kept['budget']}.json"
    if target.is_file():
        before = len(json.loads(target.read_text(encoding="utf-8"))["seeds"])
        if before > len(kept["seeds"]):
            raise InputError(
                f"{path}: expected at least {before} seeds, as {target} has, got "
                f"{len(kept['seeds'])}; remove {target} to store fewer"
            )
    with atomic_path(target) as temporary:
        temporary.write_text(json_text(kept), encoding="utf-8")
    figure, kept_figure = path.with_name("figure.svg"), target.with_suffix(".svg")
    kept_figure.unlink(missing_ok=True)
    if figure.is_file() and figure.stat().st_size <= LARGEST_FIGURE:
        with atomic_path(kept_figure) as temporary:
            temporary.write_bytes(figure.read_bytes())
    return target


def stored_results(folder: Path = FOLDER) -> dict[str, list[Stored]]:
    """Stored results by experiment, from the smallest budget to the largest."""
    found: dict[str, list[Stored]] = {}
    for path in sorted((folder / RESULTS).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(content["experiment"], []).append(content)
    for each in found.values():
        each.sort(key=lambda content: BUDGETS.index(content["budget"]))
    return found


def pages(folder: Path = FOLDER) -> dict[str, str]:
    """Text of every page by the name of its file."""
    stored = stored_results(folder)
    claims: dict[str, list[tuple[str, Claim]]] = {paper: [] for paper in PAPERS}
    for name in experiment_names():
        for claim in experiment_claims(name):
            claims[claim.paper].append((name, claim))
    texts = {
        f"{paper}.md": _page(PAPERS[paper], listed, stored, folder)
        for paper, listed in claims.items()
        if listed
    }
    return {"README.md": _index(claims, stored), **texts}


def _figures(name: str, results: list[Stored], folder: Path) -> list[str]:
    """Lines that show the figures of an experiment that were kept."""
    files = [f"{RESULTS}/{name}-{result['budget']}.svg" for result in results]
    return [
        line for file in files if (folder / file).is_file() for line in ("", f"![{name}]({file})")
    ]


def _notes(results: list[Stored]) -> list[str]:
    """What the results of an experiment note, each sentence once."""
    return list(dict.fromkeys(note for result in results for note in result["notes"]))


def _protocols(claims: list[Claim]) -> list[str]:
    """A line for each protocol, after the claims that it tests."""
    keys: dict[str, list[str]] = {}
    for claim in claims:
        keys.setdefault(claim.protocol, []).append(claim.key)
    return [f"- {', '.join(tested)}: {protocol}." for protocol, tested in keys.items()]


def _page(
    title: str, listed: list[tuple[str, Claim]], stored: dict[str, list[Stored]], folder: Path
) -> str:
    rows = []
    for name, claim in listed:
        for result in stored.get(name) or [None]:
            rows.append(
                [
                    f"`{name}` {claim.key}",
                    claim.statement,
                    claim.published,
                    claim.bar.text,
                    *_ours(claim, result),
                ]
            )
    lines = [
        WARNING,
        "",
        f"# {title}",
        "",
        *table_lines(
            ["test", "claim", "published", "bar", "budget, seeds", "ours", "verdict"], rows
        ),
        "",
        "## How each is tested",
        "",
        "Where several seeds are combined, ours is the mean ± the standard deviation over them. A "
        "figure of one seed says nothing of its spread. Minutes are those of the experiment; "
        "trainings that it shares with others may be counted there.",
    ]
    for name in dict.fromkeys(name for name, _ in listed):
        results = stored.get(name, [])
        commands = [f"{command(result)}    # {_time(result)}" for result in results] or [
            f"pvae-neuro experiment {name} --out OUT --seeds 3"
        ]
        lines += ["", f"**{name}**", "", "```", *commands, "```", ""]
        lines += _protocols([claim for each, claim in listed if each == name])
        lines += [f"- Note: {note}" for note in _notes(results)]
        lines += _figures(name, results, folder)
    return "\n".join(lines) + "\n"


def _ours(claim: Claim, result: Stored | None) -> tuple[str, str, str]:
    """Budget with the number of seeds, our figures, and the verdict."""
    found = {"figures": [{}], "budget": BUDGETS[-1], "seeds": []} if result is None else result
    finding = claim.judge(found["figures"], found["budget"])
    if result is None and not finding.measured:
        return "–", NOT_RUN, NOT_RUN
    run = f"{found['budget']}, {len(found['seeds'])}" if found["seeds"] else "–"
    return run, finding.ours, finding.verdict.value


def command(result: Stored) -> str:
    """What computes a stored result."""
    text = f"pvae-neuro experiment {result['experiment']} --out OUT --budget {result['budget']}"
    seeds = result["seeds"]
    text += f" --seeds {len(seeds)}" if len(seeds) > 1 else ""
    return text + (f" --seed {seeds[0]}" if seeds[0] else "")


def _time(result: Stored) -> str:
    return f"{result['core_minutes']:.0f} minutes of one core"


def _index(claims: dict[str, list[tuple[str, Claim]]], stored: dict[str, list[Stored]]) -> str:
    kinds = [*(verdict.value for verdict in Verdict), NOT_RUN]
    rows = []
    for paper, listed in claims.items():
        if listed:
            # Of several budgets the largest counts.
            latest = (_ours(claim, (stored.get(name) or [None])[-1]) for name, claim in listed)
            counts = Counter(verdict for *_, verdict in latest)
            rows.append(
                [f"[{PAPERS[paper]}]({paper}.md)", *(str(counts[kind] or "") for kind in kinds)]
            )
    return (
        "\n".join(
            [
                WARNING,
                "",
                "# What reproduces",
                "",
                "A page per paper, a row per claim: what was published and how it was read, how it "
                "is tested here, by which command, what we get, and a verdict. Every figure comes "
                "from a stored result of a full run; how to run and add tests is in "
                "[experiments](../experiments.md).",
                "",
                *table_lines(["page", *kinds], rows),
            ]
        )
        + "\n"
    )


def quick_table(out: Path) -> list[str]:
    """Lines of the table of quick results below ``OUT``: how long they took, and the verdicts."""
    found = {}
    for name in experiment_names():
        path = out / name / "result.json"
        if path.is_file():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    quick = {name: each for name, each in found.items() if each["budget"] == BUDGETS[0]}
    if not quick:
        raise InputError(f"{out}: expected results of pvae-neuro experiment all --quick, got none")
    kinds = [verdict.value for verdict in Verdict]
    rows = []
    for name, each in quick.items():
        counts = Counter(claim["verdict"] for claim in each["claims"])
        times = (f"{each[key]:.1f}" for key in ("minutes", "core_minutes"))
        rows.append([f"`{name}`", *times, *(str(counts[kind] or "") for kind in kinds)])
    sums = (sum(each[key] for each in quick.values()) for key in ("minutes", "core_minutes"))
    rows.append(["all", *(f"{total:.1f}" for total in sums), *("" for _ in kinds)])
    return table_lines(["name", "minutes", "minutes of one core", *kinds], rows)


def write_quick(out: Path, page: Path) -> None:
    """Put the table of quick results between the marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join([before + BEGIN, "", *quick_table(out), "", END + after])
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write(folder: Path = FOLDER) -> None:
    """Write every page."""
    for name, text in pages(folder).items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    verbs = parser.add_subparsers(dest="verb")
    keep = verbs.add_parser("store", help="keep full results, then write the pages")
    keep.add_argument("results", nargs="+", type=Path, metavar="OUT/NAME")
    quick = verbs.add_parser("quick", help="write the table of quick results")
    quick.add_argument("out", type=Path, metavar="OUT")
    chosen = parser.parse_args()
    try:
        if chosen.verb == "quick":
            write_quick(chosen.out, FOLDER.parent / "experiments.md")
            return 0
        for result in chosen.results if chosen.verb else ():
            print(store(result))
        write()
    except PvaeNeuroError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
