"""What stands in for the board and the closed parts of Lava, on the CPU. It is no chip.

``modules`` enters modules under the names of lava-loihi's, ``adapters`` and ``cores`` hold the
processes and models in them.
"""
