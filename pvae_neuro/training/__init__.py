"""Training a model of any family: its settings, its loop, and its resumable state."""
