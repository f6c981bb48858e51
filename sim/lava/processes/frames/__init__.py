"""A source of frames as a Lava Process."""
