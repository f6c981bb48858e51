"""Engine ``torch``: programs on tensors, batched, on the processor or a GPU, and in training.

Nothing here imports torch when it is loaded.
"""
