"""Figures of models and of proofs of equality."""
