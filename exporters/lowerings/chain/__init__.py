"""Chains of nodes of exponential families: their circuit, in real numbers and in integers."""
