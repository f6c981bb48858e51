"""Engine that runs on Loihi 2, by stages. Importing this module does not import Lava."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.checks import Check
from pvae_neuro.sim.engine import Block, BlockResult
from pvae_neuro.sim.lava.available import require_lava
from pvae_neuro.sim.lava.board.board import Board
from pvae_neuro.sim.lava.board.job import BoardJob
from pvae_neuro.sim.lava.board.readable import unreadable
from pvae_neuro.sim.lava.board.stages import INJECTED, stage_of
from pvae_neuro.sim.lava.engine import LavaEngine, job_of
from pvae_neuro.sim.lava.exchange import Job
from pvae_neuro.sim.lava.supervisor import Supervisor
from pvae_neuro.sim.noise import check_whole

# Compiling a network for a chip takes minutes.
TIMEOUT = 1800.0


class Loihi2Engine(LavaEngine):
    """Loihi 2 hardware; refuses, with the reasons, where it is not there.

    Nothing in this package has run on a chip.

    Parameters
    ----------
    stage : {"S1", "S2", "S3"}
        Where the neurons run: on the host, on embedded processors, on cores. Connections are on
        cores in all of them.
    board : Board, optional
        By default the one that the environment selects.
    ucode : mapping of str to str, or str, optional
        For S3: models of the process ``CoreNeurons``, ``module:Class``, by population, or one
        for all of them.
    noise : {"injected", "chip"}
        Whose random words are drawn with: those of the definition, which gives equal integers; or,
        in S3, those of the chip's own generator, which gives an equal distribution at best.
    cost_steps : int
        Lava steps of each of two readings of power after the samples; 0 reads none.
    timeout : float
        Seconds without any progress after which the run is given up.

    Attributes
    ----------
    found : dict
        What the last block left beside its integers: board, versions, latency, times, power.

    Raises
    ------
    InputError
        If an option is out of range.
    """

    name = "loihi2"
    packages = ("lava-nc", "lava-loihi")
    has_frames = False
    worker: ClassVar[str] = "pvae_neuro.sim.lava.board.worker"

    def __init__(
        self,
        stage: str = "S1",
        board: Board | None = None,
        ucode: Mapping[str, str] | str | None = None,
        noise: str = INJECTED,
        cost_steps: int = 0,
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(timeout)
        self.stage = stage_of(stage, ucode, noise)
        self.board = Board() if board is None else board
        if not isinstance(self.board, Board):
            raise InputError(f"board: expected a Board, got {type(self.board).__name__}")
        self.cost_steps = check_whole("cost_steps", cost_steps, 0, 1 << 31)
        self.found: dict[str, Any] = {}

    def checks(self) -> list[Check]:
        """What a run on the board needs."""
        return self.board.checks()

    def require(self) -> None:
        """Raise :class:`EngineUnavailableError` with everything that is missing."""
        require_lava()
        self.board.require()

    def unsupported(self, network: IntegerNetwork) -> list[str]:
        """What a network needs and the stage cannot do exactly."""
        found = super().unsupported(network)
        return found or unreadable(network)

    def _job(self, folder: str, block: Block) -> Job:
        return BoardJob(
            **job_of(folder, block),
            board=self.board,
            stage=self.stage,
            cost_steps=self.cost_steps,
        )

    def _collect(self, supervisor: Supervisor, job: Job, block: Block) -> BlockResult:
        result = super()._collect(supervisor, job, block)
        if isinstance(job, BoardJob):
            self.found = job.read_found()
        return result
