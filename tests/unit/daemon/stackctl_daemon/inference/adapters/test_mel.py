from __future__ import annotations

import numpy as np

from stackctl_daemon.inference.adapters.mel import log_mel, mel_filters


def test_filters_have_unit_area_and_slaneys_centres() -> None:
    filters = mel_filters(80)

    assert filters.shape == (80, 201)
    # From 1 kHz up a triangle spans enough bins of 40 Hz for the sum to be its area.
    np.testing.assert_allclose(filters[40:].sum(axis=1) * 40, 1.0, atol=0.07)
    # librosa.filters.mel(sr=16000, n_fft=400, n_mels=80): its largest value.
    assert filters.max() == np.float32(0.025880685)


def test_a_fading_sweep_is_as_the_reference_has_it() -> None:
    """Recorded from `FeatureExtractor` of faster-whisper 1.2.1, in bands 0, 10, 30, 60 and 79."""
    time = np.arange(32_000) / 16_000
    sweep = 0.5 * np.sin(2 * np.pi * (200 * time + 900 * time**2)) * np.exp(-time)

    found = log_mel(sweep.astype(np.float32), bands=80, frames=3000)

    low = -0.58974
    recorded = {
        0: [1.16798, 0.90561, 0.39329, -0.0764, -0.25334],
        50: [low, low, 0.93314, low, low],
        199: [low, low, low, 0.85036, low],
        500: [low] * 5,
    }
    for frame, values in recorded.items():
        np.testing.assert_allclose(found[[0, 10, 30, 60, 79], frame], values, atol=2e-5)


def test_silence_is_flat_and_long_sound_is_cut() -> None:
    flat = log_mel(np.zeros(1, np.float32), bands=80, frames=3000)

    np.testing.assert_allclose(flat, -1.5, atol=1e-6)
    assert log_mel(np.ones(500_000, np.float32), bands=80, frames=3000).shape == (80, 3000)
