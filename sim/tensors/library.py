"""PyTorch: imported when an engine needs it, and kept from changing a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.utils.show import show

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda")


def torch_library() -> ModuleType:
    """PyTorch; :class:`EngineUnavailableError` if it cannot be imported."""
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailableError(
            f"engine torch: expected PyTorch, got {error}; pip install 'pvae-neuro[train]'. "
            f"The engine 'reference' gives the same integers"
        ) from error
    return torch


def usable_device(name: str | None) -> torch.device:
    """The device of that name; by default the GPU that CUDA has as its current one, else the CPU.

    Raises
    ------
    EngineUnavailableError
        If PyTorch is missing, or has no such device here.
    """
    torch = torch_library()
    cuda = torch.cuda.is_available()
    try:
        device = torch.device(("cuda" if cuda else "cpu") if name is None else name)
    except RuntimeError:
        device = None
    if device is None or device.type not in DEVICES:
        raise EngineUnavailableError(
            f"engine torch: expected the device cpu, cuda or cuda:N, got {show(name)}"
        )
    count = torch.cuda.device_count() if cuda else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise EngineUnavailableError(
            f"engine torch: expected a device of this machine, got {str(device)!r} where PyTorch "
            f"{torch.__version__} finds {count} GPUs; the device cpu gives the same integers"
        )
    return torch.device("cpu") if device.type == "cpu" else device


class _Precision:
    """How many runs need full precision now, and what puts back what the process had chosen."""

    lock = Lock()
    runs = 0
    put_back: Callable[[], None]


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Keep to full float32 products while this lasts, whatever the process has chosen.

    Sums of a proved network are exact in float32. TF32, and bfloat16 (``medium`` precision,
    autocast), round operands to 11 or 8 bits first, and they are not. The choice belongs to the
    process, so that products of other threads are exact meanwhile too; the last run that ends puts
    it back.
    """
    torch = torch_library()
    with _Precision.lock:
        if not _Precision.runs:
            _Precision.put_back = _full_precision(torch)
        _Precision.runs += 1
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        with _Precision.lock:
            _Precision.runs -= 1
            if not _Precision.runs:
                _Precision.put_back()


def _full_precision(torch: ModuleType) -> Callable[[], None]:
    """Choose full precision; what is returned puts the former choice back."""
    parts = [torch.backends.mkldnn, torch.backends.cuda]
    products = [p.matmul for p in parts if hasattr(getattr(p, "matmul", None), "fp32_precision")]
    if len(products) < len(parts):
        # Before PyTorch 2.9 there is one choice for all.
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        return lambda: torch.set_float32_matmul_precision(before)
    chosen = [product.fp32_precision for product in products]

    def choose(precisions: list[str]) -> None:
        for product, precision in zip(products, precisions, strict=True):
            product.fp32_precision = precision

    choose(["ieee"] * len(products))
    return lambda: choose(chosen)


def placed(values: NDArray[np.generic], device: torch.device, dtype: str) -> torch.Tensor:
    """An array as a tensor of its own."""
    return tensor_of(values, device).to(dtype=getattr(torch_library(), dtype), copy=True)


def tensor_of(values: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """An array as a tensor, which may share its memory."""
    # PyTorch has no tensors that cannot be written, as arrays of a file may be.
    writable = np.require(values, requirements=["C", "W"])
    return torch_library().from_numpy(writable).to(device)
