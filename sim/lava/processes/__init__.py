"""Lava Processes. Each has a folder of its own: Lava executes every file beside a Process."""
