"""Neurons: one file for each rule, written once and traced into programs."""
