"""Every figure of the shipped models as integers that docs/families.md quotes, from one command.

    python benchmarks/family_figures.py --data-root DATA             # all that are shipped
    python benchmarks/family_figures.py --data-root DATA mnist-mlp   # one of them

Each measure of each circuit is a row. Rows are kept in ``docs/figures/families.json`` with the hash
of what was measured, so that a run that was stopped goes on, and a row is measured again only where
the integers changed. Where the sizes below or the float model alone change, remove the rows. From
the rows it writes the tables of docs/families.md
and ``pvae_neuro/zoo/figures.json``, which ``pvae-neuro models`` shows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.artifact import program_hash
from pvae_neuro.data import load_images
from pvae_neuro.exporters.lowerings import lowering_of, topologies
from pvae_neuro.network import FloatCircuit
from pvae_neuro.saved.shipped import FIGURES_FILE, FOLDER, SHIPPED, shipped_file
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.utils.digest import file_sha256
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.verification.verify import verify

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
STEPS, LONG = 32, 128
EXACT, LAVA, PYTORCH, FLOAT = 16, 4, 16, 500
ENGINES = ("reference", "fast", "onnx", "lava")
CALIBRATION = 64
# Factors of the linear model's leak; larger ones leave more latents at zero.
LEAKS = (0.5, 1.0, 1.5, 2.0, 3.0)
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Row = dict[str, Any]


class Subject:
    """A circuit of a shipped model, with the digits that it is measured on."""

    def __init__(self, name: str, circuit: str, calibration: np.ndarray, test: np.ndarray) -> None:
        self.name, self.circuit, self.test = name, circuit, test
        self.model = pn.load_model(name)
        self.lowering = lowering_of(circuit, self.model.config.family)
        self.network = pn.quantize(self.model, calibration, pn.QuantizeConfig(circuit))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the random words; one where nothing is drawn."""
        return SEEDS if self.network.drawing else SEEDS[:1]

    def words(self, steps: int, samples: int, seed: int) -> dict[str, np.ndarray]:
        """Random words of all populations that draw."""
        places = range(steps + 1), range(samples)
        return {p.name: population_noise(p, seed, *places) for p in self.network.drawing}


def exact(subject: Subject) -> Row:
    """Differing integers of every engine against the definition."""
    compared, differing = 0, 0
    for seed in SEEDS:
        for samples, engines in ((EXACT, ENGINES[:-1]), (LAVA, ENGINES)):
            report = verify(
                subject.network, None, subject.test[:samples], steps=STEPS, seed=seed,
                engines=engines, progress=False,
            )  # fmt: skip
            compared += sum(pair.compared_integers for pair in report.pairs)
            differing += sum(pair.differing_integers for pair in report.pairs)
    return {"compared": compared, "differing": differing}


def near_pytorch(subject: Subject) -> Row:
    """Largest differences of the float circuit from the PyTorch family, both in float64."""
    sys.path.insert(0, str(ROOT / "tests"))
    from pytorch_words import pytorch_states

    circuit = subject.lowering.circuit(subject.model, "float64")
    images = subject.test[:PYTORCH].astype(np.float64)
    words = subject.words(STEPS, PYTORCH, 0)
    potentials = [name for name in circuit_variables(circuit) if name.endswith(".u")]
    states = list(circuit.run(images, words, STEPS))
    drawing = [p.name for p in circuit.drawing]
    if subject.circuit == "feedforward":
        # The circuit draws once before the first image has passed, a one-pass model does not.
        words = {name: word[:, 1:] for name, word in words.items()}
    farthest: dict[str, float] = {}
    for step, theirs in enumerate(
        pytorch_states(subject.model, images, words, drawing, STEPS), start=1
    ):
        # The last state is that after `final`; potentials are recorded before the next draw.
        pairs = {"code": (theirs.z, states[step][circuit.code or ""])}
        pairs["picture"] = theirs.reconstruction, circuit.reconstruct(states[step])
        if not theirs.state:
            pairs["rates"] = theirs.mean, np.exp(states[step][potentials[0]])
        for name, tensor in zip(potentials, theirs.state, strict=False):
            pairs[name] = tensor, states[step - 1][name]
        for name, (tensor, ours) in pairs.items():
            difference = float(np.abs(tensor.detach().numpy() - ours).max())
            # Not a number stays what it is.
            farthest[name] = float(np.maximum(farthest.get(name, 0.0), difference))
    return {"farthest": farthest, "images": PYTORCH, "iterations": STEPS}


def circuit_variables(circuit: FloatCircuit) -> list[str]:
    """Every variable, by ``population.variable``."""
    return [f"{p.name}.{v.name}" for p in circuit.populations for v in p.variables]


def near_float(subject: Subject) -> Row:
    """Squared error and zeros of both, by seed."""
    rows = []
    for seed in subject.seeds:
        by_float, by_integer = (
            pn.evaluate(each, subject.test[:FLOAT], steps=LONG, seed=seed, progress=False)
            for each in (subject.model, subject.network)
        )
        rows.append({
            str(steps): {
                "mse_float": float(by_float.mse[steps - 1]),
                "mse_integer": float(by_integer.mse[steps - 1]),
                "zeros_float": float(by_float.zeros[steps - 1]),
                "zeros_integer": float(by_integer.zeros[steps - 1]),
                "capped": float(by_integer.capped[steps - 1]),
            }
            for steps in (STEPS, LONG)
        })  # fmt: skip
    return {"seeds": rows, "images": FLOAT}


def agreement(subject: Subject) -> Row:
    """Share of equal counts where float or integers fire, by population; other seeds beside it."""
    found: Row = {}
    images, engine = subject.test[:FLOAT], pn.fastest_engine(subject.network)
    names = {p.name: drawn(p) for p in subject.network.drawing}
    circuit = subject.lowering.circuit(subject.model)
    recorded = [f"{population}.{counts}" for population, counts in names.items()]
    for steps in (STEPS, LONG):
        shares: dict[str, list[float]] = {name: [] for name in names}
        others: dict[str, list[float]] = {name: [] for name in names}
        before: dict[str, np.ndarray] = {}
        for seed in SEEDS:
            *_, last = circuit.run(images, subject.words(steps, FLOAT, seed), steps)
            run = engine.run(subject.network, images, steps, seed, record=recorded, progress=False)
            for name, counts in names.items():
                key = f"{name}.{counts}"
                ours = run.last[key]
                shares[name].append(equal_where_firing(last[key], ours))
                if key in before:
                    others[name].append(equal_where_firing(before[key], ours))
                before[key] = ours
        means = ((name, np.mean(shares[name]), np.mean(others[name])) for name in names)
        found[str(steps)] = {
            name: {"equal": float(equal), "other_seeds": float(other)}
            for name, equal, other in means
        }
    return found


def drawn(population: Any) -> str:
    """Variable that holds the counts of a population that draws."""
    return next(v.name for v in population.variables if v.name.startswith("z"))


def equal_where_firing(a: np.ndarray, b: np.ndarray) -> float:
    firing = (a != 0) | (b != 0)
    return float((a == b)[firing].mean()) if firing.any() else 1.0


MEASURES: dict[str, Callable[[Subject], Row]] = {
    "exact": exact, "pytorch": near_pytorch, "float": near_float, "agreement": agreement,
}  # fmt: skip


def against_linear(test: np.ndarray, zeros: float) -> Row:
    """MSE of the linear model at this share of zeros, between those that scaled leaks give."""
    linear = pn.load_pretrained()
    tried = []
    for leak in LEAKS:
        changed = pn.rescale_counts(linear, 1.0, leak=leak)
        found = pn.evaluate(changed, test[:FLOAT], steps=LONG, progress=False).final()
        tried.append({"leak": leak, "mse": found["mse"], "zeros": found["zeros"]})
    shares, errors = ([row[name] for row in tried] for name in ("zeros", "mse"))
    inside = shares[0] <= zeros <= shares[-1]
    mse = float(np.interp(zeros, shares, errors)) if inside else None
    return {"tried": tried, "zeros": zeros, "mse": mse}


def measured(rows: dict[str, Row], key: str, of: str, measure: Callable[[], Row]) -> Row:
    """A row of the table: as it was, where it is of the same subject, or measured now."""
    if rows.get(key, {}).get("of") == of:
        return rows[key]
    start = time.perf_counter()
    rows[key] = {"of": of, **measure(), "seconds": round(time.perf_counter() - start, 1)}
    print(f"{key}: {json.dumps(rows[key])}", flush=True)
    return rows[key]


def measure_all(
    names: list[str], out: Path, calibration: np.ndarray, test: np.ndarray, only: list[str]
) -> dict[str, Row]:
    """Measure what is not known yet; every row is kept as soon as it is."""
    rows: dict[str, Row] = json.loads(out.read_text()) if out.exists() else {}
    for name in names:
        of_file = file_sha256(shipped_file(SHIPPED[name].file))
        for circuit in topologies(SHIPPED[name].family):
            subject = Subject(name, circuit, calibration, test)
            key, hashed = f"{name}/{circuit}", program_hash(subject.network)
            for what in only:
                if what == "agreement" and len(subject.network.drawing) < 2:
                    continue
                measured(rows, f"{key}/{what}", hashed, partial(MEASURES[what], subject))
                save(rows, out)
        if SHIPPED[name].family == "ipvae-mlp" and f"{name}/predictive/float" in rows:
            zeros = mean_of(rows[f"{name}/predictive/float"], LONG, "zeros_float")
            measured(rows, f"{name}/linear", of_file, partial(against_linear, test, zeros))
            save(rows, out)
    return rows


def save(rows: dict[str, Row], out: Path) -> None:
    """Write rows beside those that another run has written meanwhile."""
    rows = {**(json.loads(out.read_text()) if out.exists() else {}), **rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n")


def mean_of(row: Row, steps: int, figure: str) -> float:
    return float(np.mean([seed[str(steps)][figure] for seed in row["seeds"]]))


def zoo_figures(rows: dict[str, Row], names: list[str]) -> dict[str, Row]:
    """Float figures of models that were just looked at, as ``pvae-neuro models`` shows them."""
    found = {}
    for name in names:
        model = SHIPPED[name]
        measured_rows = (rows.get(f"{name}/{c}/float") for c in topologies(model.family))
        row = next((row for row in measured_rows if row), None)
        if row is not None:
            found[name] = {
                "sha256": file_sha256(shipped_file(model.file)),
                "mse": round(mean_of(row, LONG, "mse_float"), 4),
                "zeros": round(mean_of(row, LONG, "zeros_float"), 5),
                "images": FLOAT, "iterations": LONG,
            }  # fmt: skip
    return found


def tables(rows: dict[str, Row]) -> Iterator[str]:
    """Lines of the tables, in Markdown."""
    yield from (
        "| model, circuit | differing integers | float circuit − PyTorch | "
        "MSE, 32 iterations | MSE, 128 | zeros, 32 | zeros, 128 |",
        "|---|---|---|---|---|---|---|",
    )
    circuits = [(n, c) for n, model in SHIPPED.items() for c in topologies(model.family)]
    for name, circuit in circuits:
        key = f"{name}/{circuit}"
        row = {what: rows.get(f"{key}/{what}") for what in MEASURES}
        cells = [f"`{name}`, {circuit}", integers_cell(row["exact"]), pytorch_cell(row["pytorch"])]
        cells += [mse_cell(row["float"], steps) for steps in (STEPS, LONG)]
        cells += [zeros_cell(row["float"], steps) for steps in (STEPS, LONG)]
        yield f"| {' | '.join(cells)} |"
    yield from ("", "| counts equal where either fires | 32 iterations | 128 | other seeds |")
    yield "|---|---|---|---|"
    for name, circuit in circuits:
        found = rows.get(f"{name}/{circuit}/agreement", {})
        for population, short in found.get(str(STEPS), {}).items():
            long = found[str(LONG)][population]
            yield (
                f"| `{name}`, {circuit}, {population} | {short['equal']:.3f} | "
                f"{long['equal']:.3f} | {long['other_seeds']:.3f} |"
            )
    for name in SHIPPED:
        if (found := rows.get(f"{name}/linear")) and (of := rows.get(f"{name}/predictive/float")):
            mse = mean_of(of, LONG, "mse_float")
            curve = "; ".join(
                f"{row['mse']:.3f} at {100 * row['zeros']:.1f} %" for row in found["tried"]
            )
            equal = found["mse"] and f"{found['mse']:.3f}, {mse / found['mse']:.2f} times as much"
            yield ""
            yield (
                f"`{name}` after {LONG} iterations: MSE {mse:.3f} at {100 * found['zeros']:.1f} % "
                f"zeros; the linear model there: {equal or 'not reached'}. The linear model with "
                f"its leak scaled by {', '.join(f'{leak:g}' for leak in LEAKS)}: {curve}."
            )
    files = sorted((ROOT / "exporters/lowerings").glob("[!_]*.py"))
    sizes = ", ".join(f"`{path.stem}` {len(path.read_text().splitlines())}" for path in files)
    yield from ("", f"Lines of the files of `exporters/lowerings/`: {sizes}.")


def integers_cell(row: Row | None) -> str:
    return f"{row['differing']:,} of {row['compared']:,}" if row else "–"


def pytorch_cell(row: Row | None) -> str:
    return f"{max(row['farthest'].values()):.0e}" if row else "–"


def mse_cell(row: Row | None, steps: int) -> str:
    if not row:
        return "–"
    before, after = (mean_of(row, steps, f"mse_{kind}") for kind in ("float", "integer"))
    return f"{before:.3f} → {after:.3f}, {100 * (after / before - 1):+.2f} %"


def zeros_cell(row: Row | None, steps: int) -> str:
    if not row:
        return "–"
    before, after = (mean_of(row, steps, f"zeros_{kind}") for kind in ("float", "integer"))
    return f"{100 * before:.2f} %, {100 * (after - before):+.2f} points"


def write_page(rows: dict[str, Row], page: Path) -> None:
    """Put the tables between the marks of the page."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with atomic_path(page) as temporary:
        lines = "\n".join(tables(rows))
        temporary.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all that are shipped")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/figures/families.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/families.md")
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), help="repeat for several"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(SHIPPED)):
        parser.error(f"expected names of {', '.join(SHIPPED)}; got {', '.join(unknown)}")
    train, test = (load_images("mnist", options.data_root, s).pixels for s in ("train", "test"))
    names = options.names or list(SHIPPED)
    rows = measure_all(
        names, options.out, train[:CALIBRATION], test,
        options.only or list(MEASURES),
    )  # fmt: skip
    save(rows, options.out)
    save(zoo_figures(rows, names), FOLDER / FIGURES_FILE)
    write_page(rows, options.page)
    print("\n".join(tables(rows)))


if __name__ == "__main__":
    main()
