"""What ARCHITECTURE.md says: which file may import which, how long files are, what is optional.

Each rule is a function of source text that returns complaints; the tests apply it to the
repository, and to planted text in which it has something to find.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "trtnn"
FILES = sorted(PACKAGE.rglob("*.py"))
CHECKED = sorted(
    path
    for folder in ("trtnn", "tests", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)

# Lowest first: a file imports from its own row or from rows before it. A new file needs a place.
ROWS = (
    "source files",
    "errors tree progress",
    "options expressions dims",
    "profiles solutions notation saved fit cuda_runtime",
    "op symnode",
    "program graph ops functional",
    "builder_config timing listening memory_formats",
    "cache",
    "_trt",
    "tensor attributes module interpreter precision passes network layers windows recipes calls "
    "known mutation origins recorder",
    "notes tracer quantization engine refit builder signature arguments assumptions",
    "arena streams leaves description arrays",
    "contexts",
    "prepared graphs session",
    "launching",
    "cached_engine bound",
    "runner host",
    "allocating outputs guards",
    "hot reference",
    "proof",
    "calling",
    "compiled",
    "lazy loading",
    "compiler",
    "checker profiler",
    "commands",
    "cli __main__",
)
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row.split()}
OPTIONAL = ("tensorrt", "cuda", "graphviz", "rich")  # imported inside a function, each in one file
TORCH_FREE = (
    *(
        "source",
        "errors",
        "options",
        "progress",
        "listening",
        "builder_config",
        "memory_formats",
        "timing",
        "cache",
        "_trt",
    ),
    *("notation", "saved", "fit", "cuda_runtime", "arrays", "session", "host"),
)
# About 300, and some room, so that one more function is no reason to split a noun.
MAX_FILE = 320
MAX_FUNCTION = 40

SKIPPED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in FILES}


def row_of(name: str) -> str:
    """Return the part of a module's name that ``ROWS`` lists: ``ops`` for ``trtnn.ops.pooling``."""
    return name.split(".")[1] if "." in name else name


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, str, int, bool]]:
    """Yield (module, imported name or "", line, inside a function) for what runs, in order.

    ``importlib.import_module("name")`` counts; what stands under ``TYPE_CHECKING`` does not.
    """
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            assert isinstance(node, ast.If)
            for other in node.orelse:
                yield from imports(ast.Module([other], []), inside)
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((module, alias.name, node.lineno, inside) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            target = node.args[0] if node.args else None
            name = target.value if isinstance(target, ast.Constant) else "?"
            yield str(name), "", node.lineno, inside
        yield from imports(node, inside or isinstance(node, (*Function, ast.Lambda)))


def own_imports(source: str) -> Iterator[tuple[str, int]]:
    """Yield the modules of the package that ``source`` imports, each with its line."""
    for module, name, line, _ in imports(ast.parse(source)):
        if module.split(".")[0] == "trtnn":
            submodule = f"{module}.{name}"
            known = submodule in NAMES or (module == "trtnn" and name in RANK)
            yield (submodule if known else module), line


def order_complaints(module: str, source: str) -> list[str]:
    """Say which imports of ``module`` go up, or go to or come from a file without a row."""
    if module == "trtnn":  # exports lazily: everything it names stands under TYPE_CHECKING
        return [f"{module}:{line} imports {target}" for target, line in own_imports(source)]
    if row_of(module) not in RANK:
        return [f"{module}: no row in tests/test_layout.py"]
    found = []
    for target, line in own_imports(source):
        if row_of(target) not in RANK:
            found.append(f"{module}:{line} imports {target}, which has no row")
        elif RANK[row_of(target)] > RANK[row_of(module)]:
            found.append(f"{module}:{line} imports {target}, a higher row")
    return found


def inside_complaints(module: str, source: str) -> list[str]:
    """Say where a function imports something that is not an optional package."""
    return [
        f"{module}:{line} imports {target} inside a function"
        for target, _, line, inside in imports(ast.parse(source))
        if inside and target.split(".")[0] not in OPTIONAL
        if module != "trtnn"  # its __getattr__ is the lazy export
    ]


def doors(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return, for each optional package, the modules that import it."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        for target, _, _, _ in imports(ast.parse(source)):
            if target.split(".")[0] in OPTIONAL:
                found.setdefault(target.split(".")[0], set()).add(module)
    return found


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a ring, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for target in sorted(edges.get(name, ())):
            if ring := visit(target, [*path, name]):
                return ring
        done.add(name)
        return []

    return next((ring for name in sorted(edges) if (ring := visit(name, []))), [])


def code_lines(source: str) -> set[int]:
    """Return the numbers of the lines that hold code: no blanks, comments or docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, *Function)) and ast.get_docstring(node):
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or 0) + 1))
    return lines


def length_complaints(path: str, source: str) -> list[str]:
    """Say which file and which functions pass the ceilings."""
    lines = code_lines(source)
    found = []
    if len(lines) > MAX_FILE:
        found.append(f"{path}: {len(lines)} code lines, at most {MAX_FILE}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            size = len(lines.intersection(range(node.body[0].lineno, (node.end_lineno or 0) + 1)))
            if size > MAX_FUNCTION:
                found.append(
                    f"{path}:{node.lineno} {node.name}: {size} code lines, at most {MAX_FUNCTION}"
                )
    return found


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter, in the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down_only(path: Path) -> None:
    assert order_complaints(module_name(path), path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_import_inside_a_function(path: Path) -> None:
    assert inside_complaints(module_name(path), path.read_text()) == []


def test_each_optional_package_has_one_door() -> None:
    found = doors({module_name(path): path.read_text() for path in FILES})
    found["rich"].discard("trtnn.commands")  # a whole file that needs it, imported if it is there
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
    assert found.get("tensorrt", {"trtnn._trt"}) == {"trtnn._trt"}


def test_no_two_files_import_each_other() -> None:
    edges = {
        module_name(path): {target for target, _ in own_imports(path.read_text())} for path in FILES
    }
    assert cycle(edges) == []


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


@pytest.mark.parametrize("name", [n for n in TORCH_FREE if (PACKAGE / f"{n}.py").exists()])
def test_a_saved_engine_needs_no_torch(name: str) -> None:
    done = run_python(f"import sys\nsys.modules['torch'] = None\nimport trtnn.{name}\nprint('ok')")
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_blocking_torch_blocks_it() -> None:
    done = run_python("import sys\nsys.modules['torch'] = None\nimport trtnn.op")
    assert "import of torch halted" in done.stderr


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("trtnn.op", "from trtnn.tensor import Tensor", "a higher row"),
        ("trtnn.op", "from trtnn import tensor", "a higher row"),
        ("trtnn.op", "import trtnn.compiler", "a higher row"),
        ("trtnn.op", "def f():\n    from trtnn.tracer import trace", "a higher row"),
        ("trtnn.op", "from trtnn import Dim", "which has no row"),
        ("trtnn.helpers", "", "no row"),
        ("trtnn", "from trtnn.dims import Dim", "imports trtnn.dims"),
    ],
)
def test_the_order_check_finds_an_import_that_goes_up(
    module: str, source: str, complaint: str
) -> None:
    (found,) = order_complaints(module, source)
    assert complaint in found


def test_the_order_check_lets_type_only_imports_pass() -> None:
    source = "if TYPE_CHECKING:\n    from trtnn.network import Net\nelse:\n    import trtnn.cli"
    assert order_complaints("trtnn.op", source) == ["trtnn.op:4 imports trtnn.cli, a higher row"]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f():\n    import json", 1),
        ("def f():\n    if True:\n        from trtnn.op import Op", 1),
        ("def f():\n    return importlib.import_module('json')", 1),
        ("def f():\n    import tensorrt", 0),
        ("def f():\n    from cuda.bindings import runtime", 0),
        ("import json", 0),
    ],
)
def test_the_check_inside_functions_finds_what_is_not_optional(source: str, count: int) -> None:
    assert len(inside_complaints("trtnn.op", source)) == count


def test_the_door_check_finds_a_second_door() -> None:
    door = "def f():\n    import tensorrt"
    assert doors({"trtnn._trt": door, "trtnn.engine": door}) == {
        "tensorrt": {"trtnn._trt", "trtnn.engine"}
    }


def test_the_ring_check_finds_a_ring() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}}) == []


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
