"""Generalized predictive coding: nodes of any exponential family, one rule of inference."""
