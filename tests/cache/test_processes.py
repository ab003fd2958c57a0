"""The engine cache among processes: one builds for all, and killing one harms nobody."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from trtnn.cache.folder import Cache, Entry, Summary
from trtnn.files import locked, remove_unlocked, replacing

ROOT = Path(__file__).resolve().parents[2]
KEY, PLAN = "a1b2", b"plan" * 50_000
COUNT = 32

# Says that it is ready, then obtains the key; a build waits until the test lets it go on.
OBTAIN = """
import signal, sys
signal.alarm(120)  # a test that goes wrong ends
from pathlib import Path
from trtnn.cache.folder import Cache, Summary
folder, key = sys.argv[1:]

def build():
    with open(Path(folder) / "builds", "a") as log:
        log.write(f"{key}\\n")
    print("builds", flush=True)
    sys.stdin.readline()
    plan = b"plan" * 50_000
    return plan, plan, Summary(module=key)

print("ready", flush=True)
sys.stdin.readline()
plan = Cache(Path(folder)).obtain(key, lambda entry: entry.plan, build)
assert plan == b"plan" * 50_000 and "torch" not in sys.modules
print("done", flush=True)
"""

# Writes a plan, and kills itself at a line of the code that writes, or within the file's bytes.
WRITE = """
import os, signal, sys
from pathlib import Path
import trtnn.cache.folder, trtnn.files
folder, key, point, letter = sys.argv[1:]
watched = (trtnn.cache.folder.__file__, trtnn.files.__file__)
count = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Torn:
    def __init__(self, file, room):
        self.file, self.room = file, room
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def write(self, content):
        self.file.write(content[:self.room])
        self.room -= len(content)
        if self.room <= 0:
            self.file.flush()
            die()

def lines(frame, event, argument):
    global count
    if event == "line":
        count += 1
        if count == int(point):
            die()
    return lines

if point.startswith("byte"):
    trtnn.files.open = lambda *given: Torn(open(*given), int(point[4:]))
elif point != "none":
    sys.settrace(lambda frame, event, _: lines if frame.f_code.co_filename in watched else None)
plan = letter.encode() * 200_000
cache = trtnn.cache.folder.Cache(Path(folder))
made = None, plan, trtnn.cache.folder.Summary(module=letter)
cache.obtain(key, lambda entry: None, lambda: made)
sys.settrace(None)
print(count)
"""


def start(program: str, *given: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, given)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail() -> tuple[bytes, bytes, Summary]:
    raise AssertionError("built, where there is a plan")


def test_of_32_processes_one_builds(tmp_path: Path) -> None:
    processes = [start(OBTAIN, tmp_path, KEY) for _ in range(COUNT)]
    for process in processes:
        assert next_line(process) == "ready"
    for process in processes:
        tell(process)  # to begin
    for process in processes:
        tell(process)  # to end a build: only who builds reads it
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(said) == [["builds", "done"], *[["done"]] * (COUNT - 1)]
    assert all(process.returncode == 0 for process in processes)
    assert (tmp_path / "builds").read_text() == f"{KEY}\n"
    assert files(tmp_path) == [f"{KEY}.trtnn-engine", "builds"]


def test_other_keys_are_built_meanwhile(tmp_path: Path) -> None:
    first, second = start(OBTAIN, tmp_path, "one"), start(OBTAIN, tmp_path, "two")
    for process in (first, second):
        assert next_line(process) == "ready"
        tell(process)
        assert next_line(process) == "builds"  # while the other one does as well
    for process in (second, first):
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
    assert files(tmp_path) == ["builds", "one.trtnn-engine", "two.trtnn-engine"]


def test_a_process_killed_while_it_builds_lets_the_next_one_build(tmp_path: Path) -> None:
    first, second = start(OBTAIN, tmp_path, KEY), start(OBTAIN, tmp_path, KEY)
    assert (next_line(first), next_line(second)) == ("ready", "ready")
    tell(first)
    assert next_line(first) == "builds"
    tell(second)
    first.kill()
    first.communicate()
    assert next_line(second) == "builds"
    second.communicate("\n", timeout=60)
    assert second.returncode == 0
    assert files(tmp_path) == [f"{KEY}.trtnn-engine", "builds"]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many lines of the cache's code run when a plan is built and stored."""
    done = start(WRITE, tmp_path_factory.mktemp("whole"), KEY, 10**9, "n")
    return int(done.communicate(timeout=60)[0])


POINTS = [
    *(f"line {tenth}/10" for tenth in range(11)),
    *(f"byte{n}" for n in (1, 90, 400, 200_100)),
]


@pytest.mark.parametrize("present", ["none", "damaged"])
@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_while_it_writes_leaves_nothing_wrong(
    point: str, present: str, steps: int, tmp_path: Path
) -> None:
    cache = Cache(tmp_path)
    other = b"o" * 1000
    cache.write("beside", other, Summary())
    if present == "damaged":
        cache.write(KEY, b"n" * 200_000, Summary())
        os.truncate(tmp_path / f"{KEY}.trtnn-engine", 1000)
    where = point if point.startswith("byte") else str(1 + (steps - 1) * int(point[5:-3]) // 10)
    writer = start(WRITE, tmp_path, KEY, where, "n")
    writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL

    found: list[Entry] = []
    plan = b"m" * 200_000

    def build() -> tuple[bytes, bytes, Summary]:
        return plan, plan, Summary()

    def use(entry: Entry) -> bytes:
        found.append(entry)
        return entry.plan

    said: AbstractContextManager[object] = nullcontext()
    if is_damaged(cache):
        said = pytest.warns(UserWarning, match="truncated")
    with said:
        result = cache.obtain(KEY, use, build)
    # The plan is there, whole, as the killed process made it, or is built by the next one.
    assert result == (b"n" * 200_000 if found else plan)
    assert cache.obtain(KEY, lambda entry: entry.plan, fail) == result
    assert cache.obtain("beside", lambda entry: entry.plan, fail) == other
    cache.obtain("later", lambda entry: None, lambda: (None, plan, Summary()))
    assert [name for name in files(tmp_path) if name.endswith(".trtnn-lock")] == []


def is_damaged(cache: Cache) -> bool:
    """Say whether the file that the test cut short is still there."""
    path = cache.folder / f"{KEY}.trtnn-engine"
    return path.exists() and path.stat().st_size == 1000


def test_threads_build_once(tmp_path: Path) -> None:
    cache, built = Cache(tmp_path), []
    together = threading.Barrier(8)

    def build() -> tuple[bytes, bytes, Summary]:
        built.append(1)
        return PLAN, PLAN, Summary()

    def obtain() -> None:
        together.wait()
        assert cache.obtain(KEY, lambda entry: entry.plan, build) == PLAN

    threads = [threading.Thread(target=obtain) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path: Path) -> None:
    """Who waits for a lock, and gets it after its file was removed, holds nothing."""
    path = tmp_path / "lock"
    waiting, entered = threading.Event(), threading.Event()

    def enter() -> None:
        with locked(path, waits=waiting.set, remove=True):
            entered.set()

    with open(path, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=enter)
        thread.start()
        assert waiting.wait(60)
        path.unlink()
        with open(path, "ab") as newer:
            fcntl.flock(newer, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert not entered.wait(0.2)  # a short wait can only miss a failure, never make one
            fcntl.flock(newer, fcntl.LOCK_UN)
            assert entered.wait(60)
    thread.join()
    assert files(tmp_path) == []


def test_only_a_lock_that_nobody_holds_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        remove_unlocked(path)
        assert path.exists()
    remove_unlocked(path)
    assert not path.exists()
    remove_unlocked(path)


def test_a_lock_made_anew_meanwhile_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who removes a file that nobody locked looks whether it is the one at the path."""
    path = tmp_path / "lock"
    path.write_bytes(b"")

    def flock(lock: object, operation: int) -> None:
        path.unlink()
        path.write_bytes(b"of another process")

    monkeypatch.setattr(fcntl, "flock", flock)
    remove_unlocked(path)
    assert path.read_bytes() == b"of another process"


def test_who_reads_a_file_sees_it_whole_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    with open(path, "rb") as reader:
        with replacing(path) as file:
            file.write(b"newer")
        assert (reader.read(), path.read_bytes()) == (b"new", b"newer")
    with pytest.raises(ValueError), replacing(path) as file:
        file.write(b"half")
        raise ValueError
    assert path.read_bytes() == b"newer" and files(tmp_path) == ["file"]


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    old, new = tmp_path / ".trtnn-1.partial", tmp_path / ".trtnn-2.partial"
    for path in (old, new, tmp_path / "dead.trtnn-lock", tmp_path / "timing-x.cache.lock"):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    cache.obtain(KEY, lambda entry: entry.plan, lambda: (PLAN, PLAN, Summary()))
    assert files(tmp_path) == [new.name, f"{KEY}.trtnn-engine", "timing-x.cache.lock"]
