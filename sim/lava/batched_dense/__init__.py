"""Connection that carries several samples at a time, as a Lava Process."""
