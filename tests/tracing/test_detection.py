"""torchvision's operators of boxes, and what follows the heads of its detectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import trtnn
from tests import boxes as oracle
from tests.compare import leaves
from tests.flow.proving import prove
from tests.ops.test_ops import check_lowering
from tests.real_builder import ABSENT, build
from tests.vocabulary.networks import enliven
from trtnn.errors import OptionError, UnsupportedError
from trtnn.graph.interpreter import run

torchvision = pytest.importorskip("torchvision")
from torchvision.models import detection  # noqa: E402
from torchvision.ops import batched_nms, nms, roi_align  # noqa: E402

COUNT = trtnn.Dim("count", 1, 20, 600)
BOXES, SCORES = trtnn.Input((COUNT, 4)), trtnn.Input((COUNT,))


@pytest.fixture
def operators() -> Iterator[None]:
    with oracle.operators():
        yield


def boxes(count: int) -> torch.Tensor:
    corners = torch.rand(count, 2) * 20
    return torch.cat((corners, corners + 1 + torch.rand(count, 2) * 15), 1)


@pytest.mark.usefixtures("operators")
def test_boxes_that_overlap_a_better_one_are_left_out() -> None:
    calls = [(boxes(n), torch.randn(n)) for n in (1, 40, 600)]
    calls += [(boxes(50), torch.randint(3, (50,)).float())]  # equal scores, and 0
    prove(lambda b, s: nms(b, s, 0.3), [BOXES, SCORES], calls, real=False)
    assert 1 < len(nms(*calls[1], 0.3)) < 40


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("spelling", [batched_nms, None], ids=["imported", "asked for"])
def test_boxes_of_other_classes_do_not_count(spelling: Any) -> None:
    def function(b: torch.Tensor, s: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        return (spelling or torchvision.ops.batched_nms)(b, s, kinds, 0.3)

    inputs = [trtnn.Input((60, 4)), trtnn.Input((60,)), trtnn.Input((60,), torch.int64)]
    call = (boxes(60), torch.randn(60), torch.randint(4, (60,)))
    prove(function, inputs, [call], real=False)
    assert len(function(*call)) > len(nms(*call[:2], 0.3))


@pytest.mark.usefixtures("operators")
def test_boxes_that_the_data_picked_are_compared() -> None:
    def function(b: torch.Tensor, s: torch.Tensor) -> Any:
        good = s > 0
        kept = torchvision.ops.nms(b[good], s[good], 0.3)[:5]
        return b[good][kept], s[good][kept]

    calls = [(boxes(n), torch.randn(n)) for n in (2, 40)]
    graph = prove(function, [BOXES, SCORES], calls, versions=("10", "11"), real=False)
    with pytest.raises(UnsupportedError, match="of a size that depends on data"):
        check_lowering(graph, "8.6", list(graph.dims))


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("ratio", [2, -1], ids=["a grid of two", "as large as the box"])
@pytest.mark.parametrize("aligned", [True, False])
def test_a_feature_map_in_boxes(ratio: int, *, aligned: bool) -> None:
    def function(x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return roi_align(x, rois, (3, 2), 0.5, ratio, aligned)

    rois = torch.tensor(
        [[0, 0, 0, 10, 12], [1, 2.2, 3.3, 9.1, 20], [0, -5, -6, 3, 3], [1, 13, 13, 30, 30]]
    )
    inputs = [trtnn.Input((2, 3, 9, 7)), trtnn.Input((COUNT, 5))]
    prove(function, inputs, [(torch.randn(2, 3, 9, 7), rois)], tolerance=1e-5)


def test_without_its_binary_torchvision_is_traced_too() -> None:
    def function(x: torch.Tensor, b: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        best = b[torchvision.ops.nms(b, s, 0.3)[:4]]
        return torchvision.ops.roi_align(x, [best], 3, 0.5, 2)

    inputs = [trtnn.Input((1, 3, 9, 7)), trtnn.Input((30, 4)), trtnn.Input((30,))]
    graph = trtnn.trace(function, inputs)
    given = [torch.randn(1, 3, 9, 7), boxes(30), torch.randn(30)]
    (found,) = run(graph, given)[0]
    with oracle.operators():
        torch.testing.assert_close(found, function(*given), rtol=1e-5, atol=1e-5)


def test_what_is_refused() -> None:
    given = [trtnn.Input((4000, 4)), trtnn.Input((4000,))]
    with pytest.raises(UnsupportedError, match="nms: 4000 boxes; TensorRT puts 3840 in order"):
        trtnn.trace(lambda b, s: torchvision.ops.nms(b, s, 0.5), given)
    with pytest.raises(OptionError, match="from 0 to 1, got 1\\.5"):
        trtnn.trace(lambda b, s: torchvision.ops.nms(b, s, 1.5), [BOXES, SCORES])
    graph = trtnn.trace(lambda b, s: torchvision.ops.nms(b, s, 0.5), [BOXES, SCORES])
    if not ABSENT:
        with pytest.raises(UnsupportedError, match="has no NMS: no size can depend on data"):
            build(graph)


# Detectors ----------------------------------------------------------------------------------------


class Levels(torch.nn.Module):
    """A RetinaNet from its heads on."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, *features: torch.Tensor) -> Any:
        net, sizes = self.net, [(64, 96)] * features[0].shape[0]
        images = detection.image_list.ImageList(torch.empty(len(sizes), 3, 64, 96), sizes)
        counts = [9 * f.shape[2] * f.shape[3] for f in features]
        heads = {k: list(v.split(counts, 1)) for k, v in net.head(list(features)).items()}
        anchors = [list(a.split(counts)) for a in net.anchor_generator(images, list(features))]
        return net.postprocess_detections(heads, anchors, sizes)


def scattered(net: Any) -> Any:
    """Return a detector whose heads find all classes everywhere, with other scores each."""
    enliven(net)
    with torch.no_grad():
        for parameter in net.head.parameters():
            parameter *= 0.7
    return net


def held(function: Any, shapes: list[tuple[int, ...]], least: int) -> None:
    """Hold detections to eager's on three inputs, and lower them."""
    calls = [[torch.rand(shape) for shape in shapes] for _ in range(3)]
    prove(function, [trtnn.Input(shape) for shape in shapes], calls, tolerance=1e-4, real=False)
    with torch.no_grad():
        found = list(leaves(function(*calls[0])))
    assert least < len(found[1]) == len(found[1].unique())


@pytest.mark.usefixtures("operators")
def test_a_single_shot_detector_whole() -> None:
    how: Any = {"weights": None, "weights_backbone": None, "num_classes": 4}
    net = scattered(
        detection.ssdlite320_mobilenet_v3_large(**how, topk_candidates=40, detections_per_img=60)
    )
    held(lambda image: net([image]), [(3, 240, 300)], 30)


@pytest.mark.usefixtures("operators")
def test_a_detector_of_levels_from_its_heads_on() -> None:
    how: Any = {"weights": None, "weights_backbone": None, "num_classes": 4}
    net = scattered(detection.retinanet_resnet50_fpn(**how, topk_candidates=50))
    sides = ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))
    held(Levels(net), [(1, 256, *side) for side in sides], 20)
