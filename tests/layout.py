"""The rules that ARCHITECTURE.md tells: functions of source text that return complaints."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "trtnn"
FILES = sorted(PACKAGE.rglob("*.py"))
CHECKED = sorted(
    path
    for folder in ("trtnn", "tests", "benchmarks", "examples", "docs")
    for path in (ROOT / folder).rglob("*.py")
)

# Lowest first: what stands in a row imports from its own row and from rows before it. A name is a
# room, which is a folder, or a file at the root. The table is DESIGN's, and ARCHITECTURE.md's.
ROWS = (
    "errors source tree files options",
    "sizes",
    "ops",
    "nvinfer",
    "graph",
    "tracing",
    "flow",
    "trt",
    "lower",
    "engine",
    "run",
    "saved",
    "cache",
    "precision tools",
    "host",
    "plugins kernels module functional compiled lazy loading settings compiler quantizing checking "
    "building reporting vocabulary",
    "serving",
    "terminal",
    "commands cli __main__",
)
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row.split()}
# The one arrow that runs back, for types alone: an op's ``lower`` names what it is lowered to.
BACK = (("trtnn.ops.", "trtnn.flow."), "trtnn.lower.network")
# What imports by name when it is asked: the exports, a command, a module that a user names.
LAZY = ("trtnn", "trtnn.commands", "trtnn.tools.factories")
# Files of one room that name each other, through types alone; each with its reason.
RINGS = {
    frozenset({"tracing.known", "tracing.mutation", "tracing.origins", "tracing.recorder"}): (
        "known values, in-place calls and the origins of sizes are chapters of the recorder"
    ),
    frozenset({"graph.describing", "graph.drawing", "graph.graph", "graph.table"}): (
        "a graph shows itself, as a table, a picture, data and HTML"
    ),
    frozenset({"run.bound", "run.launching", "run.runner"}): (
        "the runner's ways to launch, and its bound calls, are given the runner itself"
    ),
}
BENCHMARK_ROWS = ("subjects", "instruments", "measures", "race", "tables", "report")
OPTIONAL = (
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "cuda",
    "graphviz",
    "matplotlib",
    "rich",
    "triton",
    "ray",
    "starlette",
)  # imported inside a function, each in one file
TORCH_FREE = (
    *("source", "errors", "options", "files", "trt", "host"),
    *("tree", "saved.file", "saved.notation", "saved.schema", "saved.border"),
    *("saved.agreement", "saved.fit", "cache.folder"),
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
TYPED = "if TYPE_CHECKING:\n    "


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


ROOMS = [
    path
    for path in PACKAGE.glob("*/**/__init__.py")
    if path.parent.relative_to(PACKAGE).as_posix()
    not in ("ops", "host", "nvinfer", "serving", "graph/passes")
]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
NAMES = {module_name(path) for path in (*FILES, *BENCHMARKS)}


def row_of(name: str) -> str:
    """Return the part of a module's name that ``ROWS`` lists: ``ops`` for ``trtnn.ops.pooling``."""
    return name.split(".")[1] if "." in name else name


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


class Import(NamedTuple):
    """One name that a file imports, and where it stands."""

    module: str
    name: str  # "" for ``import module``
    line: int
    inside: bool  # a function
    typed: bool  # under TYPE_CHECKING: only a type checker sees it


def imports(tree: ast.AST, inside: bool = False, typed: bool = False) -> Iterator[Import]:
    """Yield what a file imports, in order; ``importlib.import_module("name")`` counts."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            assert isinstance(node, ast.If)
            yield from imports(ast.Module(node.body, []), inside, True)
            yield from imports(ast.Module(node.orelse, []), inside, typed)
            continue
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found = [(module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            target = node.args[0] if node.args else None
            found = [(str(target.value) if isinstance(target, ast.Constant) else "?", "")]
        else:
            found = []
        for module, name in found:
            yield Import(module, name, getattr(node, "lineno", 0), inside, typed)
        yield from imports(node, inside or isinstance(node, (*Function, ast.Lambda)), typed)


def own_imports(source: str, package: str = "trtnn") -> Iterator[tuple[str, Import]]:
    """Yield the modules of a package that ``source`` imports."""
    for found in imports(ast.parse(source)):
        if found.module.split(".")[0] == package:
            submodule = f"{found.module}.{found.name}"
            known = submodule in NAMES or (found.module == "trtnn" and found.name in RANK)
            yield (submodule if known else found.module), found


def order_complaints(module: str, source: str) -> list[str]:
    """Say which imports of ``module`` go up, or go to or come from a file without a row."""
    if module == "trtnn":  # exports lazily: everything it names stands under TYPE_CHECKING
        return [
            f"{module}:{found.line} imports {target}"
            for target, found in own_imports(source)
            if not found.typed
        ]
    if row_of(module) not in RANK:
        return [f"{module}: no row in tests/layout.py"]
    complaints = []
    for target, found in own_imports(source):
        if found.typed and module.startswith(BACK[0]) and target == BACK[1]:
            continue
        if row_of(target) not in RANK:
            complaints.append(f"{module}:{found.line} imports {target}, which has no row")
        elif RANK[row_of(target)] > RANK[row_of(module)]:
            complaints.append(f"{module}:{found.line} imports {target}, a higher row")
    return complaints


def rows_complaints(rows: Sequence[str], module: str, source: str) -> list[str]:
    """Say which imports of a benchmark go to a folder after its own."""
    top, room, *_ = [*module.split("."), ""]
    return [
        f"{module}:{found.line} imports {target}, a higher row"
        for target, found in own_imports(source, top)
        if room in rows and target.split(".")[1] in rows
        if rows.index(target.split(".")[1]) > rows.index(room)
    ]


def inside_complaints(module: str, source: str) -> list[str]:
    """Say where a function imports something that is not an optional package."""
    return [
        f"{module}:{found.line} imports {found.module} inside a function"
        for found in imports(ast.parse(source))
        if found.inside and found.module.split(".")[0] not in OPTIONAL
        if module not in LAZY
    ]


def doors(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return, for each optional package, the modules that import it."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        for package in {item.module.split(".")[0] for item in imports(ast.parse(source))}:
            if package in OPTIONAL:
                found.setdefault(package, set()).add(module)
    return found


def rings(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the groups of modules in which each leads to each."""
    reach = {name: {name} for name in edges}
    changed = True
    while changed:
        changed = False
        for name, targets in edges.items():
            found = set().union(*(reach.get(t, set()) for t in targets)) - reach[name]
            reach[name] |= found
            changed = changed or bool(found)
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in edges}
    return {group for group in groups if len(group) > 1}


def edges_of(sources: dict[str, str], *, typed: bool) -> dict[str, set[str]]:
    """Return what each module imports of the package, with or without imports for types alone."""
    return {
        module: {
            target
            for target, found in own_imports(source)
            if typed or not found.typed
            if not (module.startswith(BACK[0]) and target == BACK[1])
        }
        for module, source in sources.items()
        if module != "trtnn"
    }


def init_complaints(module: str, source: str) -> list[str]:
    """Say what a room's ``__init__`` has beside a line that says what the room is."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else [f"{module}: says nothing"]
    return found + [f"{module}: {ast.unparse(node)}" for node in tree.body[1:]]


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


def torch_free() -> list[str]:
    """Return the modules of ``TORCH_FREE``, a room file by file."""
    found = []
    for name in TORCH_FREE:
        path = PACKAGE / name.replace(".", "/")
        files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        found += [module_name(file).removeprefix("trtnn.") for file in files]
    return found


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter, in the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
