"""Today's iterative models beside the same steps by nodes: bits and time, for docs/generalized.md.

    python benchmarks/one_theory.py

Models have the sizes of their recipes and random weights, in float32, on batches of 100; the two
ways take turns, one thread each. It writes the table between the marks of the page.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from pvae_neuro.models.registry import build_model
from pvae_neuro.saved.model_file import ModelConfig
from pvae_neuro.training.train import recipe
from pvae_neuro.utils.files import atomic_path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PIXELS, BATCH, TURNS = 784, 100, 60
HEAD = """| a step of | numbers of the same bits | farthest | time by nodes over its own |
|---|---|---|---|"""


def row(name: str, function: str) -> str:
    """Bits that agree, the largest difference, and the ratio of the least times."""
    import iterative_cases

    made = recipe(name)
    config = ModelConfig(
        family=name, pixels=PIXELS, latents=made.latents, steps=made.steps, beta=made.beta,
        clamp=made.clamp, clamp_u=made.clamp_u, clamp_du=made.clamp_du, input_low=0.0,
        input_high=1.0, architecture=made.architecture,
    )  # fmt: skip
    model = build_model(config, torch.Generator().manual_seed(0), 0.05)
    case = getattr(iterative_cases, function)(model, BATCH)
    times: list[list[float]] = [[], []]
    for _ in range(TURNS):
        for step, taken in zip(case, times, strict=True):
            before = time.perf_counter()
            with torch.no_grad() if step is case.own else torch.enable_grad():
                step()
            taken.append(time.perf_counter() - before)
    own, nodes = (torch.cat([part.detach() for part in step()], 1) for step in case)
    ratio = min(times[1]) / min(times[0])
    equal, farthest = 100 * float((own == nodes).float().mean()), float((own - nodes).abs().max())
    return f"| `{name}` | {equal:.0f} % | {farthest:.1e} | {ratio:.1f} |"


CASES = {
    "ipvae-linear": "iterative_poisson",
    "ipvae-hierarchical": "hierarchical",
    "igvae-natural": "iterative_gaussian",
    "pc": "predictive_coding",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "docs/generalized.md")
    page: Path = parser.parse_args().page
    sys.path.insert(0, str(ROOT / "tests"))
    torch.set_num_threads(1)
    table = "\n".join([HEAD, *(row(*case) for case in CASES.items())])
    print(table)
    before, rest = page.read_text("utf-8").split(BEGIN)
    with atomic_path(page) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
