"""From a saved model to an integer network, its certificate and its file."""
