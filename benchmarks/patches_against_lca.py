"""Whitened patches: the linear iterative Poisson VAE against LCA at equal zeros.

    python benchmarks/patches_against_lca.py --patches DATA/natural16_whitened.npz --work DIR \
        --json patches_against_lca.json

Trains both with K latents, unless DIR has them from before (a stopped training goes on), and reads
R² of the sampled reconstruction and the share of zeros on held-out patches. LCA comes twice over
its penalty: with coefficients of either sign, where one neuron does the work of two, and with
coefficients above zero, as spike counts are. The Poisson model is trained once and then rescaled
(`pvae_neuro.saved.rescaling`): more, smaller spikes, at several leaks. Between neighbouring
settings of each family straight lines give R² at the zeros of comparison.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import pvae_neuro as pn
from pvae_neuro.data.images import Images
from pvae_neuro.experiments.shared.measures import interpolate
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.training.train import TrainOptions, checkpoint_path, recipe, train
from pvae_neuro.utils.files import atomic_path

EQUAL_ZEROS = 0.775
MOMENTS = (128, 250, 500, 1000)
POISSON = {
    "steps": 16, "windows": 8, "batch_size": 200, "epochs": 10, "beta": 4.0, "isotropic": True,
    "estimator": "exact", "clamp": "hard", "clamp_u": 5.0, "clamp_du": 5.0,
    "learning_rate": 3e-3, "final_learning_rate": 1e-5, "weight_decay": 0.0,
}  # fmt: skip

Point = dict[str, Any]


def trained(images: Images, config: TrainConfig, path: Path) -> pn.SavedModel:
    """The model at a path; trained first where there is none."""
    if path.is_file():
        return pn.load_model(path)
    options = TrainOptions(resume=checkpoint_path(path).exists(), console=Console(stderr=True))
    return train(images, config, path, options)


def measured(name: str, setting: str, model: pn.SavedModel, images: Images) -> list[Point]:
    """R² about the mean image, and zeros, at each moment of one inference."""
    trace = pn.infer(model, images.pixels, max(MOMENTS), 0)
    points = [
        {
            "family": name, "setting": setting, "iterations": moment,
            "r2": float(trace.r2_mean_image[moment - 1]),
            "r2_from_means": float(trace.r2_from_means[moment - 1]),
            "zeros": float(trace.zeros[moment - 1]),
        }
        for moment in MOMENTS
    ]  # fmt: skip
    points[-1]["activity"] = float(abs(trace.z).sum(1).mean())
    last = points[-1]
    print(f"{name}, {setting}: R² {last['r2']:.4f}, zeros {last['zeros']:.4f}", flush=True)
    return points


def lca_points(options: argparse.Namespace, images: Images, test: Images) -> Iterator[Point]:
    for sign, penalties in (("signed", options.signed), ("nonnegative", options.nonnegative)):
        for penalty in penalties:
            config = recipe(
                "lca", latents=options.latents, epochs=options.lca_epochs, beta=penalty,
                architecture={"nonnegative": sign == "nonnegative"},
            )  # fmt: skip
            model = trained(images, config, options.work / f"lca-{sign}-{penalty:g}.safetensors")
            yield from measured(f"LCA, {sign}", f"λ = {penalty:g}", model, test)


def poisson_points(options: argparse.Namespace, images: Images, test: Images) -> Iterator[Point]:
    if options.model:
        model = pn.load_model(options.model)
    else:
        config = recipe("ipvae-linear", latents=options.latents, **POISSON)
        model = trained(images, config, options.work / "ipvae-linear.safetensors")
    yield from measured("iP-VAE", "as trained", model, test)
    for factor in options.factors:
        for leak in options.leaks:
            scaled = pn.rescale_counts(model, factor, leak / factor)
            setting = f"{factor:g} times the counts, {leak:g} times the price"
            yield from measured("iP-VAE, rescaled", setting, scaled, test)


def at_equal_zeros(points: list[Point]) -> list[Point]:
    """R² of each family at the zeros of comparison, by the number of iterations."""
    found = []
    for family in dict.fromkeys(point["family"] for point in points):
        for moment in MOMENTS:
            curve = [
                (p["zeros"], p["r2"])
                for p in points
                if (p["family"], p["iterations"]) == (family, moment)
            ]
            r2 = interpolate(_frontier(curve), EQUAL_ZEROS)
            found.append({"family": family, "iterations": moment, "r2": r2})
    return found


def _frontier(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Settings that no other one beats in zeros and R² at once."""
    return [(zeros, r2) for zeros, r2 in curve if not any(z > zeros and r > r2 for z, r in curve)]


def tell(points: list[Point], equal: list[Point]) -> None:
    print("\n| | setting | iterations | R² | R² of the mean | zeros | sum of activity |")
    print("|---|---|---|---|---|---|---|")
    for p in points:
        activity = f"{p['activity']:.0f}" if "activity" in p else ""
        print(
            f"| {p['family']} | {p['setting']} | {p['iterations']:,} | {p['r2']:.4f} "
            f"| {p['r2_from_means']:.4f} | {p['zeros']:.4f} | {activity} |"
        )
    print(f"\n| R² at zeros {EQUAL_ZEROS} | " + " | ".join(f"{m:,}" for m in MOMENTS) + " |")
    print("|---|" + "---|" * len(MOMENTS))
    for family in dict.fromkeys(p["family"] for p in equal):
        row = [p["r2"] for p in equal if p["family"] == family]
        print(f"| {family} | " + " | ".join("–" if r is None else f"{r:.4f}" for r in row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", required=True, help="a file of `pvae-neuro patches`")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--model", type=Path, help="iP-VAE to rescale; default: trained here")
    parser.add_argument("--latents", type=int, default=512)
    parser.add_argument("--lca-epochs", type=int, default=10)
    parser.add_argument("--signed", type=float, nargs="*", default=[0.2, 0.25, 0.3])
    parser.add_argument("--nonnegative", type=float, nargs="*", default=[0.2, 0.25, 0.3])
    parser.add_argument("--factors", type=float, nargs="*", default=[4.0, 8.0])
    parser.add_argument("--leaks", type=float, nargs="*", default=[10.0, 13.0, 16.0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    images = pn.load_images(options.patches, split="train")
    test = pn.load_images(options.patches, split="test", limit=options.images)
    points = [*lca_points(options, images, test), *poisson_points(options, images, test)]
    equal = at_equal_zeros(points)
    tell(points, equal)
    if options.json:
        with atomic_path(options.json) as path:
            settings = {k: str(v) for k, v in vars(options).items()}
            text = json.dumps({"settings": settings, "points": points, "equal": equal}, indent=1)
            path.write_text(text)


if __name__ == "__main__":
    main()
