"""One inference loop and one evaluation for models of every family."""
