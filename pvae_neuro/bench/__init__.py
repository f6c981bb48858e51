"""Timing of engines against a PyTorch step, side by side in one run: the verb ``bench``."""
