"""A connection of any kind, with any number of samples side by side, as a Lava Process."""
