"""One run of fine-tuning: arrays, optimiser, batches of all ages, and how far it has come.

Every update lowers the arrays as they are to integers, runs these from where a batch stands for a
window, and moves the arrays by the slopes that come back. So the forward pass is what an export of
these arrays computes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pvae_neuro.errors import InputError, ModelFileError, PvaeNeuroError
from pvae_neuro.exporters.calibrate import MAX_CALIBRATION_IMAGES, calibrate
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.quantize import INPUT_FRAC_BITS, QuantizeConfig, quantize
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.network.connection import MANTISSA_BITS
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel
from pvae_neuro.saved.tensor_files import read_safetensors, write_safetensors
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.tensors.straight_through import picture, straight_through_window
from pvae_neuro.training.finetuning.config import FinetuneConfig
from pvae_neuro.training.finetuning.masters import leaks_of, masters_of, unit_of
from pvae_neuro.training.finetuning.refit import round_together
from pvae_neuro.utils.digest import digest

FORMAT = "pvae-neuro-finetuning-2"
# Averages of slopes and of their squares, and what is added to the root of the latter as a share of
# its mean: weights that hardly matter hardly move.
FIRST, SECOND, DAMPING = 0.9, 0.99, 1.0
# Images on which the float model says how much fires at each iteration.
ACTIVITY_IMAGES = 64
_ORDER, _NOISE = 1, 2


class FinetuningRun:
    """The state of a run; :meth:`update` is one step of it."""

    def __init__(
        self,
        model: SavedModel,
        images: NDArray[np.float32],
        quantization: QuantizeConfig,
        config: FinetuneConfig,
    ) -> None:
        if len(images) < config.batch_size:
            raise InputError(
                f"images: expected at least one batch of {config.batch_size}, got {len(images)}; "
                f"lower the batch size"
            )
        self.model, self.images, self.config = model, images, config
        self.quantization = quantization
        self.lowering = lowering_of(quantization.topology, model.config.family)
        circuit = self.lowering.circuit(model, "float64")
        calibration_images = images[:MAX_CALIBRATION_IMAGES]
        network = quantize(model, calibration_images, quantization)
        if network.readout is None:
            raise ModelFileError(
                f"circuit {network.name!r}: expected a readout, whose squared error fine-tuning "
                f"lowers, got a circuit without one"
            )
        self.readout = network.readout
        steps = self.lowering.calibration_steps(model)
        self.calibration = calibrate(circuit, calibration_images, steps=steps)
        self.scales = _scales(network, quantization)
        self.masters = masters_of(model, circuit, network)
        self.on_grid = self._find_grid(network)
        self.leaks = leaks_of(model, circuit)
        self.expected = self._float_activity()
        self.identity = digest(
            config.model_dump_json(), repr(quantization), images,
            *(part for item in sorted(model.arrays.items()) for part in item),
        )  # fmt: skip
        self.done, self.seconds = 0, 0.0
        self.units = {m.array: torch.from_numpy(m.unit.astype(np.float32)) for m in self.masters}
        self.synapses = {
            m.array: torch.from_numpy(m.mantissas(network) != 0).float() for m in self.masters
        }
        self.parameters: dict[str, Tensor] = {}
        for name in (*self.units, *self.leaks):
            array = torch.from_numpy(model.arrays[name].copy()) / self.units.get(name, 1.0)
            self.parameters[name] = array.requires_grad_(name in self.units)
        if self.on_grid:
            # Rounding may have chosen other mantissas than the nearest.
            for master in self.masters:
                self._begin_at(master.array, master.mantissas(network))
        self._averages = {
            f"{kind}.{name}": torch.zeros_like(p.detach())
            for name, p in self.parameters.items()
            if name in self.units
            for kind in ("first", "second")
        }
        self._states: list[dict[str, Tensor] | None] = [None] * config.ages
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=config.ages)

    # ------------------------------------------------------------------ arrays and integers

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The model's arrays as they are now."""
        changed, largest = {}, self.scales.mantissa_max
        for name, parameter in self.parameters.items():
            held = parameter.detach()
            if self.on_grid and name in self.units:
                held = held.round().clamp(-largest, largest)
            changed[name] = (held * self.units.get(name, 1.0)).numpy()
        return {**self.model.arrays, **changed}

    def _begin_at(self, array: str, mantissas: NDArray[np.float64]) -> None:
        self.parameters[array] = torch.from_numpy(mantissas.astype(np.float32)).requires_grad_()
        self.synapses[array] = torch.from_numpy(mantissas != 0).float()

    def round_together(self, images: NDArray[np.float32], tell: Callable[[int], None]) -> None:
        """Begin with mantissas whose errors cancel, where the weights are a linear dictionary."""
        config, scales = self.config, self.scales
        if self.model.config.family != LINEAR_FAMILY or not (self.on_grid and config.damping):
            return
        (master,) = self.masters
        whole = np.broadcast_to(master.unit, self.model.dictionary.shape)[0]
        fine = replace(scales, weight_bits=MANTISSA_BITS)
        network = self.lowering.integers(self.model, fine, self.calibration)
        iterations = config.ages * config.window
        found = round_together(
            self.model.dictionary.astype(np.float64), whole, scales.mantissa_max, network, images,
            iterations, config.seed, config.damping, tell,
        )  # fmt: skip
        self._begin_at(master.array, found)

    def _find_grid(self, network: IntegerNetwork) -> bool:
        """Make units powers of two, if arrays of such mantissas are rounded to these again."""
        snapped, arrays = [], {}
        for master in self.masters:
            whole = master.mantissas(network)
            unit = _power(self.model.arrays[master.array], whole)
            snapped.append(replace(master, unit=unit))
            arrays[master.array] = (whole * unit).astype(np.float32)
        again = self.lowered(replace(self.model, arrays={**self.model.arrays, **arrays}))
        for master in snapped:
            # Even mantissas may become half as large, in a unit twice as large.
            held, found = arrays[master.array], master.mantissas(again)
            if (found * _power(held, found) != held).any():
                return False
        self.masters = tuple(snapped)
        return True

    def network(self) -> IntegerNetwork:
        """Integers of the arrays as they are now."""
        return self.lowered(replace(self.model, arrays=self.arrays()))

    def lowered(self, model: SavedModel) -> IntegerNetwork:
        """Integers of a model with other numbers, by the scales and ranges of this run."""
        return self.lowering.integers(model, self.scales, self.calibration)

    def _parts(self, network: IntegerNetwork) -> dict[str, Tensor]:
        """Mantissas of a network, with slopes towards the parameters."""
        weights = {}
        for master in self.masters:
            parameter = self.parameters[master.array]
            first, *others = master.connections
            held = torch.from_numpy(network.connection_of[first].weight.astype(np.float64))
            weights[first] = held + (parameter - parameter.detach())
            for name in others:
                held = torch.from_numpy(network.connection_of[name].weight.astype(np.float64))
                weights[name] = held
        return weights

    # ------------------------------------------------------------------ updates

    def update(self) -> dict[str, float]:
        """One update; returns squared error, share of zeros and mean count, by recent windows."""
        config = self.config
        turn, age = self._turn(self.done)
        network = self.network()
        weights = self._parts(network)
        x, seed = self._batch(self.done)
        code, source = network.code, f"{self.readout.population}.{self.readout.variable}"
        record = list(dict.fromkeys((source, *((code,) if code else ()))))
        steps = range(age * config.window, (age + 1) * config.window)
        values, state = straight_through_window(
            network, x, self._states[turn] if age else None, steps, seed,
            weights=weights, record=record,
        )  # fmt: skip
        error = picture(network, values[source], weights) - torch.from_numpy(x)[:, None]
        # Later iterations: slopes of a few alone would make weights long, at which errors fall at
        # once and counts become few and coarse thereafter.
        loss = error[:, config.window // 2 :].square().sum(-1).mean()
        counts = values[code].detach() if code else values[source].detach()
        if not torch.isfinite(loss):
            raise PvaeNeuroError(
                f"fine-tuning diverged at update {self.done + 1} of {config.updates}; start again "
                f"with a lower learning rate"
            )
        self._move(loss)
        self._states[turn] = state
        zeros = float((counts == 0).double().mean())
        self._steer(zeros, 1.0 - float(self.expected[steps.start : steps.stop].mean()))
        self._recent.append((float(loss.detach()), zeros, float(counts.abs().mean())))
        self.done += 1
        means = np.mean(self._recent, axis=0)
        return dict(zip(("mse", "zeros", "mean"), map(float, means), strict=True))

    def _move(self, loss: Tensor) -> None:
        """One step of Adam, in units of mantissas."""
        names = list(self.units)
        slopes = torch.autograd.grad(loss, [self.parameters[n] for n in names])
        rate, number = self.config.rate_at(self.done), self.done + 1
        for name, slope in zip(names, slopes, strict=True):
            first, second = (self._averages[f"{kind}.{name}"] for kind in ("first", "second"))
            first.lerp_(slope, 1 - FIRST)
            second.lerp_(slope.square(), 1 - SECOND)
            root = (second / (1 - SECOND**number)).sqrt()
            step = first / (1 - FIRST**number) / (root + DAMPING * root.square().mean().sqrt())
            with torch.no_grad():
                # Synapses that there are: noise of slopes would make many more, all of them small.
                step = torch.nan_to_num(step) * self.synapses[name]
                self.parameters[name].sub_(step, alpha=rate)

    def _steer(self, zeros: float, expected: float) -> None:
        """Raise the leaks where more fires than in real numbers, and lower them where less does."""
        with torch.no_grad():
            for leak in self.leaks:
                self.parameters[leak].add_(self.config.activity * (expected - zeros))

    def _turn(self, update: int) -> tuple[int, int]:
        """Which batch takes its turn, and its age in windows."""
        ages = self.config.ages
        rounds, turn = divmod(update, ages)
        # Batches end one after the other, so that in time all ages are there.
        return turn, min(rounds, (rounds + turn) % ages)

    def _batch(self, update: int) -> tuple[NDArray[np.float32], int]:
        """Images and seed of the batch whose turn it is: the same until it has its last age."""
        config = self.config
        _, age = self._turn(update)
        born = update - age * config.ages
        order = np.random.default_rng([config.seed, _ORDER, born])
        chosen = order.choice(len(self.images), config.batch_size, replace=False)
        words = np.random.SeedSequence([config.seed, _NOISE, born])
        return self.images[np.sort(chosen)], int(words.generate_state(1, np.uint64)[0])

    def _float_activity(self) -> NDArray[np.float64]:
        """Share of the latents that fire in the float circuit, by iteration."""
        circuit = self.lowering.circuit(self.model)
        horizon = self.config.ages * self.config.window
        images = self.images[:ACTIVITY_IMAGES]
        words = {
            p.name: population_noise(p, self.config.seed, range(horizon + 1), range(len(images)))
            for p in circuit.drawing
        }
        if circuit.code is None:
            return np.zeros(horizon)
        states = circuit.run(images, words, horizon)
        return np.array([float((s[circuit.code] != 0).mean()) for s in states])[:horizon]

    # ------------------------------------------------------------------ checkpoints

    def save(self, path: Path) -> None:
        """Write all that a resumed run needs."""
        arrays = {f"parameter.{n}": p.detach().numpy() for n, p in self.parameters.items()}
        arrays |= {f"synapses.{n}": mask.numpy() for n, mask in self.synapses.items()}
        arrays |= {name: average.numpy() for name, average in self._averages.items()}
        for turn, state in enumerate(self._states):
            # Words have 24 bits, which float32 holds.
            arrays |= {f"state.{turn}.{n}": v.float().numpy() for n, v in (state or {}).items()}
        about = {
            "format": FORMAT, "identity": self.identity, "done": json.dumps(self.done),
            "recent": json.dumps(list(self._recent)),
            "seconds": json.dumps(self.seconds),
        }  # fmt: skip
        write_safetensors(path, arrays, about)

    def load(self, path: Path) -> None:
        """Go on from a file that :meth:`save` wrote.

        Raises
        ------
        InputError
            If it is of a run with another model, other settings or images.
        ModelFileError
            If it is no such file.
        """
        metadata, arrays, _ = read_safetensors(path)
        if metadata.get("format") != FORMAT:
            raise ModelFileError(
                f"{path}: expected the checkpoint of a fine-tuning, format {FORMAT!r}, got format "
                f"{metadata.get('format')!r}; delete it and start again"
            )
        if metadata.get("identity") != self.identity:
            raise InputError(
                f"cannot resume {path}: the run that stopped had another model, other settings or "
                f"other images; use the same ones, or delete it to start afresh"
            )
        numbers = {name: json.loads(metadata[name]) for name in ("done", "seconds")}
        self.done, self.seconds = int(numbers["done"]), float(numbers["seconds"])
        self._recent.extend(tuple(each) for each in json.loads(metadata["recent"]))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.from_numpy(arrays[f"parameter.{name}"]))
            for name, mask in self.synapses.items():
                mask.copy_(torch.from_numpy(arrays[f"synapses.{name}"]))
            for name, average in self._averages.items():
                average.copy_(torch.from_numpy(arrays[name]))
        for name, array in arrays.items():
            kind, turn, *rest = name.split(".", 2)
            if kind == "state":
                held = self._states[int(turn)] or {}
                held[rest[0]] = torch.from_numpy(array).double()
                self._states[int(turn)] = held


def _scales(network: IntegerNetwork, quantization: QuantizeConfig) -> Scales:
    """Scales that the network was lowered with."""
    counts = [p.sampler.max_count for p in network.drawing if p.sampler is not None]
    bits, frac_bits = quantization.weight_bits, quantization.frac_bits
    return Scales(
        bits, frac_bits, INPUT_FRAC_BITS, max(counts, default=1),
        latent_units=quantization.latent_units,
    )  # fmt: skip


def _power(array: NDArray[np.float32], mantissas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Units of columns, as powers of two."""
    unit = unit_of(array.astype(np.float64), mantissas, rows_too=False)
    found: NDArray[np.float64] = np.exp2(np.rint(np.log2(unit)))
    return found
