"""Loihi 2 through Lava, by stages, and what stands in for its closed parts off the chip.

``Board`` says what the machine behind Lava is, ``wiring`` makes the graph of a stage, ``latency``
measures how long messages take, ``recorder`` runs and reads single steps, ``costs`` asks the
profilers. Importing this package does not import Lava.
"""
