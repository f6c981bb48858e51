"""Engines: everything that runs an integer network and gives the same integers."""
