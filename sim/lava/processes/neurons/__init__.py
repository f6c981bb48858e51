"""A population as a Lava Process."""
