"""The artifact: an ONNX file that holds a network, its graph and its golden vector."""

from __future__ import annotations

from pvae_neuro.exporters.onnx.file import Artifact, read_onnx, to_bytes, write_onnx
from pvae_neuro.exporters.onnx.golden import Golden
from pvae_neuro.exporters.onnx.graph import build_model

__all__ = ["Artifact", "Golden", "build_model", "read_onnx", "to_bytes", "write_onnx"]
