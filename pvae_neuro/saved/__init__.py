"""Models in files: ours, those of the authors' code, and copies with other counts."""
