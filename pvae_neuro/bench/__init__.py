"""Benchmarks of engines, side by side in one run."""
