"""Log-mel spectrograms as Whisper listens to them; refuses other front ends.

Source: `whisper/audio.py` of openai-whisper (`log_mel_spectrogram`); its filters are those of
`librosa.filters.mel`: Slaney's scale and area normalisation (Auditory Toolbox, 1998).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stackctl_daemon.inference.adapters.audio import RATE
from stackctl_daemon.inference.adapters.base import FloatArray

HOP = 160
_FFT = 400
_BLOCK = 512


def log_mel(samples: FloatArray, *, bands: int, frames: int) -> FloatArray:
    """Give ``(bands, frames)`` float32 of 16 kHz samples, with silence after their end.

    Args:
        samples: ``(count,)``; what lies beyond ``frames * HOP`` is left out.
        bands: of the mel scale.
        frames: of 10 ms.
    """
    length = frames * HOP
    sound = np.zeros(length, np.float32)
    sound[: len(samples)] = samples[:length]
    padded = np.pad(sound, _FFT // 2, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::HOP][:frames]
    window, filters = _hann(), mel_filters(bands)
    power = np.empty((frames, bands), np.float32)
    # Silence costs nothing: its frames are all alike.
    voiced = min(frames, -(-(len(samples) + _FFT) // HOP))
    power[voiced:] = 0.0
    for first in range(0, voiced, _BLOCK):
        spectrum = np.fft.rfft(pieces[first : min(first + _BLOCK, voiced)] * window)
        energy = spectrum.real**2 + spectrum.imag**2
        power[first : first + len(energy)] = energy.astype(np.float32) @ filters.T
    logs = np.log10(np.maximum(power, 1e-10))
    logs = np.maximum(logs, logs.max() - 8.0)
    found: FloatArray = np.ascontiguousarray(((logs + 4.0) / 4.0).T, dtype=np.float32)
    return found


@lru_cache(maxsize=2)
def mel_filters(bands: int) -> FloatArray:
    """Give triangles over the bins of the FFT: ``(bands, 201)`` float32 of area 1 in hertz."""
    bins = np.linspace(0.0, RATE / 2, _FFT // 2 + 1)
    edges = _hertz(np.linspace(0.0, _mel(RATE / 2), bands + 2))
    widths = np.diff(edges)
    slopes = edges[:, None] - bins[None, :]
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    scaled = triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    filters: FloatArray = scaled.astype(np.float32)
    return filters


# Slaney's scale: linear to 1 kHz at 15 mels, then 27 mels for each factor of 6.4.
_LINEAR, _KNEE, _STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27.0


def _mel(hertz: float) -> float:
    if hertz < _KNEE:
        return hertz / _LINEAR
    return float(_KNEE / _LINEAR + np.log(hertz / _KNEE) / _STEP)


def _hertz(mels: np.ndarray) -> np.ndarray:
    knee = _KNEE / _LINEAR
    high = _KNEE * np.exp(_STEP * (np.maximum(mels, knee) - knee))
    return np.where(mels < knee, mels * _LINEAR, high)


@lru_cache(maxsize=1)
def _hann() -> FloatArray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)).astype(np.float32)
