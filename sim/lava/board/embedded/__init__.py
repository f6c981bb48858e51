"""Neurons in C on the embedded processors: the text, the process, and the files of its model."""
