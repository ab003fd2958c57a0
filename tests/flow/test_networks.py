"""Networks of other libraries' that hold recurrent ones, unmodified and in small."""

from __future__ import annotations

import pytest
import torch

import trtnn
from tests.compare import worst_error
from tests.flow.proving import prove
from tests.vocabulary.networks import Network, SpeakerEncoder, encodec, enliven

ENCODEC = {"num_filters": 4, "hidden_size": 16, "upsampling_ratios": [4, 2]}
ENCODEC |= {"codebook_size": 16, "codebook_dim": 16}


def proved(network: Network, inputs: list[trtnn.Input]) -> list[str]:
    """Hold a network to eager and to all builders; return the names of its ops."""
    module = enliven(network.module)
    graph = prove(module, inputs, [network.args], tolerance=1e-4)
    return [node.op.name for node in graph.nodes]


def test_a_speaker_encoder_for_any_number_of_frames() -> None:
    batch, frames = trtnn.Dim("batch", 1, 2, 4), trtnn.Dim("frames", 1, 160, 400)
    network = Network(SpeakerEncoder(8), (torch.randn(2, 160, 40),))
    assert proved(network, [trtnn.Input((batch, frames, 40))]).count("Loop") == 3


def test_the_decoder_of_encodec() -> None:
    pytest.importorskip("transformers")
    network = encodec(1, 16, 20, **ENCODEC)()
    assert proved(network, [trtnn.Input((1, 16, 20))]).count("Loop") == 2
    with torch.no_grad():  # two inputs, two sounds
        one, other = (network.module(torch.randn(1, 16, 20)) for _ in range(2))
    assert worst_error(one, other) > 0.1
