"""The artifact: an ONNX file that holds a network, its graph and its golden vector."""
