"""The timing cache: where it starts from, what it ends in, and its file."""

from __future__ import annotations

import fcntl
import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import tests.double as double
import trtnn
from tests.double.surface import VERSIONS
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.errors import BuildError, OptionError
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT
from trtnn.trt.timing import Timings, combine, load, timing_cache_file


class Convolutions(torch.nn.Module):
    """Layers that TensorRT times one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            [torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.Conv2d(16, 8, 5)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


class Fused(torch.nn.Module):
    """What TensorRT makes one region of."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.norm = torch.nn.Linear(32, 32), torch.nn.LayerNorm(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.query(x)
        return self.norm(torch.softmax(y @ x.transpose(2, 3), -1) @ x)


DOUBLES = {version: double.load(version) for version in VERSIONS}


def built(version: str, forward: Any, **chosen: Any) -> Engine:
    library = TensorRT(DOUBLES[version])
    graph = trtnn.trace(lambda x: forward(x), [trtnn.Input((2, 3))])
    return build(graph, library, BuildOptions(**chosen))


def entries(content: bytes) -> list[str]:
    return content.decode().splitlines()[1:]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_grows_from_build_to_build(version: str, tmp_path: Path) -> None:
    path = tmp_path / "made" / "too" / "timings"
    first = built(version, torch.relu, timing_cache=str(path))
    one = path.read_bytes()
    assert entries(one) and first.timing_cache == one
    assert first.timing_digest == hashlib.sha256(b"").hexdigest()
    second = built(version, torch.exp, timing_cache=path)
    two = path.read_bytes()
    assert set(entries(one)) < set(entries(two)) and second.timing_cache == two
    assert second.timing_digest == hashlib.sha256(one).hexdigest()
    assert sorted(p.name for p in path.parent.iterdir()) == ["timings", "timings.lock"]


@pytest.mark.parametrize("version", VERSIONS)
def test_none_and_bytes_stay_in_memory(version: str) -> None:
    first = built(version, torch.relu)
    assert first.timing_cache is not None
    second = built(version, torch.exp, timing_cache=first.timing_cache)
    assert second.timing_cache is not None
    assert set(entries(first.timing_cache)) < set(entries(second.timing_cache))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("chosen", [{"timing_cache": False}, {"builder_optimization_level": 0}])
def test_no_timing_cache_is_attached(version: str, chosen: Any) -> None:
    made = built(version, torch.relu, **chosen)
    assert (made.timing_cache, made.timing_digest) == (None, None)


@pytest.mark.parametrize("version", ["8.6", "10"])
def test_an_algorithm_selector_turns_it_off(version: str) -> None:
    selector = DOUBLES[version].IAlgorithmSelector()
    assert built(version, torch.relu, algorithm_selector=selector).timing_cache is None


def test_what_another_process_added_in_the_meantime_stays(tmp_path: Path) -> None:
    path = tmp_path / "timings"
    timings = load(BuildOptions(timing_cache=path))
    assert timings is not None
    path.write_bytes(b"theirs ")
    timings.add(b"ours", lambda present, measured: present + measured)
    assert path.read_bytes() == b"theirs ours"


def test_the_file_is_replaced_at_once_and_under_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "timings"
    path.write_bytes(b"old")
    seen = []

    def combine(present: bytes, measured: bytes) -> bytes:
        with open(tmp_path / "timings.lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                seen.append("locked")
        return present + measured

    with open(path, "rb") as reader:
        Timings(b"", path).add(b" new", combine)
        assert reader.read() == b"old"
    assert (seen, path.read_bytes()) == (["locked"], b"old new")
    with open(tmp_path / "timings.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_equal_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "timings"
    path.write_bytes(b"same")
    before = path.stat().st_ino
    Timings(b"", path).add(b"", lambda present, measured: present)
    assert path.stat().st_ino == before


def test_a_file_that_cannot_be_changed_costs_no_engine(tmp_path: Path) -> None:
    def combine(present: bytes, measured: bytes) -> bytes:
        raise BuildError("TensorRT could not combine the timing caches", search=False)

    path = tmp_path / "timings"
    path.write_bytes(b"theirs")
    with pytest.warns(UserWarning, match=r"timings: not changed: TensorRT could not combine"):
        Timings(b"", path).add(b"ours", combine)
    assert path.read_bytes() == b"theirs"


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "file" / "below"):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OptionError, match=f"timing_cache: {path} cannot be used: "):
            load(BuildOptions(timing_cache=path))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"garbage", "TensorRT could not read the timing cache .*timings"),
        (b"timing cache of the double 11", "TensorRT refused the timing cache .*timings"),
    ],
)
def test_a_file_that_tensorrt_refuses_is_named(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "timings").write_bytes(content)
    with pytest.raises(BuildError, match=text):
        built("10", torch.relu, timing_cache=tmp_path / "timings")
    assert (tmp_path / "timings").read_bytes() == content


def test_caches_of_two_versions_do_not_combine() -> None:
    library = TensorRT(DOUBLES["10"])
    builder = library.builder()
    config = library.config(builder, BuildOptions(), tf32=True, half=False)
    head = b"timing cache of the double"
    assert combine(config, library.log, head + b" 10\na", head + b" 10\nb").endswith(b"\na\nb")
    with pytest.raises(BuildError, match="could not combine the timing caches"):
        combine(config, library.log, head + b" 10\na", head + b" 11\nb")


def test_one_file_for_each_kind_of_gpu_and_tensorrt(tmp_path: Path) -> None:
    target = TensorRT(DOUBLES["8.6"]).target
    later = TensorRT(DOUBLES["10"]).target
    paths = {
        timing_cache_file(tmp_path, which, name, count)
        for which in (target, later)
        for name in ("NVIDIA A/B", "NVIDIA_A/B")
        for count in (1, 2)
    }
    assert len(paths) == 8 and all(path.parent == tmp_path for path in paths)
    assert timing_cache_file(tmp_path, target, "NVIDIA A/B", 132).name == (
        "timing-8.6.0-NVIDIA%20A%2FB-132.cache"
    )


HEAD = b"timing cache of the double 8"
FUSED = HEAD + b"\nMyelin fused"  # of which 8.6.0 reads nothing


def test_a_file_that_tensorrt_does_not_read_is_made_anew_with_a_warning(tmp_path: Path) -> None:
    """8.6.0 returns an empty cache for one that it cannot read, and says so in its log alone."""
    path = tmp_path / "timings"
    path.write_bytes(FUSED)
    with pytest.warns(UserWarning, match=r"could not read .*timings\n.*will not be used!; it is"):
        engine = built("8.6", torch.relu, timing_cache=path)
    assert engine.timing_digest == Timings(b"").digest
    assert path.read_bytes() == engine.timing_cache
    built("8.6", torch.relu, timing_cache=path)  # without a warning


@pytest.mark.parametrize("content", [HEAD, HEAD + b"\nconvolution", FUSED + b"\nconvolution"])
def test_a_complaint_about_a_part_is_kept_back_where_the_rest_is_used(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """8.6.0 says of every cache that it will not be used; what is in it is."""
    path = tmp_path / "timings"
    path.write_bytes(content)
    engine = built("8.6", torch.relu, timing_cache=path)
    assert engine.timing_digest == hashlib.sha256(content).hexdigest()
    assert "convolution" in entries(path.read_bytes()) or content == HEAD
    assert caplog.records == []


def test_what_others_wrote_in_the_meantime_stays_where_nothing_can_be_combined(
    tmp_path: Path,
) -> None:
    """8.6.0 cannot combine two timing caches; a build's holds all that it began with."""
    library = TensorRT(DOUBLES["8.6"])
    builder = library.builder()
    config = library.config(builder, BuildOptions(), tf32=True, half=False)
    combined = partial(combine, config, library.log)
    path = tmp_path / "timings"
    began, ours, theirs = (HEAD + b"\n" + name for name in (b"a", b"a\nours", b"a\ntheirs"))
    for present, after in ((began, ours), (theirs, theirs)):
        path.write_bytes(present)
        Timings(began, path, spare=True).add(ours, combined)
        assert path.read_bytes() == after
    with pytest.warns(UserWarning, match="not changed: TensorRT could not combine"):
        Timings(began, path).add(ours, combined)
    assert path.read_bytes() == theirs


def test_what_no_build_can_read_is_kept_only_where_it_was_asked_for(tmp_path: Path) -> None:
    def measured(spare: bool) -> bytes | None:
        path = tmp_path / "timings"
        path.unlink(missing_ok=True)
        graph = trtnn.trace(lambda x: torch.relu(x), [trtnn.Input((2, 3))])
        options = BuildOptions() if spare else BuildOptions(timing_cache=path)
        build(graph, Myelin(DOUBLES["8.6"]), options, timings_file=path if spare else None)
        return path.read_bytes() if path.exists() else None

    class Myelin(TensorRT):
        """Measures what 8.6.0 does of a network that it fuses whole."""

        def build(self, *args: Any, **how: Any) -> Any:
            return super().build(*args, **how)[0], FUSED

    assert (measured(spare=True), measured(spare=False)) == (None, FUSED)


@pytest.mark.gpu
def test_timings_are_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Layers that are timed one by one, and fused regions, whose timings 8.6.0 does not read."""
    torch.manual_seed(0)
    nets = [Convolutions(), Convolutions(), Fused(), Fused(), Convolutions()]
    digests, sizes = [], []
    for net in nets:
        x = torch.randn(2, 8, 32, 32, device="cuda")
        options: Any = {"inputs": [x], "cache": tmp_path, "precision": "fp32"}
        model = trtnn.compile(net.cuda(), **options)
        torch.testing.assert_close(model(x), net(x), rtol=1e-3, atol=1e-3)
        digests.append(model.engine.timing_digest)
        (file,) = tmp_path.glob("timing-*.cache")
        sizes.append(file.stat().st_size)
    empty = Timings(b"").digest
    assert digests[0] == empty and empty not in digests[1:]
    assert sizes[1] == sizes[0] <= min(sizes)
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []
