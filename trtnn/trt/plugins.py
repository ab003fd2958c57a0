"""Plugins: layers of TensorRT's registry, from TensorRT itself, from libraries and from Python."""

from __future__ import annotations

import ctypes
import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from trtnn.errors import BuildError, LoadError, OptionError
from trtnn.options import BuildOptions
from trtnn.source import SourceLine
from trtnn.trt.fields import Entries, Fields, converted, require_listed, type_name
from trtnn.trt.identity import title_of
from trtnn.trt.listening import Log
from trtnn.trt.written import OURS, Written, register

# What a library exports that TensorRT's registry takes apart itself; of another the creators
# register themselves when it is loaded.
_EXPORTS = ("getCreators", "getPluginCreators")


class Key(NamedTuple):
    """What a creator is found by.

    >>> print(Key("Scale", "2", "mine"))
    mine::Scale version 2
    """

    name: str
    version: str = "1"
    namespace: str = ""

    def __str__(self) -> str:
        home = f"{self.namespace}::" if self.namespace else ""
        return f"{home}{self.name} version {self.version}"


@dataclass(frozen=True)
class UserLibrary:
    """A library of plugins: its file's name, and the SHA-256 of its content."""

    name: str
    sha256: str


class Plugins:
    """The plugins of one TensorRT in this process.

    Attributes:
        origins: The library of each creator that ``load`` brought.
        own: The creators that TensorRT registered of its own when it was asked for them.
        ahead: What is in plans as compiled kernels, and needs no creator where they run.
    """

    def __init__(self, trt: ModuleType, log: Log, written: Callable[[], Any]) -> None:
        self.trt, self.log, self._written = trt, log, written
        self.origins: dict[Key, UserLibrary] = {}
        self.libraries: dict[Path, tuple[UserLibrary, tuple[Key, ...], Any]] = {}
        self.ahead: set[Key] = set()
        before = self.keys()
        if not trt.init_libnvinfer_plugins(log.handle, ""):
            raise BuildError("TensorRT could not register its own plugins" + log.said())
        self.own = self.keys() - before

    @property
    def registry(self) -> Any:
        return self.trt.get_plugin_registry()

    def keys(self) -> set[Key]:
        """Return what is registered."""
        registry = self.registry
        both = ("all_creators", "plugin_creator_list")  # 8.6 has the second, 11 the first
        found = next(getattr(registry, name) for name in both if hasattr(registry, name))
        return {Key(c.name, c.plugin_version, c.plugin_namespace) for c in found}

    def creator(self, key: Key, where: SourceLine | None = None) -> Any:
        """Return a creator.

        Raises:
            OptionError: There is none.
        """
        registry = self.registry
        ask = registry.get_creator if hasattr(registry, "get_creator") else None
        found = (ask or registry.get_plugin_creator)(*key)
        if found is None:
            self.log.take()
            raise OptionError(
                f"plugin {key}: {title_of(self.trt)} has no such creator{self._near(key)}",
                hint="load the library that has it: trtnn.load_plugins(path)",
                where=where,
            )
        return found

    def _near(self, key: Key) -> str:
        known = self.keys()
        near = sorted(other for other in known if other.name == key.name)
        names = difflib.get_close_matches(key.name, [other.name for other in known], 3)
        near = near or sorted(other for other in known if other.name in names)
        return f"; it has {', '.join(map(str, near))}" if near else ""

    # In a network ---------------------------------------------------------------------------

    def add(
        self,
        network: Any,
        key: Key,
        fields: Fields,
        tensors: Sequence[Any],
        where: SourceLine | None = None,
    ) -> Any:
        """Return a new layer of a network; None where TensorRT refuses it.

        Args:
            fields: Values by name; one that is None is left to the plugin.

        Raises:
            OptionError: There is no such creator, or it has other fields.
            BuildError: It refuses the values.
        """
        trt, creator, fields = self.trt, self.creator(key, where), tuple(fields)
        listed = {field.name: field.type.name for field in creator.field_names or ()}
        require_listed(str(key), listed, fields, where)
        values = {
            name: converted(str(key), name, listed[name], value, where)
            for name, value in fields
            if value is not None
        }
        if self._is(creator, "IPluginCreatorV3Quick"):
            return network.add_plugin(self._of_python(key, dict(fields), listed, values, tensors))
        collection = trt.PluginFieldCollection(
            [
                trt.PluginField(
                    name, value, getattr(trt.PluginFieldType, type_name(listed[name], value))
                )
                for name, value in values.items()
            ]
        )
        if self._is(creator, "IPluginCreatorV3One"):
            plugin = creator.create_plugin(key.name, collection, trt.TensorRTPhase.BUILD)
        else:
            plugin = creator.create_plugin(key.name, collection)
        if plugin is None:
            lines = self.log.take()
            raise BuildError(f"plugin {key}: its creator refused the fields: {lines}", where=where)
        if self._is(creator, "IPluginCreatorV3One"):
            return network.add_plugin_v3(list(tensors), [], plugin)
        return network.add_plugin_v2(list(tensors), plugin)

    def _is(self, creator: Any, kind: str) -> bool:
        known = getattr(self.trt, kind, None)
        return known is not None and isinstance(creator, known)

    def _of_python(
        self,
        key: Key,
        fields: dict[str, Any],
        listed: dict[str, str],
        values: dict[str, Any],
        tensors: Sequence[Any],
    ) -> Any:
        """Return inputs and plugin of one that is registered with ``tensorrt.plugin``.

        It is put into the plan as a kernel that is compiled ahead, where it can.
        """
        definition = getattr(getattr(self._written().op, key.namespace), key.name)
        # Its attributes are read in the order that they are listed in, and typed as they are.
        given = {
            name: values[name] if isinstance(fields[name], (tuple, Entries)) else plain(kind, value)
            for name, kind in listed.items()
            if (value := fields[name]) is not None
        }
        create, requests = definition(*tensors, **given), self.trt.QuickPluginCreationRequest
        try:
            made = create(requests.STRICT_AOT)
        except ValueError:  # it has no such form
            self.ahead.discard(key)
            return create(requests.STRICT_JIT)
        self.ahead.add(key)
        return made

    # Where they come from -------------------------------------------------------------------

    def load(self, path: Path) -> tuple[Key, ...]:
        """Load a library of plugins, once, and return the creators that it brought.

        Raises:
            OSError: There is no such file, or it cannot be read or loaded.
            LoadError: It brings no creators; or other content was loaded from there before.
        """
        path = path.resolve()
        library = UserLibrary(path.name, sha256_of(path))
        if path in self.libraries:
            loaded, keys, _ = self.libraries[path]
            if loaded != library:
                raise LoadError(
                    f"{path.name}: its content is another than what this process loaded",
                    hint="start a new process",
                )
            return keys
        before = self.keys()
        handle: Any = ctypes.CDLL(str(path))  # it stays loaded as long as the process lives
        if any(hasattr(handle, name) for name in _EXPORTS):
            handle = self.registry.load_library(str(path))
            if handle is None:
                raise LoadError(f"{path.name}: TensorRT refused it" + self.log.said())
        keys = tuple(sorted(self.keys() - before))
        if not keys:
            raise LoadError(
                f"{path.name}: it registers no plugin creators that were not there",
                hint="build it against this TensorRT, with REGISTER_TENSORRT_PLUGIN or getCreators",
            )
        self.libraries[path] = library, keys, handle
        self.origins.update(dict.fromkeys(keys, library))
        return keys

    @property
    def takes_kernels(self) -> bool:
        """Whether a plan can have a kernel that is compiled ahead as a plugin."""
        return hasattr(self.trt, "QuickPluginCreationRequest")

    def define(self, key: Key, written: Written) -> None:
        """Register a kernel of a user's, unless it is there: its name says what it is made of."""
        if not self.has(key):
            register(self.trt, self._written(), f"{key.namespace}::{key.name}", written)

    def is_told(self, key: Key) -> bool:
        """Say whether it is known which code is behind a creator."""
        return key in self.own or key in self.origins or key.namespace == OURS

    def described(self, key: Key) -> dict[str, Any]:
        """Return what creator a plugin is of, and what library brought it."""
        library = self.origins.get(key)
        return {**key._asdict(), "library": None if library is None else asdict(library)}

    def in_plan(self, keys: Sequence[Key], options: BuildOptions) -> list[dict[str, Any]]:
        """Return what a manifest says of the plugins in a plan.

        A plan that has the kernel itself, or the library, needs neither where it is loaded.
        """
        inside = {sha256_of(Path(path)) for path in options.plugins_to_serialize or ()}
        found = map(self.described, keys)
        return [
            {
                **entry,
                "needed": not (key in self.ahead or key.namespace == OURS)
                and (entry["library"] is None or entry["library"]["sha256"] not in inside),
            }
            for key, entry in zip(keys, found, strict=True)
        ]

    def has(self, key: Key) -> bool:
        return key in self.keys()


def plain(kind: str, value: Any) -> Any:
    """Return a value of Python's own type that ``tensorrt.plugin`` lists as this one."""
    own = {"INT64": int, "FLOAT64": float, "INT8": bool}.get(kind)
    return value if own is None else own(value)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


_found: dict[int, Plugins] = {}


def plugins_of(trt: ModuleType, log: Log, written: Callable[[], Any]) -> Plugins:
    """Return the plugins of a TensorRT, one for each module.

    Args:
        written: Returns ``tensorrt.plugin``.
    """
    if id(trt) not in _found:
        _found[id(trt)] = Plugins(trt, log, written)
    return _found[id(trt)]
