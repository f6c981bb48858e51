"""Whitening and contrast normalization of photographs, in the Fourier domain.

The amplitude spectrum of photographs falls as 1/f. The filter

    R(f) = f exp(-(f / f0)^4)

of Olshausen and Field (1997, section 3) undoes that up to the cut-off f0 and removes what lies
above, where noise and the corners of the sampling lattice are. They took f0 = 200 cycles per
picture of 512 pixels: 0.390625 cycles per pixel, or 0.78125 of the Nyquist frequency. Here f0 is
stated relative to Nyquist, so that it means the same for photographs of any size.
"""

from __future__ import annotations

import numpy as np

from pvae_neuro.data.arrays import Float32
from pvae_neuro.errors import InputError

CUTOFF = 0.78125
"""Cut-off f0 of Olshausen and Field, relative to the Nyquist frequency of 0.5 cycles per pixel."""

_NYQUIST = 0.5
# Wrapped borders would ring; the filter's kernel falls as 1/r^3, so this much mirror is enough.
_MIRROR = 64


def whitening_response(height: int, width: int, cutoff: float = CUTOFF) -> Float32:
    """Response R(f) = f exp(-(f/f0)^4) on the frequencies of :func:`numpy.fft.rfft2`.

    Parameters
    ----------
    height, width : int
        Of the picture, in pixels.
    cutoff : float
        f0, relative to the Nyquist frequency.

    Returns
    -------
    ndarray of float32, [H, W // 2 + 1]
        f in cycles per pixel, isotropic; zero at f = 0, so that the mean goes.

    Raises
    ------
    InputError
        If the cut-off is not in (0, 1].
    """
    if not 0.0 < cutoff <= 1.0:
        raise InputError(
            f"cutoff: expected a part of the Nyquist frequency, in (0, 1], got {cutoff}"
        )
    frequency = _frequencies(height, width)
    response = frequency * np.exp(-((frequency / (cutoff * _NYQUIST)) ** 4))
    return response.astype(np.float32)


def whiten(picture: Float32, cutoff: float = CUTOFF, boundary: str = "mirror") -> Float32:
    """Whiten a photograph whose amplitude spectrum falls as 1/f.

    Parameters
    ----------
    picture : ndarray of float32, [H, W]
    cutoff : float
        See :func:`whitening_response`.
    boundary : {"mirror", "periodic"}
        What lies beyond the borders: up to 64 mirrored pixels, so that opposite borders do not
        ring into each other, or the picture itself again.

    Returns
    -------
    ndarray of float32, [H, W]
        Zero mean up to borders.

    Raises
    ------
    InputError
        If the cut-off or the boundary is none.
    """
    if boundary not in ("mirror", "periodic"):
        raise InputError(f"boundary: expected 'mirror' or 'periodic', got {boundary!r}")
    margin = min(_MIRROR, *picture.shape) if boundary == "mirror" else 0
    padded = np.pad(picture - picture.mean(), margin, mode="symmetric")
    height, width = padded.shape
    filtered = _filter(padded, whitening_response(height, width, cutoff))
    return np.ascontiguousarray(_inside(filtered, margin))


def normalize_contrast(picture: Float32) -> Float32:
    """Subtract the mean of a picture and divide by its standard deviation.

    Parameters
    ----------
    picture : ndarray of float32, [H, W]

    Returns
    -------
    ndarray of float32, [H, W]
        Zero mean, unit variance; a constant picture becomes zero.
    """
    centred = picture - picture.mean()
    deviation = float(centred.std())
    return centred / np.float32(deviation) if deviation > 0.0 else centred


def normalize_local_contrast(picture: Float32, radius: float, floor: float = 0.1) -> Float32:
    """Subtract the local mean and divide by the local standard deviation.

    Both are taken under a Gaussian window. Regions almost without contrast are divided by
    ``floor`` of the picture's own standard deviation instead, so that their noise is not blown up.

    Parameters
    ----------
    picture : ndarray of float32, [H, W]
    radius : float
        Standard deviation of the window, in pixels.
    floor : float
        Smallest divisor, relative to the standard deviation of the picture after the local mean
        was taken away.

    Returns
    -------
    ndarray of float32, [H, W]

    Raises
    ------
    InputError
        If the radius is not positive.
    """
    if not radius > 0.0:
        raise InputError(f"radius: expected a positive number of pixels, got {radius}")
    centred = picture - _blur(picture, radius)
    deviation = np.sqrt(np.maximum(_blur(centred * centred, radius), 0.0))
    lowest = np.float32(floor) * centred.std()
    divisor = np.maximum(deviation, lowest)
    return np.divide(centred, divisor, out=np.zeros_like(centred), where=divisor > 0.0)


def radial_spectrum(picture: Float32, bins: int = 32) -> tuple[Float32, Float32]:
    """Mean power in rings of equal frequency, up to Nyquist.

    Parameters
    ----------
    picture : ndarray of float32, [H, W]
    bins : int
        Number of rings.

    Returns
    -------
    frequency : ndarray of float32, [bins]
        Middle of each ring, relative to Nyquist.
    power : ndarray of float32, [bins]
        Mean of |F|^2 / (H W) over the ring, whose expectation is 1 for white noise of unit
        variance; the mean of the picture is left out.
    """
    spectrum = np.abs(np.fft.fft2(picture - picture.mean())) ** 2 / picture.size
    height, width = picture.shape
    ring = (_frequencies(height, width, whole=True) / _NYQUIST * bins).astype(np.int64).ravel()
    inside = ring < bins
    total = np.bincount(ring[inside], spectrum.ravel()[inside], minlength=bins)
    count = np.bincount(ring[inside], minlength=bins)
    middle = (np.arange(bins) + 0.5) / bins
    return middle.astype(np.float32), (total / np.maximum(count, 1)).astype(np.float32)


def _frequencies(height: int, width: int, whole: bool = False) -> Float32:
    """Radial frequency in cycles per pixel."""
    across = np.fft.fftfreq(width) if whole else np.fft.rfftfreq(width)
    return np.hypot(np.fft.fftfreq(height)[:, None], across[None]).astype(np.float32)


def _filter(picture: Float32, response: Float32) -> Float32:
    return np.fft.irfft2(np.fft.rfft2(picture) * response, s=picture.shape).astype(np.float32)


def _blur(picture: Float32, radius: float) -> Float32:
    # A window that reaches three deviations, as far as the picture can be mirrored.
    margin = min(int(np.ceil(3 * radius)), *picture.shape)
    padded = np.pad(picture, margin, mode="symmetric")
    height, width = padded.shape
    frequency = _frequencies(height, width)
    response = np.exp(-2.0 * (np.pi * radius * frequency) ** 2).astype(np.float32)
    return _inside(_filter(padded, response), margin)


def _inside(padded: Float32, margin: int) -> Float32:
    height, width = padded.shape
    return padded[margin : height - margin, margin : width - margin]
