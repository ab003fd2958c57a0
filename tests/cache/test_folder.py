"""The engine cache's folder: what a file may not be, what goes first, and whose it is."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from trtnn.cache import folder as cache_module
from trtnn.cache.folder import DEFAULT_LIMIT, Cache, Entry, Summary, default_folder, open_cache
from trtnn.errors import BuildError, LoadError, OptionError

KEY, PLAN = "a1b2", b"a plan\n" * 40
ABOUT = Summary("Net", "x (2, 3) float32", "A", "8.6.0", "0" * 64)

# Damage -----------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path)
    cache.write(KEY, PLAN, ABOUT)
    return cache


def obtain(cache: Cache, key: str = KEY, plan: bytes = PLAN) -> tuple[bytes, bool]:
    """Return the plan under a key, and whether it was built."""
    built: list[int] = []

    def build() -> tuple[bytes, bytes, Summary]:
        built.append(1)
        return plan, plan, ABOUT

    return cache.obtain(key, lambda entry: entry.plan, build), bool(built)


def test_a_plan_comes_back_as_it_was(stored: Cache) -> None:
    entry = stored.read(KEY)
    assert (entry.plan, entry.summary) == (PLAN, ABOUT)
    assert obtain(stored, plan=b"another") == (PLAN, False)


def test_an_altered_byte_is_found_wherever_it_is(stored: Cache) -> None:
    path = stored.folder / f"{KEY}.trtnn-engine"
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x20
        path.write_bytes(changed)
        with pytest.raises(LoadError, match=r"a1b2\.trtnn-engine: "):
            stored.read(KEY)


@pytest.mark.parametrize("more", [b"\0", b"more"])
def test_a_file_of_another_length_is_found(more: bytes, stored: Cache) -> None:
    path = stored.folder / f"{KEY}.trtnn-engine"
    whole = path.read_bytes()
    for content in (*(whole[:length] for length in range(len(whole))), whole + more):
        path.write_bytes(content)
        with pytest.raises(LoadError):
            stored.read(KEY)


def test_a_file_of_another_key_is_found(stored: Cache) -> None:
    (stored.folder / f"{KEY}.trtnn-engine").rename(stored.folder / "other.trtnn-engine")
    with pytest.warns(
        UserWarning, match="built anew: .*other.trtnn-engine: holds the plan of another"
    ):
        assert obtain(stored, "other", b"new") == (b"new", True)
    assert obtain(stored, "other") == (b"new", False)


@pytest.mark.parametrize("content", [b"", b"foreign", PLAN])
def test_a_damaged_file_is_built_anew_with_one_warning(content: bytes, stored: Cache) -> None:
    (stored.folder / f"{KEY}.trtnn-engine").write_bytes(content)
    with pytest.warns(UserWarning, match=r"engine cache: built anew: .*a1b2\.trtnn-engine") as said:
        assert obtain(stored, plan=b"new") == (b"new", True)
    assert len(said) == 1
    assert obtain(stored) == (b"new", False)


@pytest.mark.parametrize(
    "facts",
    [{"module": 1}, {"timing_digest": []}, {"surplus": ""}, {"key": None}, [], None, 1],
    ids=str,
)
def test_a_head_that_lies_is_built_anew(facts: Any, stored: Cache) -> None:
    path = stored.folder / f"{KEY}.trtnn-engine"
    whole = {"key": KEY, **asdict(ABOUT)}
    head = json.dumps({**whole, **facts} if isinstance(facts, dict) else facts).encode() + b"\n"
    digest = hashlib.sha256(head + PLAN).hexdigest()
    path.write_bytes(f"trtnn engine, format 1, sha256 {digest}\n".encode() + head + PLAN)
    assert [entry.summary for entry in stored.entries()] == [None]
    with pytest.warns(UserWarning, match=r"built anew: .*a1b2\.trtnn-engine: truncated or altered"):
        assert obtain(stored, plan=b"new") == (b"new", True)


def test_a_plan_that_another_process_mended_meanwhile_is_used(stored: Cache) -> None:
    """Who finds a plan refused, and gets the lock later, looks again before it builds."""

    def use(entry: Entry) -> bytes:
        if entry.plan == PLAN:
            stored.write(KEY, b"mended", ABOUT)
            raise BuildError("TensorRT refused it", search=False)
        return entry.plan

    def build() -> Any:
        raise AssertionError("it was there")

    with pytest.warns(UserWarning, match="TensorRT refused it"):
        assert stored.obtain(KEY, use, build) == b"mended"


def test_an_error_of_a_build_stores_nothing(tmp_path: Path) -> None:
    def build() -> Any:
        raise BuildError("TensorRT could not build the engine", search=False)

    with pytest.raises(BuildError):
        Cache(tmp_path).obtain(KEY, lambda entry: None, build)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanished_costs_no_engine(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="engine cache: ") as said:
        assert obtain(Cache(tmp_path / "gone")) == (PLAN, True)
    locked, stored = (str(warning.message) for warning in said)
    assert "other processes may build the same engine" in locked
    assert "the engine was not stored" in stored


# Size -------------------------------------------------------------------------------------------


def test_the_plans_used_least_recently_go(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for number, key in enumerate("abcd"):
        cache.write(key, PLAN, ABOUT)
        os.utime(tmp_path / f"{key}.trtnn-engine", (number, number))
    size = cache.entries()[0].size
    assert obtain(cache, "a") == (PLAN, False)  # now the one used last
    assert [entry.key for entry in cache.entries()] == ["a", "d", "c", "b"]
    small = Cache(tmp_path, limit=3 * size)
    with open(tmp_path / "b.trtnn-engine", "rb") as reader:
        assert obtain(small, "e") == (PLAN, True)
        assert reader.read().endswith(PLAN)  # who reads is not disturbed
    assert [entry.key for entry in cache.entries()] == ["e", "a", "d"]


def test_the_plan_just_written_stays_whatever_the_limit(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=0)
    for key in "abc":
        assert obtain(cache, key) == (PLAN, True)
        assert [entry.key for entry in cache.entries()] == [key]


def test_what_is_listed_and_cleared(stored: Cache) -> None:
    size = len((stored.folder / f"{KEY}.trtnn-engine").read_bytes())
    (stored.folder / "broken.trtnn-engine").write_bytes(b"?")
    (stored.folder / "timing-8.6.0-A-132.cache").write_bytes(b"")
    (stored.folder / "foreign").write_bytes(b"")
    os.utime(stored.folder / "broken.trtnn-engine", (0, 0))
    found = [(entry.key, entry.size, entry.summary) for entry in stored.entries()]
    assert found == [(KEY, size, ABOUT), ("broken", 1, None)]
    assert stored.clear(older_than=3600) == (1, 1)
    assert stored.clear(older_than=3600) == (0, 0)
    assert len(list(stored.folder.iterdir())) == 3
    assert stored.clear() == (1, size)
    assert [path.name for path in stored.folder.iterdir()] == ["foreign"]


# The folder -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "environment", "folder"),
    [
        (None, {"XDG_CACHE_HOME": "{tmp}/xdg"}, "xdg/trtnn"),
        (None, {"XDG_CACHE_HOME": ""}, "home/.cache/trtnn"),
        (None, {"XDG_CACHE_HOME": "relative"}, "home/.cache/trtnn"),
        (None, {}, "home/.cache/trtnn"),
        (None, {"TRTNN_CACHE_DIR": "{tmp}/own", "XDG_CACHE_HOME": "{tmp}/xdg"}, "own"),
        (None, {"TRTNN_CACHE_DIR": "", "XDG_CACHE_HOME": "{tmp}/xdg"}, "xdg/trtnn"),
        (None, {"TRTNN_CACHE_DIR": "~/own"}, "home/own"),
        ("{tmp}/given/deep", {"TRTNN_CACHE_DIR": "{tmp}/own"}, "given/deep"),
        ("~/given", {}, "home/given"),
    ],
)
def test_where_the_folder_is(
    given: str | None,
    environment: dict[str, str],
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("TRTNN_CACHE_DIR", "XDG_CACHE_HOME", "TRTNN_CACHE_BYTES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    for form in (str, Path) if given else (lambda none: None,):
        cache = open_cache(form(given.format(tmp=tmp_path)) if given else None)
        assert cache == Cache(tmp_path / folder, DEFAULT_LIMIT)
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("given", [True, 3, "", b"folder", ["folder"]])
def test_what_is_no_folder(given: Any) -> None:
    with pytest.raises(OptionError, match=r"^cache: expected a folder, False or None, got "):
        open_cache(given)


def test_the_limit_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRTNN_CACHE_BYTES", "1000")
    assert open_cache(tmp_path) == Cache(tmp_path, 1000)
    monkeypatch.setenv("TRTNN_CACHE_BYTES", "10 GiB")
    with pytest.raises(OptionError, match="TRTNN_CACHE_BYTES: expected a number of bytes, got '10"):
        open_cache(tmp_path)


def make_open_to_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.mkdir(parents=True)
    folder.chmod(0o702)
    return "others can write to it"


def make_open_to_a_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.mkdir(parents=True)
    folder.chmod(0o720)
    return "others can write to it: chmod go-w closes it"


def make_anothers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    return f"it belongs to user {folder.stat().st_uid}"


def make_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_bytes(b"")
    return "File exists"


@pytest.mark.parametrize(
    "spoil", [make_open_to_all, make_open_to_a_group, make_anothers, make_a_file]
)
def test_a_folder_that_is_not_the_users_alone(
    spoil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    why = spoil(tmp_path / "trtnn", monkeypatch)
    with pytest.raises(OptionError, match=f"^cache: .* cannot be the cache: .*{why}"):
        open_cache(tmp_path / "trtnn")
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(tmp_path / "trtnn"))
    with pytest.raises(OptionError, match=f"^TRTNN_CACHE_DIR: .* cannot be the cache: .*{why}"):
        open_cache()
    monkeypatch.delenv("TRTNN_CACHE_DIR")
    assert default_folder() == tmp_path / "trtnn"
    with pytest.warns(UserWarning, match=f"engine cache: not used: .*{why}"):
        assert open_cache() is None


def test_nobody_knows_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache_module.Path, "home", staticmethod(unknown))
    for name in ("TRTNN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.warns(UserWarning, match="not used: .*Could not determine home"):
        assert open_cache() is None
