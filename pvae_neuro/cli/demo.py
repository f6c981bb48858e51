"""The verb that shows everything: a shipped model on every engine, proved equal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.options import Json, Quiet, Seed
from pvae_neuro.cli.shared.paths import FOLDER, check_outputs
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    say,
    write_json,
)
from pvae_neuro.errors import EngineUnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pvae_neuro.cli.shared.engines import EngineChoice
    from pvae_neuro.saved.model_file import SavedModel
    from pvae_neuro.verification.parity import ParityReport

STEPS = 32
# Enough for tier 2, and few enough for Lava on two cores.
SAMPLES = 32


@dataclass(frozen=True, eq=False)
class Demo:
    """What a circuit is exported from and run on."""

    model: SavedModel
    digits: NDArray[np.float32]
    engines: EngineChoice
    seed: int
    quiet: bool

    def prove(self, topology: str, path: Path) -> ParityReport:
        """Export a topology to ``path`` and check it on every engine and against float."""
        from pvae_neuro.cli.shared.progress import stages
        from pvae_neuro.export import export_model
        from pvae_neuro.exporters.quantize import QuantizeConfig
        from pvae_neuro.verification.verify import verify

        config = QuantizeConfig(topology=topology)
        with stages(f"{topology}: export, ", self.quiet) as progress:
            result = export_model(self.model, path, self.digits, config, progress=progress)
        with stages(f"{topology}: verify, ", self.quiet) as progress:
            return verify(
                result.network, self.model, self.digits[:SAMPLES], steps=STEPS, seed=self.seed,
                engines=self.engines.engines(result.network), progress=progress,
            )  # fmt: skip


@guarded
def demo(
    family: Annotated[
        str,
        typer.Option(
            "--family", help="Shipped model, by its name or family, such as mlp; models lists them."
        ),
    ] = "mnist",
    out: Annotated[Path, typer.Option("--out", help="Folder for what it makes."), FOLDER] = Path(
        "demo_out"
    ),
    seed: Seed = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Export a shipped model by each of its circuits, run it on every engine, prove them equal."""
    from pvae_neuro.exporters.lowerings import topologies
    from pvae_neuro.saved.shipped import SHIPPED, model_path, shipped_name

    name = shipped_name(family)
    circuits = sorted(topologies(SHIPPED[name].family))
    pages = out / "report.html", out / "report.json"
    exports = {topology: out / f"{topology}.onnx" for topology in circuits}
    check_outputs(*exports.values(), *pages, json)
    check_run(STEPS, seed)
    from pvae_neuro.cli.verify import conclude, typed
    from pvae_neuro.saved.model_file import load_model
    from pvae_neuro.verification.provenance import provenance
    from pvae_neuro.verification.report import require_report, write_report
    from pvae_neuro.zoo import sample_digits

    started = time.perf_counter()
    require_report()
    model, (digits, _) = load_model(name), sample_digits()
    job = Demo(model, digits, _engines(), seed, quiet)
    reports = {path: job.prove(topology, path) for topology, path in exports.items()}
    several = list(reports.values())
    files = {"model": model_path(name), **{path.stem: path for path in reports}}
    origin = provenance(several[0].seconds, command=typed(), files=files)
    title = "From a trained model to spikes, proved equal"
    write_report(pages[0], several, title=title, origin=origin)
    content = {"origin": origin.to_dict(), "parts": [_part(r) for r in several]}
    write_json(pages[1], content)
    write_json(json, content)
    _show(several, out, time.perf_counter() - started, json, quiet)
    conclude(several)


def _engines() -> EngineChoice:
    """Every engine that works here, Lava if it can run; the reason is printed if it cannot."""
    from pvae_neuro.cli.shared.engines import choose_engines

    try:
        return choose_engines("auto,lava")
    except EngineUnavailableError as error:
        say_line(f"left out: {error}")
        return choose_engines("auto")


def _part(report: ParityReport) -> dict[str, Any]:
    from pvae_neuro.artifact import program_hash

    hashed = program_hash(report.network)
    return {**report.to_dict(), "program_hash": hashed, "certificate": report.certificate.to_dict()}


def _show(
    reports: Sequence[ParityReport], out: Path, seconds: float, json: Path | None, quiet: bool
) -> None:
    from pvae_neuro.cli.shared.tables import parity_table

    screen = console(json, quiet)
    for report in reports:
        screen.print(parity_table(report))
    files = ", ".join(f"{report.network.name}.onnx" for report in reports)
    say(screen, f"{out / 'report.html'} shows it all; beside it: {files}, report.json")
    say(screen, f"done in {seconds:.0f} s")
