"""Every figure of narrow integers that docs/narrow.md quotes of rounding, from one command.

    python benchmarks/narrow_figures.py --data-root DATA              # all rows
    python benchmarks/narrow_figures.py --data-root DATA lateral-16   # one of them

Rows are kept in ``docs/figures/narrow.json`` with the hash of what was measured, so that a run that
was stopped goes on. Errors of each image in float take an hour of one core; they are kept in
``--work``. From the rows it writes the tables between the marks of the page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.artifact import program_hash
from pvae_neuro.data import load_images
from pvae_neuro.evaluation.figures import of_recording
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.narrow.narrowest import WANTED_IMAGES
from pvae_neuro.network.partly_rounded import percent_above
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.utils.files import atomic_path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- rounding: begin -->", "<!-- rounding: end -->"
SEEDS, AT_ONCE, LATE = (0, 1, 2), 250, 100
# Digits and iterations of the float runs: the first of each is that of the bars.
SIZES = {"predictive": (10_000, 128), "lateral": (2_000, 1_000)}
AGREEMENT_DIGITS, SHORT = 500, 32
CALIBRATION = 320
Row = dict[str, Any]
CONFIGS: dict[str, pn.QuantizeConfig] = {
    "predictive-8": pn.QuantizeConfig("predictive", 8),
    "predictive-8, units by latent": pn.QuantizeConfig("predictive", 8, latent_units=True),
    "predictive-8, compensated": pn.QuantizeConfig("predictive", 8, compensate=True),
    "predictive-8, searched": pn.QuantizeConfig("predictive", 8, search=True),
    "predictive-8, both": pn.QuantizeConfig("predictive", 8, latent_units=True, compensate=True),
    "lateral-8": pn.QuantizeConfig("lateral", 8),
    "lateral-16": pn.QuantizeConfig("lateral", 16),
}
for _bits in (6, 4, 3):
    CONFIGS[f"predictive-{_bits}"] = pn.QuantizeConfig("predictive", _bits)
    CONFIGS[f"predictive-{_bits}, searched"] = pn.QuantizeConfig("predictive", _bits, search=True)
    CONFIGS[f"predictive-{_bits}, both"] = pn.QuantizeConfig(
        "predictive", _bits, latent_units=True, compensate=True
    )
TOLERANCES = (1.0,)


class Floats:
    """Errors and zeros of each image in float, kept in files."""

    def __init__(self, model: pn.SavedModel, digits: np.ndarray, work: Path) -> None:
        self.model, self.digits, self.work = model, digits, work

    def of(self, topology: str, seed: int) -> dict[str, np.ndarray]:
        """By image: ``error`` and ``zeros`` after the iterations ``keep``, mean ``late`` error."""
        samples, steps = SIZES[topology]
        path = self.work / f"{topology}_{samples}_{steps}_{seed}.npz"
        if not path.exists():
            self.work.mkdir(parents=True, exist_ok=True)
            found = self._run(topology, samples, steps, seed)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **found)
        with np.load(path) as held:
            return dict(held)

    def _run(self, topology: str, samples: int, steps: int, seed: int) -> dict[str, Any]:
        circuit = lowering_of(topology, self.model.config.family).circuit(self.model)
        keep, parts = kept(steps), []
        for first in range(0, samples, AT_ONCE):
            images = self.digits[first : first + AT_ONCE].astype(np.float32)
            places = range(steps + 1), range(first, first + len(images))
            words = {p.name: population_noise(p, seed, *places) for p in circuit.drawing}
            error, zeros, late = list[Any](), list[Any](), 0.0
            for step, state in enumerate(circuit.run(images, words, steps)):
                if step not in keep and step <= steps - LATE:
                    continue
                residual = circuit.reconstruct(state) - images
                now = np.square(residual, dtype=np.float64).sum(axis=1)
                if step in keep:
                    error.append(now)
                    zeros.append((state[circuit.code or ""] == 0).mean(axis=1))
                if step > steps - LATE:
                    late = late + now / LATE
            parts.append((np.stack(error, axis=1), np.stack(zeros, axis=1), late))
            print(f"float, {topology}, seed {seed}: {first + len(images)} digits", flush=True)
        joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return {**dict(zip(("error", "zeros", "late"), joined, strict=True)), "keep": keep}


def kept(steps: int) -> list[int]:
    """Iterations whose figures are kept."""
    return [SHORT, 128] if steps == 128 else [SHORT, 128, steps]


def against_float(floats: Floats, network: Any) -> Row:
    """MSE and zeros of integers against float, with two standard errors over images."""
    samples, steps = SIZES[network.name]
    engine, keep = pn.fastest_engine(network), kept(steps)
    ours, theirs = list[Any](), list[Any]()
    for seed in SEEDS:
        known = floats.of(network.name, seed)
        columns = [list(known["keep"]).index(step) for step in keep]
        parts = []
        for first in range(0, samples, AT_ONCE):
            run = engine.run(
                network, floats.digits[first : first + min(AT_ONCE, samples - first)], steps, seed,
                first_sample=first, progress=False,
            )  # fmt: skip
            found = of_recording(run)
            assert found is not None
            places = [step - 1 for step in keep]
            late = found.error[:, -LATE:].mean(axis=1)
            parts.append((found.error[:, places], found.zeros[:, places], late))
        ours.append([np.concatenate(part) for part in zip(*parts, strict=True)])
        theirs.append([known["error"][:, columns], known["zeros"][:, columns], known["late"]])
    figures: Row = {"digits": samples, "seeds": len(SEEDS)}
    error, by_float = (np.mean([seed[0] for seed in each], axis=0) for each in (ours, theirs))
    for place, step in enumerate(keep):
        percent, spread = percent_above(error[:, place], by_float[:, place])
        zeros = [float(np.mean([s[1][:, place] for s in each])) for each in (ours, theirs)]
        figures[str(step)] = {
            "mse": float(error[:, place].mean()), "mse_float": float(by_float[:, place].mean()),
            "percent": percent, "two_errors": 2 * spread,
            "zeros": zeros[0], "zeros_float": zeros[1],
        }  # fmt: skip
    late = [np.mean([seed[2] for seed in each], axis=0) for each in (ours, theirs)]
    percent, spread = percent_above(*late)
    figures["late"] = {"iterations": LATE, "percent": percent, "two_errors": 2 * spread}
    return figures


def agreement(floats: Floats, network: Any) -> Row:
    """Share of counts that equal those of the float circuit, under the same words."""
    circuit = lowering_of(network.name, floats.model.config.family).circuit(floats.model)
    digits, code = floats.digits[:AGREEMENT_DIGITS], network.code
    places, shares, last = (range(SHORT + 1), range(len(digits))), list[float](), list[float]()
    for seed in SEEDS:
        words = {p.name: population_noise(p, seed, *places) for p in network.drawing}
        run = pn.fastest_engine(network).run(
            network, digits, SHORT, seed, record=[code], progress=False
        )
        equal = [
            float((state[code] == run[code][:, step]).mean())
            for step, state in enumerate(circuit.run(digits, words, SHORT))
        ]
        shares.append(float(np.mean(equal)))
        last.append(equal[-1])
    return {"iterations": SHORT, "equal": float(np.mean(shares)), "last": float(np.mean(last))}


def held_out(floats: Floats, train: np.ndarray) -> list[Row]:
    """Widths that are found within tolerances, judged again on test digits."""
    rows = []
    for tolerance in TOLERANCES:
        config = pn.QuantizeConfig("predictive", latent_units=True)
        found = pn.narrowest(floats.model, train[:WANTED_IMAGES], tolerance, config)
        network = pn.quantize(floats.model, train[: found.scaled_by], found.config)
        again = against_float(floats, network)
        print(f"auto {tolerance}: {found}", flush=True)
        rows.append({"tolerance": tolerance, **found.to_dict(), "test": again})
    return rows


def measure(options: argparse.Namespace, rows: dict[str, Row]) -> None:
    """Measure what is not known yet; every row is kept as soon as it is."""
    train, test = (load_images("mnist", options.data_root, s).pixels for s in ("train", "test"))
    floats = Floats(pn.load_model("mnist"), test, options.work)
    for name, config in CONFIGS.items():
        if options.names and name not in options.names:
            continue
        network = pn.quantize(floats.model, train[:CALIBRATION], config)
        of = program_hash(network)
        if rows.get(name, {}).get("of") == of:
            continue
        rows[name] = {"of": of, **against_float(floats, network), **agreement(floats, network)}
        save(rows, options.out)
        print(f"{name}: {json.dumps(rows[name])}", flush=True)
    if (not options.names or "auto" in options.names) and "auto" not in rows:
        rows["auto"] = {"found": held_out(floats, train)}
        save(rows, options.out)


def save(rows: dict[str, Row], out: Path) -> None:
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n")


def tables(rows: dict[str, Row]) -> Iterator[str]:
    """Lines of the tables, in Markdown."""
    yield "| weights | MSE above float, 32 | 128 | zeros, 128 | counts equal over 32 | at 32 |"
    yield "|---|---|---|---|---|---|"
    for name in CONFIGS:
        if (row := rows.get(name)) and "predictive" in name:
            cells = [name.replace("-", ", ", 1), percent(row["32"]), percent(row["128"])]
            zeros = 100 * (row["128"]["zeros"] - row["128"]["zeros_float"])
            cells.append(f"{zeros:+.2f} points")
            cells += [f"{100 * row[key]:.2f} %" for key in ("equal", "last")]
            yield f"| {' | '.join(cells)} |"
    yield from ("", "| weights | MSE above float, 128 | 1,000 | mean of the last 100 | counts |")
    yield "|---|---|---|---|---|"
    for name in CONFIGS:
        if (row := rows.get(name)) and "lateral" in name:
            cells = [percent(row[key]) for key in ("128", "1000", "late")]
            cells.append(f"{100 * row['equal']:.2f} %")
            yield f"| {name.replace('-', ', ', 1)} | {' | '.join(cells)} |"
    if "auto" not in rows:
        return
    yield from ("", "| tolerance | found | held-out digits | test digits, 128 iterations |")
    yield "|---|---|---|---|"
    for row in rows["auto"]["found"]:
        judged = row["judged"]
        yield (
            f"| {row['tolerance']:g} % | {row['weight_bits']} weight bits, {row['frac_bits']} "
            f"fractional | {judged['mse_percent']:+.2f} ± {2 * judged['error']:.2f} % | "
            f"{percent(row['test']['128'])} |"
        )


def percent(figures: Row) -> str:
    return f"{figures['percent']:+.2f} ± {figures['two_errors']:.2f} %"


def write_page(rows: dict[str, Row], page: Path) -> None:
    """Put the tables between the marks of the page."""
    before, rest = page.read_text().split(BEGIN)
    text = "\n".join(tables(rows))
    with atomic_path(page) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*CONFIGS, 'auto'])}")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/narrow")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/figures/narrow.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/narrow.md")
    options = parser.parse_args()
    rows: dict[str, Row] = json.loads(options.out.read_text()) if options.out.exists() else {}
    measure(options, rows)
    write_page(rows, options.page)
    print("\n".join(tables(rows)))


if __name__ == "__main__":
    main()
