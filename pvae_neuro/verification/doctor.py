"""What this machine has for each engine and device, what is missing, and whether it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pvae_neuro.errors import InputError, PvaeNeuroError
from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Readout,
    Sampler,
    Variable,
    shared,
)
from pvae_neuro.neurons.poisson import FIRE, INTEGRATE_LATERAL
from pvae_neuro.sim.checks import Check, package_check
from pvae_neuro.sim.compare import compare
from pvae_neuro.sim.engine import Engine, engine_names, get_engine
from pvae_neuro.utils.suggest import suggest

PING_ITERATIONS = 4
_EMULATE = "pip install 'pvae-neuro[emulate]'"


@dataclass(frozen=True)
class Device:
    """A device for which this package writes programs, and which it cannot reach itself.

    Attributes
    ----------
    packages : tuple of str
        What emulates its processors.
    processor : str
        As the engine ``c`` calls it.
    """

    packages: tuple[str, ...]
    processor: str

    def checks(self) -> list[Check]:
        """Whether its processors can be emulated, and a ping of one of them."""
        found = [package_check(name, _EMULATE) for name in self.packages]
        if all(check.passed for check in found):
            sent = ping(get_engine("c", processor=self.processor))
            found.append(replace(sent, found=f"{sent.found}; emulated {self.processor}, no board"))
        return found


DEVICES = {"spinnaker2": Device(("unicorn", "ziglang"), "cortex-m4")}
"""What is no engine. ``docs/spinnaker2.md`` says how to get at a board."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found for an engine or a device.

    Attributes
    ----------
    target : str
    checks : tuple of Check
        The last one is the ping, where the others passed and there is one.
    """

    target: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is missing."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        checks = [check.to_dict() for check in self.checks]
        return {"target": self.target, "passed": self.passed, "checks": checks}


def targets() -> list[str]:
    """Engines and devices that can be looked at."""
    return [*engine_names(), *DEVICES]


def diagnose(
    names: Sequence[str] = (), tell: Callable[[str], None] | None = None
) -> list[Diagnosis]:
    """Look at engines and devices: what is installed, what is missing, and a ping.

    Parameters
    ----------
    names : sequence of str
        Of :func:`targets`; none stands for all.
    tell : callable, optional
        Gets the name of each before it is looked at.

    Raises
    ------
    InputError
        If a name is not known.
    """
    known = targets()
    for name in names:
        if name not in known:
            raise InputError(
                f"target: expected an engine or a device, got {name!r}{suggest(name, known)}"
            )
    found = []
    for name in dict.fromkeys(names or known):
        if tell is not None:
            tell(name)
        found.append(Diagnosis(name, tuple(_checks(name))))
    return found


def _checks(name: str) -> list[Check]:
    if name in DEVICES:
        return DEVICES[name].checks()
    engine = get_engine(name)
    checks = engine.checks()
    if all(check.passed for check in checks):
        checks.append(ping(engine))
    return checks


def ping(engine: Engine) -> Check:
    """Run a network of one neuron and one weight, and compare it with the definition."""
    network, image = ping_network(), np.array([[0.5]])
    try:
        ours, defined = (
            one.run(network, image, PING_ITERATIONS, record="full", progress=False).variables
            for one in (engine, get_engine("reference"))
        )
    except PvaeNeuroError as error:
        return Check("ping", False, "failed", str(error))
    found = compare(network, ours, defined)
    result = f"{found.differing} of {found.compared} integers differ, one neuron and one weight"
    if found.differing == 0:
        return Check("ping", True, result)
    return Check("ping", False, result, f"{found.first}; report it with the versions above")


def ping_network() -> IntegerNetwork:
    """One neuron that draws about one count an iteration, and inhibits itself by one weight."""
    constants = {
        "leak": 0, "diagonal": 0, "u_min": -(4 << 14), "u_max": 3 << 14,
        "du_min": -(4 << 14), "du_max": 4 << 14,
    }  # fmt: skip
    neuron = Population(
        "latents",
        1,
        (Variable("u", shared(1 << 14)), Variable("z", shared(0), 7)),
        tuple(Constant(name, shared(value)) for name, value in constants.items()),
        (FIRE, INTEGRATE_LATERAL),
        Sampler(63, 14),
    )
    one = np.ones((1, 1), np.int8)
    return IntegerNetwork(
        name="ping",
        input=Input(1, 0.0, 1.0, 8, (1, 1)),
        encodings=(Encoding("drive", "h", one.astype(np.int32) * 64, 0, 1 << 16),),
        populations=(Population("drive", 1, (Variable("h", shared(0)),)), neuron),
        connections=(
            OneToOne("drive", "drive", "h", "latents", one[0], received_as="drive"),
            Dense("lateral", "latents", "z", "latents", -127 * one, 6, "lateral"),
        ),
        iteration=(
            Activation("latents", "fire"),
            Activation("latents", "integrate", ("drive", "lateral")),
        ),
        final=(Activation("latents", "fire"),),
        readout=Readout("latents", "z", one.astype(np.int16), None, 8),
    )
