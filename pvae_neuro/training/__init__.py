"""Training of a model of any family: settings, loop, and resumable state."""
