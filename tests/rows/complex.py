"""Rows of complex tensors, which a graph holds as their parts, and of Fourier transforms."""

from __future__ import annotations

from typing import Any

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import UnsupportedError

HALF = torch.float16
FFT = torch.fft
of = torch.view_as_complex


def shown(z: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(z.resolve_conj())


def rotated(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotary positions as llama has them: pairs of features are complex numbers that turn."""
    turns = torch.polar(torch.ones_like(angles), angles)[: x.shape[1]]
    pairs = of(x.float().reshape(*x.shape[:-1], -1, 2))
    sizes = [d if i in (1, pairs.ndim - 1) else 1 for i, d in enumerate(pairs.shape)]
    return torch.view_as_real(pairs * turns.view(*sizes)).flatten(3).type_as(x)


def reckoned(x: torch.Tensor, y: torch.Tensor) -> Any:
    a, b = of(x), of(y)
    return shown(a / b - 1j * a + 2 - b.conj() ** 2), (a - x[..., 0]).imag, (2.0 / a).real, a == b


def moved(x: torch.Tensor) -> Any:
    z = torch.cat([of(x), of(x).conj()], 1).unsqueeze(0).transpose(1, 2)
    return shown(z[0, 1:]), z.sum(-1).real, [p.imag for p in z.split(1, 1)]


ROWS: list[Row] = [
    Row(rotated, T(B, S, 2, 8, dtype=HALF), C(9, 4)),
    Row(reckoned, T(B, S, 2, low=1.0, high=2.0), T(S, 2, low=-2.0, high=-1.0)),
    Row(moved, T(B, 3, 2)),
    Row(lambda x: (of(x).abs(), of(x).angle()), T(B, 9, 2), name="abs and angle"),
    Row(lambda x: of(x * 0).abs(), T(B, 2), name="abs of 0"),
    Row(
        lambda x, y: shown(torch.einsum("bix,iox->box", of(x), of(y))),
        T(B, 3, 4, 2),
        C(3, 2, 4, 2),
        name="einsum, as Fourier operators have it",
    ),
    Row(lambda x, y: shown(torch.complex(x, y) @ of(torch.ones(3, 2, 2))), T(B, 3), T(B, 3)),
    Row(lambda x, w: (of(w).conj().imag * x, x + of(w).imag), T(3), C(3, 2), name="a known sign"),
    Row(lambda x: of(x), T(3, 2), raises=UnsupportedError, name="a complex result"),
    Row(lambda x: torch.erf(of(x)), T(3, 2), raises=UnsupportedError, name="erf of complex"),
    Row(lambda x: of(x).mul_(2).real, T(3, 2), raises=UnsupportedError, name="in place"),
    Row(lambda x: FFT.fftn(x, dim=(1, 2)).real, T(B, 5, 6), name="fftn, as FNet has it"),
    Row(
        lambda x: FFT.irfft2(FFT.rfft2(x, dim=(1, 2), norm="ortho"), (5, 6), (1, 2), "ortho"),
        T(B, 5, 6, 2),
        name="rfft2 and back, as GFNet has it",
    ),
    Row(lambda x: shown(FFT.ifft(of(x), 7, 0, "forward")), T(5, S, 2), name="ifft, filled up"),
    Row(lambda x: FFT.hfft(of(x), 5), T(B, 4, 2), name="hfft"),
    Row(lambda x: shown(FFT.ihfft(x, 3)), T(B, 5), name="ihfft, cut"),
    Row(lambda x: FFT.fftshift(FFT.rfft(x), -1).imag, T(B, 7), name="fftshift"),
    Row(lambda x: FFT.ifftshift(x), T(B, S), name="ifftshift of sizes"),
    Row(
        lambda x, w: torch.stft(x, 8, 3, 6, w, return_complex=True).abs() ** 2,
        T(B, 9 + S),
        C(6, low=0.1),
        name="stft of a size, as spectrograms have it",
    ),
    Row(
        lambda x, w: (
            torch.stft(
                x, 6, window=w, center=False, normalized=True, onesided=False, return_complex=True
            ).imag
        ),
        T(11),
        C(6),
        name="stft of both sides",
    ),
    Row(lambda x: FFT.fft(x).real, T(2, S), raises=UnsupportedError, name="fft of a size"),
]
