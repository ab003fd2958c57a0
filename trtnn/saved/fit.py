"""Whether a saved model can run here: its TensorRT, GPU, platform, code and tensors."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any

from trtnn.errors import LoadError


def platform_of() -> dict[str, str]:
    """Return the operating system and the kind of machine."""
    return {"system": platform.system(), "machine": platform.machine()}


def require_fit(
    manifest: Mapping[str, Any], path: str, *, version: str, gpu: Mapping[str, Any] | None
) -> None:
    """Raise LoadError where a saved model cannot run with this TensorRT, GPU and platform."""
    if manifest["platform"] != platform_of():
        raise _differ(path, "on", _system(manifest["platform"]), _system(platform_of()))
    built = str(manifest["versions"].get("tensorrt"))
    later = manifest["engine"].get("version_compatible") and _numbers(built) < _numbers(version)
    carries = manifest["engine"].get("host_code")
    if built != version and not (later and carries):
        way = "or build with BuildOptions(version_compatible=True), which a later version can load"
        raise _differ(path, "with", f"TensorRT {built}", f"TensorRT {version}", way)
    level = manifest["engine"].get("hardware_compatibility_level", "NONE")
    if not _runs_on(manifest["gpu"], gpu, level):
        way = 'or build with BuildOptions(hardware_compatibility_level="AMPERE_PLUS")'
        raise _differ(path, "for", _gpu(manifest["gpu"]), _gpu(gpu), "" if level != "NONE" else way)


def require_host_code_allowed(manifest: Mapping[str, Any], path: str, *, allowed: bool) -> None:
    """Raise LoadError where a plan holds code for the host, which the caller did not allow."""
    if manifest["engine"].get("host_code") and not allowed:
        raise LoadError(
            f"{path}: the plan holds code for the CPU, which it brings along from where it was "
            "built",
            hint="give allow_host_code=True if you trust the file",
        )


def require_tensors(manifest: Mapping[str, Any], path: str, found: Iterable[str]) -> None:
    """Raise LoadError unless an engine has the tensors that the manifest describes."""
    described = {tensor["name"] for tensor in (*manifest["inputs"], *manifest["outputs"])}
    hosts = {host["name"] for host in manifest["hosts"]}
    has = set(found)
    if described - has or has - described - hosts:
        raise LoadError(
            f"{path}: the manifest describes {', '.join(sorted(described))}, "
            f"the engine has {', '.join(sorted(has))}"
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
