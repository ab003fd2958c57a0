"""The layout that ARCHITECTURE.md describes: its rules on the repository, and on planted text."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

import trtnn
from tests.layout import (
    BENCHMARK_ROWS,
    BENCHMARKS,
    CHECKED,
    FILES,
    MAX_FILE,
    MAX_FUNCTION,
    PACKAGE,
    RANK,
    RINGS,
    ROOMS,
    ROOT,
    TESTS,
    TYPED,
    code_lines,
    doors,
    edges_of,
    init_complaints,
    inside_complaints,
    length_complaints,
    module_name,
    order_complaints,
    rings,
    rows_complaints,
    run_python,
    torch_free,
)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down_only(path: Path) -> None:
    assert order_complaints(module_name(path), path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_import_inside_a_function(path: Path) -> None:
    assert inside_complaints(module_name(path), path.read_text()) == []


def test_each_optional_package_has_one_door() -> None:
    found = doors({module_name(path): path.read_text() for path in FILES})
    # The command line is a room that needs it, imported where it is there.
    found["rich"] = {name for name in found["rich"] if not name.startswith("trtnn.terminal")}
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
    assert found.get("tensorrt", {"trtnn.trt.library"}) == {"trtnn.trt.library"}


def test_files_that_name_each_other_do_so_for_types_alone() -> None:
    sources = {module_name(path): path.read_text() for path in FILES}
    assert rings(edges_of(sources, typed=False)) == set()
    found = rings(edges_of(sources, typed=True))
    assert {frozenset(n.removeprefix("trtnn.") for n in group) for group in found} == set(RINGS)
    assert len(RINGS) <= 3 and all(RINGS.values())


def test_no_room_and_no_module_hides_a_public_attribute() -> None:
    """A room ``trace/`` would replace ``trtnn.trace`` once a file of it is imported."""
    names = {path.stem for path in FILES} | {path.parent.name for path in FILES}
    assert names & set(trtnn.__all__) == {"functional", "nvinfer", "options", "serving"}  # these


@pytest.mark.parametrize("path", ROOMS, ids=module_name)
def test_a_room_says_what_it_is_and_exports_nothing(path: Path) -> None:
    assert init_complaints(module_name(path), path.read_text()) == []


def test_the_rooms_are_those_of_the_table() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert folders | files <= set(RANK)
    assert not {"utils", "helpers", "common"} & {path.stem for path in FILES}
    tested = {path.parent.relative_to(ROOT / "tests").as_posix() for path in TESTS}
    assert folders <= tested


@pytest.mark.parametrize("path", BENCHMARKS, ids=module_name)
def test_benchmarks_import_down_only(path: Path) -> None:
    assert rows_complaints(BENCHMARK_ROWS, module_name(path), path.read_text()) == []


def test_the_median_file_has_100_to_200_lines() -> None:
    lengths = [len(path.read_text().splitlines()) for path in FILES if path.name != "__init__.py"]
    assert 100 <= statistics.median(lengths) <= 200


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_keep_their_ceilings(path: Path) -> None:
    assert length_complaints(path.relative_to(ROOT).as_posix(), path.read_text()) == []


def test_no_cover_only_where_pyproject_says_why() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    reasons = project["tool"]["trtnn"]["no-cover"]
    holders = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if "pragma: no cover" in path.read_text()
    }
    assert holders == set(reasons)
    assert all(reasons.values())


def test_importing_trtnn_imports_neither_tensorrt_nor_cuda() -> None:
    done = run_python(
        "import sys, trtnn\n"
        "print(sorted({'tensorrt', 'cuda'} & {name.split('.')[0] for name in sys.modules}))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_saved_engine_needs_no_torch() -> None:
    names = [f"trtnn.{name}" for name in torch_free()]
    code = "import importlib, sys\nsys.modules['torch'] = None\n"
    done = run_python(f"{code}for name in {names}:\n    importlib.import_module(name)\nprint('ok')")
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_blocking_torch_blocks_it() -> None:
    done = run_python("import sys\nsys.modules['torch'] = None\nimport trtnn.ops.op")
    assert "import of torch halted" in done.stderr


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("trtnn.ops.op", "from trtnn.graph.tensor import Tensor", "a higher row"),
        ("trtnn.ops.op", "from trtnn.graph import tensor", "a higher row"),
        ("trtnn.ops.op", "import trtnn.compiler", "a higher row"),
        ("trtnn.ops.op", "def f():\n    from trtnn.tracing.tracer import trace", "a higher row"),
        ("trtnn.ops.op", "from trtnn.lower.network import Net", "a higher row"),
        ("trtnn.ops.op", f"{TYPED}from trtnn.lower.layers import Layers", "a higher row"),
        ("trtnn.graph.notes", f"{TYPED}from trtnn.lower.network import Net", "a higher row"),
        ("trtnn.engine.engine", f"{TYPED}from trtnn.run.runner import Runner", "a higher row"),
        ("trtnn.ops.op", "from trtnn import Dim", "which has no row"),
        ("trtnn.helpers", "", "no row"),
        ("trtnn", "from trtnn.sizes.dims import Dim", "imports trtnn.sizes.dims"),
    ],
)
def test_the_order_check_finds_an_import_that_goes_up(
    module: str, source: str, complaint: str
) -> None:
    (found,) = order_complaints(module, source)
    assert complaint in found


def test_the_order_check_lets_ops_name_what_they_are_lowered_to() -> None:
    assert order_complaints("trtnn.ops.op", f"{TYPED}from trtnn.lower.network import Net") == []
    source = f"{TYPED}import json\nelse:\n    import trtnn.cli"
    assert order_complaints("trtnn.ops.op", source) == [
        "trtnn.ops.op:4 imports trtnn.cli, a higher row"
    ]


def test_the_order_check_of_benchmarks_finds_an_import_that_goes_up() -> None:
    source = "from benchmarks.tables.table import tables"
    assert rows_complaints(BENCHMARK_ROWS, "benchmarks.subjects.cases", source) != []
    assert rows_complaints(BENCHMARK_ROWS, "benchmarks.__main__", source) == []


def test_the_check_of_rooms_finds_what_exports() -> None:
    assert init_complaints("trtnn.run", '"""Running."""\n') == []
    assert (
        len(init_complaints("trtnn.run", "import json\nfrom trtnn.run.runner import Runner")) == 2
    )


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f():\n    import json", 1),
        ("def f():\n    if True:\n        from trtnn.ops.op import Op", 1),
        ("def f():\n    return importlib.import_module('json')", 1),
        ("def f():\n    import tensorrt", 0),
        ("def f():\n    from cuda.bindings import runtime", 0),
        ("import json", 0),
    ],
)
def test_the_check_inside_functions_finds_what_is_not_optional(source: str, count: int) -> None:
    assert len(inside_complaints("trtnn.ops.op", source)) == count


def test_the_door_check_finds_a_second_door() -> None:
    door = "def f():\n    import tensorrt"
    assert doors({"trtnn.trt.library": door, "trtnn.engine.engine": door}) == {
        "tensorrt": {"trtnn.trt.library", "trtnn.engine.engine"}
    }


def test_the_ring_check_finds_a_ring() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d", "a"}}
    assert rings(edges) == {frozenset("bc")}
    sources = {"trtnn.run.x": f"{TYPED}import trtnn.run.y", "trtnn.run.y": "import trtnn.run.x"}
    assert rings(edges_of(sources, typed=False)) == set()
    assert rings(edges_of(sources, typed=True)) == {frozenset(sources)}


def test_code_lines_leave_out_blanks_comments_and_docstrings() -> None:
    source = (
        '"""Doc\n\nstring."""\n\n# why\ndef f():\n    """Doc."""\n    return (\n        1,\n    )\n'
    )
    assert code_lines(source) == {6, 8, 9, 10}


@pytest.mark.parametrize(("extra", "count"), [(0, 0), (1, 1)])
def test_the_ceilings_are_exact(extra: int, count: int) -> None:
    # The signature does not count: torch's own are long.
    body = "def f():\n" + "    x = 1\n" * (MAX_FUNCTION + extra)
    assert len(length_complaints("f.py", body)) == count
    assert len(length_complaints("f.py", "x = 1\n" * (MAX_FILE + extra))) == count
