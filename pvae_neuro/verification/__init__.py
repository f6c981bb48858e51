"""Evidence that engines agree with each other and with the float model."""
