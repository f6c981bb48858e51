"""Runs a network's Lava ProcessModels in threads of this process: no compiler, no runtime.

The models are Lava's and ours as they are; only the channels between them are queues. Starting Lava
takes seconds, this takes milliseconds, so that properties can be tried on many networks.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from typing import Any

import numpy as np

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import encode_frames
from pvae_neuro.sim.lava import build_lava
from pvae_neuro.sim.lava.exchange import Job
from pvae_neuro.sim.recording import variable_dtype

SECONDS = 20.0


class Channel:
    """One direction between two ports, 32-bit as between Lava's processes."""

    def __init__(self) -> None:
        self._messages: queue.Queue[np.ndarray] = queue.Queue()

    def send(self, data: np.ndarray) -> None:
        self._messages.put(data.astype(np.int32))

    def recv(self) -> np.ndarray:
        return self._messages.get(timeout=SECONDS)


def model_class(process: Any) -> Any:
    from lava.proc.dense.models import PyDenseModelBitAcc

    from pvae_neuro.sim.lava.processes.neurons.models import NeuronsModel
    from pvae_neuro.sim.lava.processes.synapses.models import SynapsesModel

    models = {"Neurons": NeuronsModel, "Synapses": SynapsesModel, "Dense": PyDenseModelBitAcc}
    return models[type(process).__name__]


def make_models(processes: list[Any]) -> dict[str, Any]:
    """Models with their Vars and ports, as Lava's builder makes them."""
    channels: dict[tuple[int, int], Channel] = {}
    models = {}
    for process in processes:
        cls = model_class(process)
        model = models[process.name] = cls(process.proc_params)
        for var in process.vars:
            declared = getattr(cls, var.name)
            array = np.zeros(var.shape, declared.d_type)
            array[...] = var.init
            setattr(model, var.name, array)
        for port in [*process.in_ports, *process.out_ports]:
            declared = getattr(cls, port.name)
            joined = [(c, port) for c in port.in_connections]
            joined += [(port, c) for c in port.out_connections]
            ends = [
                channels.setdefault((id(source), id(target)), Channel())
                for source, target in joined
            ]
            arguments = [ends, model, port.shape, declared.d_type]
            setattr(model, port.name, declared.cls(*arguments))
    return models


def run_models(models: dict[str, Any], steps: int) -> None:
    """Run every model for so many steps, each in a thread."""
    failures: list[BaseException] = []

    def work(model: Any) -> None:
        try:
            for _ in range(steps):
                model.run_spk()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(m,), daemon=True) for m in models.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    # A failure elsewhere leaves the others with an empty queue.
    failures.sort(key=lambda error: isinstance(error, queue.Empty))
    if failures:
        raise failures[0]


def run_job(
    network: IntegerNetwork,
    images: np.ndarray,
    iterations: int,
    seed: int = 0,
    *,
    width: int = 1,
    first_sample: int = 0,
    piece_bytes: int = 1 << 20,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Last and recorded variables of images [N, M] or [N, F, M], as the worker runs them."""
    x = encode_frames(network, images)
    frames = x.swapaxes(0, 1)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            folder=folder,
            network=network,
            seed=seed,
            first_sample=first_sample,
            first_step=0,
            samples=len(x),
            frames=x.shape[1],
            iterations=iterations,
            record=network.variables,
            dtypes={name: variable_dtype(network, name).name for name in network.variables},
            width=width,
            piece_bytes=piece_bytes,
        )
        job.write(
            {
                f"{e.population}.{e.variable}": np.stack(
                    [e.apply(frame).astype(np.int32) for frame in frames]
                )
                for e in network.encodings
            }
        )
        lava = build_lava(network, seed=seed, batch=width, job=job)
        models = make_models([*lava.populations.values(), *lava.connections.values()])
        parts = []
        for piece in range(job.pieces):
            run_models(models, job.passes(piece) * lava.steps(job.total_iterations))
            parts.append(job.take(piece))
        assert int(job.open_progress()[0]) == len(x) * job.total_iterations
    last, variables = zip(*parts, strict=True)
    return (
        {name: np.concatenate([p[name] for p in last]) for name in network.variables},
        {name: np.concatenate([p[name] for p in variables]) for name in network.variables},
    )
