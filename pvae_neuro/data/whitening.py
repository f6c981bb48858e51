"""Whitening and contrast normalization of photographs [H, W], in the Fourier domain.

The amplitude spectrum of photographs falls as 1/f. The filter

    R(f) = f exp(-(f / f0)^4)

of Olshausen and Field (1997, section 3) undoes that up to the cut-off f0 and removes what lies
above, where noise and the corners of the sampling lattice are. They took f0 = 200 cycles per
picture of 512 pixels: 0.390625 cycles per pixel, or 0.78125 of the Nyquist frequency. Here f0 is
relative to Nyquist, so that it means the same for photographs of any size.
"""

from __future__ import annotations

import numpy as np

from pvae_neuro.data.images import Float32
from pvae_neuro.errors import InputError

CUTOFF = 0.78125
"""Cut-off f0 of Olshausen and Field, relative to the Nyquist frequency of 0.5 cycles per pixel."""

LARGEST_RADIUS = 1e6
RADIUS_WORDS = f"a positive number of pixels, at most {LARGEST_RADIUS:,.0f}"

_NYQUIST = 0.5
# Wrapped borders would ring. The filter's kernel falls as 1/r^3, so this many mirrored pixels
# suffice.
_MIRROR = 64


def whitening_response(height: int, width: int, cutoff: float = CUTOFF) -> Float32:
    """Response R(f), [H, W // 2 + 1], on the frequencies of :func:`numpy.fft.rfft2`.

    f is the radial frequency in cycles per pixel; R(0) = 0 removes the mean. ``cutoff`` is f0
    relative to the Nyquist frequency, in (0, 1], or else :class:`InputError` is raised.
    """
    if not 0.0 < cutoff <= 1.0:
        raise InputError(
            f"cutoff: expected a part of the Nyquist frequency, in (0, 1], got {cutoff}"
        )
    frequency = _frequencies(height, width).astype(np.float64)
    # Far above a low cut-off the power exceeds all numbers, and the response is 0.
    with np.errstate(over="ignore"):
        response = frequency * np.exp(-((frequency / (cutoff * _NYQUIST)) ** 4))
    return response.astype(np.float32)


def whiten(picture: Float32, cutoff: float = CUTOFF, boundary: str = "mirror") -> Float32:
    """Whiten a photograph whose amplitude spectrum falls as 1/f.

    Beyond the borders lie up to 64 mirrored pixels, so that opposite borders do not ring into each
    other, or, with ``boundary="periodic"``, the picture itself again. The mean of the result is
    zero, apart from effects of the borders.
    """
    if boundary not in ("mirror", "periodic"):
        raise InputError(f"boundary: expected 'mirror' or 'periodic', got {boundary!r}")
    margin = min(_MIRROR, *picture.shape) if boundary == "mirror" else 0
    padded = np.pad(picture - picture.mean(), margin, mode="symmetric")
    height, width = padded.shape
    filtered = _filter(padded, whitening_response(height, width, cutoff))
    return np.ascontiguousarray(_inside(filtered, margin))


def normalize_contrast(picture: Float32) -> Float32:
    """Give a picture zero mean and unit variance; a constant one becomes zero."""
    centred = picture - picture.mean()
    deviation = float(centred.std())
    return centred / np.float32(deviation) if deviation > 0.0 else centred


def normalize_local_contrast(picture: Float32, radius: float, floor: float = 0.1) -> Float32:
    """Subtract the local mean and divide by the local standard deviation.

    Both are taken under a Gaussian window whose standard deviation is ``radius`` pixels. The
    divisor is at least ``floor`` times the standard deviation of the whole picture (after the
    local mean was subtracted), so that noise in flat regions is not amplified.
    """
    if not 0.0 < radius <= LARGEST_RADIUS:
        raise InputError(f"radius: expected {RADIUS_WORDS}, got {radius}")
    centred = picture - _blur(picture, radius)
    deviation = np.sqrt(np.maximum(_blur(centred * centred, radius), 0.0))
    lowest = np.float32(floor) * centred.std()
    divisor = np.maximum(deviation, lowest)
    return np.divide(centred, divisor, out=np.zeros_like(centred), where=divisor > 0.0)


def _frequencies(height: int, width: int) -> Float32:
    """Radial frequencies of ``rfft2``, in cycles per pixel."""
    down, across = np.fft.fftfreq(height), np.fft.rfftfreq(width)
    return np.hypot(down[:, None], across[None]).astype(np.float32)


def _filter(picture: Float32, response: Float32) -> Float32:
    return np.fft.irfft2(np.fft.rfft2(picture) * response, s=picture.shape).astype(np.float32)


def _blur(picture: Float32, radius: float) -> Float32:
    # The window reaches three standard deviations, or as far as the picture can be mirrored.
    margin = min(int(np.ceil(3 * radius)), *picture.shape)
    padded = np.pad(picture, margin, mode="symmetric")
    height, width = padded.shape
    frequency = _frequencies(height, width)
    response = np.exp(-2.0 * (np.pi * radius * frequency) ** 2).astype(np.float32)
    return _inside(_filter(padded, response), margin)


def _inside(padded: Float32, margin: int) -> Float32:
    height, width = padded.shape
    return padded[margin : height - margin, margin : width - margin]
