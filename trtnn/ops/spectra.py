"""Spectra of short parts of a signal: a convolution with windowed cosines and sines."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.ops.complex import is_complex, join
from trtnn.ops.convolution import conv1d
from trtnn.ops.fourier import MOST, angles
from trtnn.ops.joining import stack
from trtnn.ops.movement import reshape, unsqueeze
from trtnn.ops.op import REFUSED, TensorT, shape_of, spec_of, torch_function
from trtnn.ops.padding import pad
from trtnn.ops.slicing import known_of, narrow

__all__: list[str] = []

T = torch.Tensor


def _window(window: Any, length: int, n_fft: int, dtype: torch.dtype) -> TensorT:
    """Return the window in the middle of a part of ``n_fft`` entries."""
    if window is None:
        window = torch.ones(length, dtype=dtype)
    if known_of(window) is None or is_complex(window):
        raise UnsupportedError("stft: expected a window that is real, and known when compiling")
    if shape_of(window) != (length,):
        raise ShapeError(f"stft: expected a window of {length} entries, got {spec_of(window)}")
    before = (n_fft - length) // 2
    return pad(window, (before, n_fft - length - before))


@torch_function(torch.stft, torch.functional.stft, T.stft)
def stft(
    input: TensorT,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> TensorT:
    """Transform parts of a real signal that begin ``hop_length`` entries after each other.

    Shapes: (time) or (batch, time) to (batch, frequencies, parts); the time may be symbolic.

    Raises:
        UnsupportedError: The window is not known, or ``n_fft`` is more than 4096.
    """
    shape, dtype = shape_of(input), spec_of(input).dtype
    hop, length = hop_length or n_fft // 4, win_length or n_fft
    if not dtype.is_floating_point:
        raise DTypeError(f"stft: expected a floating dtype, got {dtype}")
    if len(shape) not in (1, 2) or not 0 < length <= n_fft:
        raise ShapeError(f"stft: {spec_of(input)} by n_fft={n_fft}, win_length={length}")
    if n_fft > MOST or align_to_window:
        raise UnsupportedError(f"stft: n_fft={n_fft} of at most {MOST}, from the first entry on")
    if return_complex is None:
        raise UnsupportedError("stft: expected return_complex to be True or False, got None")
    signal = reshape(input, (1, 1, shape[0])) if len(shape) == 1 else unsqueeze(input, 1)
    if center:
        signal = pad(signal, (n_fft // 2, n_fft // 2), pad_mode)
    count = n_fft if onesided is False else n_fft // 2 + 1
    turns = angles(count, n_fft, n_fft)
    waves = torch.cat((turns.cos(), -turns.sin())) * (n_fft**-0.5 if normalized else 1.0)
    kernel = waves.to(dtype) * _window(window, length, n_fft, dtype)
    result = conv1d(signal, unsqueeze(kernel, 1), stride=hop)
    parts = [narrow(result, 1, start, count) for start in (0, count)]
    if len(shape) == 1:
        parts = [reshape(part, shape_of(part)[1:]) for part in parts]
    return join(*parts) if return_complex else stack(parts, -1)


REFUSED.update(
    dict.fromkeys(
        (torch.istft, torch.functional.istft, T.istft),
        (
            "a signal is not put together from its spectra here",
            "return the spectrum, as torch.view_as_real, and call torch.istft on it",
        ),
    )
)
