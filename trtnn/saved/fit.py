"""Whether a saved model can run here: its TensorRT, GPU, platform and code."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from typing import Any

from trtnn.errors import LoadError
from trtnn.trt.identity import RTX, TENSORRT, TITLES
from trtnn.trt.library import TensorRT
from trtnn.trt.plugins import Key


def platform_of() -> dict[str, str]:
    """Return the operating system and the kind of machine."""
    return {"system": platform.system(), "machine": platform.machine()}


def package_of(manifest: Mapping[str, Any]) -> str:
    """Return which TensorRT a saved model is for: the name of its module."""
    return str(manifest["engine"].get("package", TENSORRT))


def require_fit(
    manifest: Mapping[str, Any], path: str, *, version: str, gpu: Mapping[str, Any] | None
) -> None:
    """Raise LoadError where a saved model cannot run with this TensorRT, GPU and platform."""
    package = package_of(manifest)
    if package == RTX:
        _require_rtx_fit(manifest, path, version, gpu)
        return
    if manifest["platform"] != platform_of():
        raise _differ(path, "on", _system(manifest["platform"]), _system(platform_of()))
    built = str(manifest["versions"].get(package))
    later = manifest["engine"].get("version_compatible") and _numbers(built) < _numbers(version)
    carries = manifest["engine"].get("host_code")
    if built != version and not (later and carries):
        way = "or build with BuildOptions(version_compatible=True), which a later version can load"
        raise _differ(path, "with", f"TensorRT {built}", f"TensorRT {version}", way)
    level = manifest["engine"].get("hardware_compatibility_level", "NONE")
    if not _runs_on(manifest["gpu"], gpu, level):
        way = 'or build with BuildOptions(hardware_compatibility_level="AMPERE_PLUS")'
        raise _differ(path, "for", _gpu(manifest["gpu"]), _gpu(gpu), "" if level != "NONE" else way)


def _require_rtx_fit(
    manifest: Mapping[str, Any], path: str, version: str, gpu: Mapping[str, Any] | None
) -> None:
    """Raise LoadError unless the version is the plan's own, and the GPU one of its list."""
    built, title = str(manifest["versions"].get(RTX)), TITLES[RTX]
    if built != version:
        raise _differ(path, "with", f"{title} {built}", f"{title} {version}")
    capabilities = manifest["engine"].get("compute_capabilities", ())
    own = None if gpu is None else ".".join(map(str, gpu["compute_capability"]))
    if own not in capabilities:
        known = f"GPUs of compute capability {', '.join(capabilities)}"
        way = f"or build it with compute_capabilities=({own!r},)" if own is not None else ""
        raise _differ(path, "for", known, _gpu(gpu), way)


def require_valid(library: TensorRT, path: str, plan: bytes) -> None:
    """Raise LoadError where the library itself says, before it reads a plan, that it cannot run."""
    validity, reasons = library.validity(plan)
    if validity == "INVALID" and reasons:
        raise LoadError(f"{path}: {library.target.name} cannot run the plan: {', '.join(reasons)}")
    if validity == "SUBOPTIMAL":
        warnings.warn(
            f"{path}: {library.target.name} runs the plan, and not at its best"
            + (f": {', '.join(reasons)}" if reasons else ""),
            stacklevel=3,
        )


def require_plugins(manifest: Mapping[str, Any], path: str, library: TensorRT) -> None:
    """Raise LoadError where a plan has a plugin that this process lacks, or has of other code."""
    for entry in manifest.get("plugins", ()):
        if not entry["needed"]:
            continue
        key, home = Key(entry["name"], entry["version"], entry["namespace"]), entry["library"]
        known = library.plugins
        if not known.has(key):
            source = f"of the library {home['name']}" if home else "which no library brought"
            raise LoadError(
                f"{path}: the engine has the plugin {key}, {source}, and this process has none",
                hint=f"load it first: trtnn.load_plugins({home['name']!r})"
                if home
                else "register its creator first, as where the model was compiled",
            )
        found = known.origins.get(key)
        if home and (found is None or found.sha256 != home["sha256"]):
            here = f"SHA-256 {found.sha256[:12]}..." if found else "a library unknown to trtnn"
            raise LoadError(
                f"{path}: the plugin {key} is of {home['name']}, SHA-256 {home['sha256'][:12]}..., "
                f"and here of {here}",
                hint="give that library to trtnn.load_plugins, or compile the model again here",
            )


def require_host_code_allowed(manifest: Mapping[str, Any], path: str, *, allowed: bool) -> None:
    """Raise LoadError where a plan holds code for the host, which the caller did not allow."""
    if manifest["engine"].get("host_code") and not allowed:
        raise LoadError(
            f"{path}: the plan holds code for the CPU, which it brings along from where it was "
            "built",
            hint="give allow_host_code=True if you trust the file",
        )


def _runs_on(built: Mapping[str, Any] | None, gpu: Mapping[str, Any] | None, level: str) -> bool:
    """Say whether a GPU runs what was built on another, at a hardware compatibility level."""
    if built is None or gpu is None or level == "NONE":
        return built == gpu
    own, other = gpu["compute_capability"], built["compute_capability"]
    if level == "AMPERE_PLUS":
        return bool(own >= [8, 0] and other >= [8, 0])
    return bool(own == other)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _gpu(gpu: Mapping[str, Any] | None) -> str:
    if gpu is None:
        return "no GPU"
    capability = ".".join(map(str, gpu["compute_capability"]))
    return f"{gpu['name']} (compute capability {capability}, {gpu['sm_count']} multiprocessors)"


def _system(platform: Mapping[str, Any]) -> str:
    return f"{platform.get('system')} {platform.get('machine')}"


def _differ(path: str, how: str, built: str, here: str, way: str = "") -> LoadError:
    return LoadError(
        f"{path}: the engine was built {how} {built}, and this is {here}",
        hint=f"compile and save the model here {way}".strip(),
    )
