"""Error neurons as a Lava Process."""
