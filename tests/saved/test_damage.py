"""Saved models that were damaged, cut off, exchanged or left behind by a killed process."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trtnn.errors import LoadError, UnsupportedError
from trtnn.saved import file as saved

ROOT = Path(__file__).resolve().parents[2]
FILLED = {int: 0, dict: {}, str: "", list: []}
CONTENT: dict[str, Any] = {
    key: FILLED[kind[0] if isinstance(kind, tuple) else kind] for key, kind in saved.KEYS.items()
}
BYTES = b"the plan \x00\xff"
COMMENT = b"trtnn saved model, format 1, sha256 without plan "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a small saved model."""
    saved.write(tmp_path / "net.trtnn", CONTENT, BYTES)
    return tmp_path / "net.trtnn"


def refused(path: Path, text: str = "") -> None:
    """Assert that a file is refused, by its name."""
    with pytest.raises(LoadError) as caught:
        saved.read(path)
    assert str(path) in caught.value.message and text in caught.value.message


def test_what_is_written_is_read(path: Path) -> None:
    found = saved.read(path)
    digest = hashlib.sha256(BYTES).hexdigest()
    assert found.plan == BYTES
    assert found.manifest == {**CONTENT, "format": 1, "plan": {"sha256": digest, "bytes": 11}}
    assert [p.name for p in path.parent.iterdir()] == ["net.trtnn"]


def altered(content: bytes, place: int, how: str) -> bytes:
    """Return a file that differs from one place on, or at one."""
    left, right = content[:place], content[place:]
    if how.startswith("0x"):
        return left + bytes([right[0] ^ int(how, 16)]) + right[1:]
    kinds = {
        "cut": left,
        "cut before": right[1:],
        "without one": left + right[1:],
        "one more": left + b"\x00" + right,
        "noughts": left + bytes(len(right)),
    }
    return kinds[how]


@pytest.mark.parametrize(
    "how",
    [*("0x01", "0x10", "0x80", "0xff", "cut", "cut before"), "without one", "one more", "noughts"],
)
def test_no_byte_can_be_altered_or_lost(path: Path, how: str) -> None:
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(altered(content, place, how))
        refused(path)


def zipped(
    entries: list[tuple[str, bytes]], comment: bytes | None = None, kind: int = zipfile.ZIP_STORED
) -> bytes:
    """Return a zip file, with the comment that a saved model needs if none is given."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", kind) as archive:
        for name, content in entries:
            archive.writestr(name, content)
        archive.comment = COMMENT + b"0" * 64 if comment is None else comment
    if comment is None and saved.PLAN in archive.namelist():
        digest = saved._digest_without_plan(target, archive.getinfo(saved.PLAN))
        return target.getvalue()[:-64] + digest.encode()
    return target.getvalue()


def text_of(**changes: Any) -> bytes:
    """Return a manifest that fits ``BYTES``, with changes; ``...`` takes a key away."""
    plan = {"sha256": hashlib.sha256(BYTES).hexdigest(), "bytes": len(BYTES)}
    whole = {**CONTENT, "format": 1, "plan": plan, **changes}
    return json.dumps({k: v for k, v in whole.items() if v is not ...}).encode()


def model(text: bytes, plan: bytes = BYTES, **more: Any) -> bytes:
    return zipped([("manifest.json", text), ("plan", plan)], **more)


GOOD = text_of()
NEXT = COMMENT.replace(b"1", b"2", 1) + b"0" * 64
SOME = "expected the entries manifest.json and plan, found "
FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "text": (b"a text\n" * 40, "not a saved model"),
    "pickle": (b"\x80\x04K\x01.", "not a saved model"),
    "plan alone": (BYTES, "not a saved model"),
    "no entries": (zipped([]), SOME + "[]"),
    "a zip": (zipped([("a", b"b")], b""), "a zip file that is no saved model"),
    "torch's zip": (zipped([("archive/data.pkl", b"")], b""), "a zip file that is no saved model"),
    "later format": (model(GOOD, comment=NEXT), "saved in format 2, and this trtnn reads"),
    "another format inside": (model(text_of(format=2)), "the manifest is of format 2, not 1"),
    "another digest": (model(GOOD, comment=COMMENT + b"0" * 64), "altered after it was saved"),
    "no plan": (zipped([("manifest.json", GOOD)]), SOME + "['manifest.json']"),
    "no manifest": (zipped([("plan", BYTES)]), SOME + "['plan']"),
    "more": (zipped([("manifest.json", GOOD), ("plan", BYTES), ("x", b"")]), "'plan', 'x']"),
    "order": (zipped([("plan", BYTES), ("manifest.json", GOOD)]), SOME),
    "packed": (model(GOOD, kind=zipfile.ZIP_DEFLATED), "expected stored entries"),
    "exchanged plan": (model(GOOD, b"the plan \x00\xfe"), "the plan is not the one that was saved"),
    "no JSON": (model(b"{'a': 1}"), "the manifest is no JSON"),
    "binary": (model(b"\xff\xfe\x00"), "the manifest is no JSON"),
    "deep": (model(b"[" * 100_000), "the manifest is no JSON"),
    "UTF-16": (model(GOOD.decode().encode("utf-16")), "the manifest is no JSON"),
    "no ASCII": (
        model(GOOD.replace(b"{", '{"\u00fc": 1, '.encode(), 1)),
        "the manifest is no JSON",
    ),
    "a key twice": (
        model(GOOD.replace(b"{", b'{"gpu": null, ', 1)),
        "a key stands twice among gpu",
    ),
    "NaN": (model(GOOD.replace(b"{}", b"NaN", 1)), "NaN is no number of JSON"),
    "infinite": (model(GOOD.replace(b"{}", b"1e999", 1)), "1e999 is no number of JSON"),
    "digits": (model(GOOD.replace(b"{}", b"9" * 5000, 1)), "the manifest is no JSON"),
    "a list": (model(b"[1]"), "expected a manifest by name, found a list"),
    **{
        f"without {key}": (model(text_of(**{key: ...})), f"the manifest has no {key!r}")
        for key in saved.KEYS
    },
    **{
        f"{key} is a float": (model(text_of(**{key: 1.5})), f"the manifest's {key!r} is a float")
        for key in saved.KEYS
    },
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused_with_what_was_found(name: str, tmp_path: Path) -> None:
    content, text = FOREIGN[name]
    path = tmp_path / "net.trtnn"
    path.write_bytes(content)
    refused(path, text)


def test_a_manifest_is_not_read_however_long_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "MAX_MANIFEST", 100)
    refused(path, "bytes of manifest are more than it may be")
    with pytest.raises(UnsupportedError, match=r"the manifest has .* at most 100"):
        saved.write(path, CONTENT, BYTES)


def test_the_rows_above_start_from_a_file_that_is_right(tmp_path: Path) -> None:
    (tmp_path / "net.trtnn").write_bytes(model(GOOD))
    assert saved.read(tmp_path / "net.trtnn").plan == BYTES


def test_a_model_inside_a_model_does_not_take_its_place(path: Path) -> None:
    inner = path.read_bytes()
    saved.write(path, CONTENT, inner)
    outer = path.read_bytes()
    assert saved.read(path).plan == inner
    path.write_bytes(outer[: outer.index(inner) + len(inner)])
    refused(path)


def test_a_folder_and_nothing_are_pythons_own_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        saved.read(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        saved.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        saved.write(tmp_path / "absent" / "net.trtnn", CONTENT, BYTES)


def _breaks(error: BaseException) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_leaves_what_was_there(
    path: Path, call: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(os, call, _breaks(error))
    with pytest.raises(type(error)):
        saved.write(path, CONTENT, b"another plan")
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_what_json_cannot_hold_leaves_what_was_there(path: Path) -> None:
    before = path.read_bytes()
    for value in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            saved.write(path, {**CONTENT, "options": {"a": value}}, BYTES)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


# Each process is a fork of one that has saved.py only: no threads, no PyTorch, and quick.
START = """
import builtins, os, sys
from pathlib import Path
from trtnn import files
from trtnn.saved import file as saved

path = Path(sys.argv[1])
kinds = {key: kind if isinstance(kind, type) else kind[0] for key, kind in saved.KEYS.items()}
manifest = {key: kind() for key, kind in kinds.items()}

def forked(run):
    child = os.fork()
    if child:
        return child
    try:
        run()
    finally:
        os._exit(1)
"""

KILL = """
OLD, NEW = b"the old plan" * 9, b"the new plan" * 9

class Deadly:
    def __init__(self, at):
        self.left = at

    def __call__(self, call):
        def wrapped(*args, **kwargs):
            if self.left == 0:
                os._exit(7)
            self.left -= 1
            return call(*args, **kwargs)
        return wrapped

class File:
    '''A file whose writes end half way.'''
    def __init__(self, file, deadly):
        self.file, self.deadly = file, deadly
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, data):
        half = len(data) // 2
        self.file.write(data[:half])
        self.file.flush()
        self.deadly(lambda: self.file.write(data[half:]))()
        return len(data)

def run(at):
    deadly = Deadly(at)
    files.open = lambda *args: File(deadly(builtins.open)(*args), deadly)
    for name in ("fsync", "replace", "open"):
        setattr(os, name, deadly(getattr(os, name)))
    saved.write(path, manifest, NEW)
    os._exit(0)

for before in (None, OLD):
    points = 0
    while True:
        path.unlink(missing_ok=True)
        if before is not None:
            saved.write(path, manifest, before)
        _, status = os.waitpid(forked(lambda: run(points)), 0)
        code = os.waitstatus_to_exitcode(status)
        found = saved.read(path).plan if path.exists() else None
        assert found in (before, NEW), found
        if code == 0:
            assert found == NEW
            break
        assert code == 7, code
        points += 1
    print(points)
"""

TOGETHER = """
PLANS = [bytes([65 + i]) * 5000 * (i + 1) for i in range(6)]

def run(plan):
    for _ in range(20):
        saved.write(path, manifest, plan)
    os._exit(0)

saved.write(path, manifest, PLANS[0])
running = {forked(lambda: run(plan)) for plan in PLANS}
reads = 0
while running:
    assert saved.read(path).plan in PLANS
    reads += 1
    child, status = os.waitpid(-1, os.WNOHANG)
    if child:
        assert os.waitstatus_to_exitcode(status) == 0
        running.remove(child)
assert saved.read(path).plan in PLANS
print(reads, sorted(p.name for p in path.parent.iterdir()))
"""


def run_python(code: str, path: Path) -> str:
    """Run code in an interpreter of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", START + code, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_killed_anywhere_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    points = [int(line) for line in run_python(KILL, tmp_path / "net.trtnn").splitlines()]
    assert len(points) == 2 and min(points) >= 10


def test_processes_may_save_to_one_path_at_once(tmp_path: Path) -> None:
    reads, names = run_python(TOGETHER, tmp_path / "net.trtnn").split(" ", 1)
    assert int(reads) > 6 and names.strip() == "['net.trtnn']"


def test_reading_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nsys.modules.update(torch=None, numpy=None, sympy=None)\n"
        "import trtnn.saved.file, trtnn\nprint(trtnn.LoadError.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("LoadError\n", "")
