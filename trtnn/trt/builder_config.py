"""The builder's configuration: each option set in TensorRT's own way, or refused.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from trtnn.errors import OptionError
from trtnn.options import MEMBERS, SETTINGS, BuildOptions, Setting
from trtnn.trt.identity import RTX, package_of, title_of

_SHARING = "PROFILE_SHARING_0806"
_WITHOUT_LIBRARIES = "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"
# What 8.6 opens for each, by the CUDA that it was built for.
_LIBRARIES = {
    "CUBLAS": ("libcublas.so.12", "libcublas.so.11"),
    "CUBLAS_LT": ("libcublasLt.so.12", "libcublasLt.so.11"),
    "CUDNN": ("libcudnn.so.8",),
}
_REFIT = {"refit": "REFIT", "identical": "REFIT_IDENTICAL", "individual": "REFIT_INDIVIDUAL"}
# Of TensorRT, and of TensorRT for RTX.
_NO_KERNEL = ("Could not find any implementation", "within workspace limit")


# What TensorRT for RTX takes, and does not follow: its answers to builds, 1.7.1.
_UNTIMED = "nothing is timed when it builds"
_NOT_ON_RTX = {
    "timing_cache": _UNTIMED,
    "editable_timing_cache": _UNTIMED,
    "error_on_timing_cache_miss": _UNTIMED,
    "disable_timing_cache": _UNTIMED,
    "hardware_compatibility_level": "compute_capabilities names the GPUs that it builds for",
    "version_compatible": "a plan runs with the version alone that built it",
}


def check(trt: ModuleType, options: BuildOptions) -> None:
    """Refuse the options that this TensorRT lacks, or would not follow.

    Raises:
        OptionError: Names the option, what was given, this version, and the versions that have it.
    """
    for field, value in options.given().items():
        if package_of(trt) == RTX and field in _NOT_ON_RTX and value not in (False, "NONE"):
            text = f"{field}={options.describe()[field]!r}"
            raise OptionError(f"{text}: not with {title_of(trt)}: {_NOT_ON_RTX[field]}")
        setting = SETTINGS[field]
        owner = trt.Builder if setting.kind == "builder" else trt.IBuilderConfig
        if setting.kind in ("number", "member", "instance", "builder"):
            if not hasattr(owner, setting.name):
                raise _absent(trt, field, options)
            if setting.kind == "instance" and not isinstance(value, getattr(trt, setting.type)):
                raise OptionError(
                    f"{field}: expected an instance of tensorrt.{setting.type}, got {value!r}"
                )
        enumeration, names = _members(setting, value)
        for name in names:
            _check_member(trt, field, options, enumeration, name)
    # STRIP_PLAN came with the refit that can.
    if options.version_compatible and options.refit and not hasattr(trt.BuilderFlag, "STRIP_PLAN"):
        raise OptionError(
            f"refit={options.refit!r}: {title_of(trt)} cannot refit what is "
            "version_compatible; TensorRT 10 and 11 can"
        )
    _check_features(trt, dict(options.preview_features or ()))
    _check_libraries(trt, options)


def configure(
    trt: ModuleType,
    builder: Any,
    config: Any,
    options: BuildOptions,
    lines: Callable[[], str],
) -> None:
    """Set the given options, and see that TensorRT took each.

    Args:
        lines: Returns TensorRT's own log lines since the last call, for the error.

    Raises:
        OptionError: As for ``check``, and where TensorRT keeps another value.
    """
    check(trt, options)
    cores = builder.num_DLA_cores
    if options.default_device_type == "DLA" and (options.dla_core or 0) >= cores:
        field = "default_device_type" if options.dla_core is None else "dla_core"
        raise OptionError(f"{field}={getattr(options, field)!r}: there are {cores} DLA cores here")
    for field, value in options.given().items():
        held = _put(trt, builder, config, SETTINGS[field], value)
        if held != value:
            raise OptionError(
                f"{field}: {title_of(trt)} took {held!r} instead of {value!r}" + lines()
            )
    sharing = trt.PreviewFeature.__members__.get(_SHARING)
    if sharing is not None and not config.get_preview_feature(sharing):
        # Without it, 8.6 gives a second context on the only profile no memory to run in.
        config.set_preview_feature(sharing, True)  # noqa: FBT003


def memory_note(trt: ModuleType, config: Any, message: str, free_bytes: int | None) -> str:
    """Return what memory a build had, where TensorRT found no kernel, else nothing."""
    if not any(text in message for text in _NO_KERNEL):
        return ""
    limit = config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
    free = "unknown" if free_bytes is None else f"{free_bytes:,} bytes"
    return f"\n    workspace_bytes was {limit:,}; free memory of the GPU before the build: {free}"


def _members(setting: Setting, value: Any) -> tuple[str, tuple[str, ...]]:
    """Return the enumeration that a setting names members of, and the members."""
    match setting.kind:
        case "flag":
            return "BuilderFlag", (setting.name,)
        case "pool":
            return "MemoryPoolType", (setting.name,)
        case "refit":
            return "BuilderFlag", (_REFIT[value],)
        case "member":
            return setting.type, (value,)
        case "sources":
            return setting.type, value
        case "features":
            return setting.type, tuple(name for name, _ in value)
    return setting.type, ()


def _check_member(
    trt: ModuleType, field: str, options: BuildOptions, enumeration: str, name: str
) -> None:
    members = getattr(trt, enumeration).__members__
    if name in members:
        return
    if SETTINGS[field].kind in ("flag", "pool"):
        raise _absent(trt, field, options)
    known = f" (it is in TensorRT {MEMBERS[name]})" if name in MEMBERS else ""
    allowed = members if SETTINGS[field].kind != "refit" else _refits(members)
    raise OptionError(
        f"{field}: {title_of(trt)} has no {name}{known}; expected {', '.join(sorted(allowed))}"
    )


def _refits(members: Iterable[str]) -> list[str]:
    return [repr(word) for word, flag in _REFIT.items() if flag in members]


def _absent(trt: ModuleType, field: str, options: BuildOptions) -> OptionError:
    value = options.describe()[field]
    return OptionError(
        f"{field}={value!r}: {title_of(trt)} lacks this option; "
        f"it is in TensorRT {SETTINGS[field].versions}"
    )


def _check_features(trt: ModuleType, features: dict[str, bool]) -> None:
    if features.get(_SHARING) is False:
        raise OptionError(
            f"preview_features: {_SHARING}=False; expected True or nothing: "
            "contexts on one profile need it"
        )


def _check_libraries(trt: ModuleType, options: BuildOptions) -> None:
    """Refuse kernels from a library that 8.6 leaves alone, or that is not there."""
    if _WITHOUT_LIBRARIES not in trt.PreviewFeature.__members__:
        return
    cleared = dict(options.preview_features or ()).get(_WITHOUT_LIBRARIES) is False
    asked = [name for name in options.tactic_sources or () if name in _LIBRARIES]
    if asked and not cleared:
        raise OptionError(
            f"tactic_sources: {title_of(trt)} ignores {', '.join(asked)}",
            hint=f'add preview_features={{"{_WITHOUT_LIBRARIES}": False}}',
        )
    if not cleared:
        return
    for name in asked if options.tactic_sources is not None else _LIBRARIES:
        if not any(_opens(library) for library in _LIBRARIES[name]):
            raise OptionError(
                f"tactic_sources: {name} needs {' or '.join(_LIBRARIES[name])}, "
                "which cannot be loaded",
                hint="put its folder in LD_LIBRARY_PATH, or leave the source out",
            )


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _put(trt: ModuleType, builder: Any, config: Any, setting: Setting, value: Any) -> Any:
    """Set one setting and return it as TensorRT then has it."""
    enumeration, names = _members(setting, value)
    members = [getattr(getattr(trt, enumeration), name) for name in names]
    match setting.kind:
        case "flag":
            (config.set_flag if value else config.clear_flag)(members[0])
            return config.get_flag(members[0])
        case "refit":
            config.set_flag(members[0])
            return value if config.get_flag(members[0]) else None
        case "pool":
            config.set_memory_pool_limit(members[0], value)
            return config.get_memory_pool_limit(members[0])
        case "number":
            setattr(config, setting.name, list(value) if isinstance(value, tuple) else value)
            held = getattr(config, setting.name)
            return tuple(held) if isinstance(held, list) else held
        case "member":
            setattr(config, setting.name, members[0])
            held = getattr(config, setting.name)
            return value if held == members[0] else held.name
        case "instance":
            setattr(config, setting.name, value)
            return value if getattr(config, setting.name) is not None else None
        case "builder":
            setattr(builder, setting.name, value)
            return getattr(builder, setting.name)
        case "sources":
            config.set_tactic_sources(sum(1 << int(member) for member in members))
            held = config.get_tactic_sources()
            sources = trt.TacticSource.__members__.items()
            return tuple(sorted(name for name, member in sources if held >> int(member) & 1))
        case "features":
            for member, (_, on) in zip(members, value, strict=True):
                config.set_preview_feature(member, on)
            return tuple((m.name, config.get_preview_feature(m)) for m in members)
    return value
