"""Every build option, on the double of every version: it arrives, or is refused by name."""

from __future__ import annotations

import ctypes
import inspect
import sys
from dataclasses import fields
from typing import Any

import pytest
import torch

import tests.double as double
import trtnn
from tests.double.surface import VERSIONS
from tests.settings import (
    CASES,
    DLA,
    DOUBLES,
    ELSEWHERE,
    REFUSED,
    configured,
    members_anywhere,
    options_of,
    versions_of,
)
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.errors import BuildError, OptionError
from trtnn.options import MEMBERS, SETTINGS, BuildOptions
from trtnn.trt import builder_config
from trtnn.trt.library import TensorRT, _logs


def test_every_field_has_a_row_a_case_and_its_words() -> None:
    names = [field.name for field in fields(BuildOptions)]
    assert set(names) == set(SETTINGS) == {*CASES, *ELSEWHERE}
    text = " ".join(inspect.getdoc(BuildOptions).split())  # type: ignore[union-attr]
    for name, after in zip(names, [*names[1:], None], strict=True):
        words = text.split(f" {name}: ")[1].split(f" {after}: " if after else " Raises:")[0]
        versions = SETTINGS[name].versions
        assert versions == "8.6, 10 and 11" or versions in words, f"{name}: say ({versions})"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("field", CASES)
def test_an_option_arrives_or_is_refused(field: str, version: str) -> None:
    trt, case = DOUBLES[version], CASES[field]
    versions = versions_of(case.exists)
    assert SETTINGS[field].versions == versions
    if not case.exists(trt) or not all(
        CASES[name].exists(trt) for name in case.beside if name in CASES
    ):
        stand_in = {n: object() if n.startswith("algorithm") else v for n, v in case.beside.items()}
        value = object() if case.value in ("IAlgorithmSelector", "IProgressMonitor") else case.value
        options = BuildOptions(**{field: value}, **stand_in)
        with pytest.raises(OptionError) as caught:
            configured(trt, options)
        absent = next(n for n in options.given() if not CASES[n].exists(trt))
        shown = options.describe()[absent]
        assert caught.value.message == (
            f"{absent}={shown!r}: TensorRT {VERSIONS[version]} lacks this option; "
            f"it is in TensorRT {SETTINGS[absent].versions}"
        )
        return
    if field == "preview_features":
        return  # test_preview_features has each member
    options = options_of(trt, field, case)
    builder, config = configured(trt, options)
    wanted = case.value if case.arrives is None else case.arrives
    if field == "tactic_sources":
        wanted = 1 << int(trt.TacticSource.JIT_CONVOLUTIONS)
    if field in ("algorithm_selector", "progress_monitor"):
        wanted = getattr(options, field)
    assert case.read(trt, builder, config) == wanted
    assert case.read(trt, *configured(trt, BuildOptions())) != wanted


@pytest.mark.parametrize("version", VERSIONS)
def test_the_level_of_the_log(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = DOUBLES[version]
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    options = BuildOptions(log_level=10)
    trtnn.compile(lambda x: x * 2, inputs=[trtnn.Input((2,))], device="cpu", options=options)
    assert _logs[id(trt)].level == 10


@pytest.mark.parametrize("version", VERSIONS)
def test_a_flag_that_is_false_is_cleared(version: str) -> None:
    trt = DOUBLES[version]
    for field, case in CASES.items():
        if case.where == "BuilderFlag" and case.exists(trt) and field != "refit":
            library = TensorRT(trt)
            builder = library.builder()
            config = builder.create_builder_config()
            config.set_flag(trt.BuilderFlag.__members__[case.name])
            options = BuildOptions(**{field: False})  # type: ignore[arg-type]
            builder_config.configure(trt, builder, config, options, str)
            assert not config.get_flag(trt.BuilderFlag.__members__[case.name]), field


@pytest.mark.parametrize("version", VERSIONS)
def test_every_setting_of_a_version_is_an_option_or_listed(version: str) -> None:
    trt = DOUBLES[version]
    names = {*trt.BuilderFlag.__members__, *trt.MemoryPoolType.__members__}
    for owner in (trt.IBuilderConfig, trt.Builder):
        properties = trt._surface.entries[owner.__name__]["properties"]
        names |= {name for name, access in properties.items() if access == "read-write"}
    excused = {name for words in REFUSED for name in words.split()}
    assert names - {setting.name for setting in SETTINGS.values()} - excused - {"REFIT"} == set()


ENUMERATIONS = ["profiling_verbosity", "hardware_compatibility_level", "tiling_optimization_level"]


def test_which_versions_have_a_member_is_told_as_it_is() -> None:
    kinds = [SETTINGS[field].type for field in ENUMERATIONS] + ["TacticSource", "PreviewFeature"]
    found = {}
    for kind in kinds:
        for name in members_anywhere(kind):
            has = versions_of(lambda trt, k=kind, n=name: hasattr(getattr(trt, k, None), n))
            if has != versions_of(lambda trt, k=kind: hasattr(trt, k)):
                found[name] = has
    for word in ("REFIT_IDENTICAL", "REFIT_INDIVIDUAL"):
        found[word] = versions_of(lambda trt, n=word: hasattr(trt.BuilderFlag, n))
    assert found == MEMBERS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("field", ENUMERATIONS)
def test_each_member_arrives_or_is_refused(field: str, version: str) -> None:
    trt = DOUBLES[version]
    kind = getattr(trt, SETTINGS[field].type, None)
    if kind is None:
        return  # the option as a whole is refused there
    for name in members_anywhere(SETTINGS[field].type):
        if name in kind.__members__:
            _, config = configured(trt, BuildOptions(**{field: name}))  # type: ignore[arg-type]
            assert getattr(config, field) == kind.__members__[name]
            continue
        with pytest.raises(OptionError) as caught:
            configured(trt, BuildOptions(**{field: name}))  # type: ignore[arg-type]
        assert caught.value.message == (
            f"{field}: TensorRT {VERSIONS[version]} has no {name} (it is in TensorRT "
            f"{MEMBERS[name]}); expected {', '.join(sorted(kind.__members__))}"
        )
    with pytest.raises(OptionError, match=f"{field}: TensorRT .* has no LOUD; expected "):
        configured(trt, BuildOptions(**{field: "LOUD"}))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_three_kinds_of_refit(version: str) -> None:
    trt = DOUBLES[version]
    for word, name in builder_config._REFIT.items():
        if hasattr(trt.BuilderFlag, name):
            _, config = configured(trt, BuildOptions(refit=word))
            assert config.get_flag(trt.BuilderFlag.__members__[name])
        else:
            text = rf"has no {name} \(it is in TensorRT 10 and 11\); expected 'refit'\n"
            with pytest.raises(OptionError, match=text):
                configured(trt, BuildOptions(refit=word))
    both = BuildOptions(refit="refit", version_compatible=True)
    if version == "8.6":
        with pytest.raises(OptionError, match=r"refit='refit': TensorRT 8\.6\.0 cannot refit"):
            configured(trt, both)
    else:
        configured(trt, both)


@pytest.mark.parametrize("version", VERSIONS)
def test_preview_features(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = DOUBLES[version]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    for name in members_anywhere("PreviewFeature"):
        for on in (True, False):
            options = BuildOptions(preview_features={name: on})
            if name not in trt.PreviewFeature.__members__:
                with pytest.raises(OptionError, match=f"preview_features: .* has no {name} "):
                    configured(trt, options)
            elif name == "PROFILE_SHARING_0806" and not on:
                with pytest.raises(OptionError, match="PROFILE_SHARING_0806=False; expected True"):
                    configured(trt, options)
            else:
                _, config = configured(trt, options)
                assert config.get_preview_feature(trt.PreviewFeature.__members__[name]) is on
    _, config = configured(trt, BuildOptions())
    if sharing := trt.PreviewFeature.__members__.get("PROFILE_SHARING_0806"):
        assert config.get_preview_feature(sharing)


CLEARED = {"DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805": False}


@pytest.mark.parametrize(
    ("chosen", "libraries", "text"),
    [
        ({"tactic_sources": ["CUBLAS"]}, ["libcublas.so.12"], "8.6.0 ignores CUBLAS"),
        ({"tactic_sources": ["CUDNN"], "preview_features": CLEARED}, ["libcudnn.so.8"], None),
        (
            {"tactic_sources": ["CUDNN"], "preview_features": CLEARED},
            ["libcudnn.so.9"],
            "CUDNN needs libcudnn.so.8, which cannot be loaded",
        ),
        ({"preview_features": CLEARED}, ["libcudnn.so.8"], "CUBLAS needs libcublas.so.12 or"),
        ({"tactic_sources": [], "preview_features": CLEARED}, [], None),
    ],
)
def test_libraries_of_tactic_sources(
    chosen: Any, libraries: list[str], text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(name: str) -> None:
        if name not in libraries:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", opened)
    if text is None:
        _, config = configured(DOUBLES["8.6"], BuildOptions(**chosen))
        assert config.get_tactic_sources() == (4 if chosen["tactic_sources"] else 0)
        return
    with pytest.raises(OptionError, match=f"tactic_sources: .*{text}"):
        configured(DOUBLES["8.6"], BuildOptions(**chosen))


def test_a_tactic_source_that_a_version_lacks() -> None:
    with pytest.raises(OptionError) as caught:
        configured(DOUBLES["11"], BuildOptions(tactic_sources=["CUDNN"]))
    assert caught.value.message == (
        "tactic_sources: TensorRT 11.4.0 has no CUDNN (it is in TensorRT 8.6 and 10); "
        "expected EDGE_MASK_CONVOLUTIONS, JIT_CONVOLUTIONS"
    )


def test_an_object_of_another_class() -> None:
    for version, field, kind in (
        ("8.6", "algorithm_selector", "IAlgorithmSelector"),
        ("11", "progress_monitor", "IProgressMonitor"),
    ):
        text = f"{field}: expected an instance of tensorrt.{kind}, got 3"
        with pytest.raises(OptionError, match=text):
            configured(DOUBLES[version], BuildOptions(**{field: 3}))  # type: ignore[arg-type]


def test_dla_cores_that_are_not_there() -> None:
    trt = DOUBLES["8.6"]
    library = TensorRT(trt)
    for chosen, cores, text in (
        (DLA, 0, "default_device_type='DLA': there are 0 DLA cores here"),
        ({**DLA, "dla_core": 2}, 2, "dla_core=2: there are 2 DLA cores here"),
    ):
        builder = library.builder()
        builder._write("num_DLA_cores", cores)
        options = BuildOptions(**chosen)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match=text):
            library.config(builder, options, tf32=True, half=False)


def test_what_tensorrt_does_not_take_is_said_with_its_own_words() -> None:
    trt = DOUBLES["8.6"]
    library = TensorRT(trt)
    builder = library.builder()
    config = builder.create_builder_config()
    object.__setattr__(config, "set_memory_pool_limit", lambda pool, size: None)
    options = BuildOptions(workspace_bytes=4)
    with pytest.raises(OptionError, match=r"workspace_bytes: .* took \d+ instead of 4; too small"):
        builder_config.configure(trt, builder, config, options, lambda: "; too small")


@pytest.mark.parametrize("line", ["Could not find any implementation for node {x}", "bad"])
def test_a_build_without_a_kernel_tells_the_memory(line: str) -> None:
    library = TensorRT(DOUBLES["10"])
    builder = library.builder()
    options = BuildOptions(workspace_bytes=4096)
    config = library.config(builder, options, tf32=True, half=False)

    def fail(network: Any, config: Any) -> None:
        builder._log("ERROR", line)

    object.__setattr__(builder, "build_serialized_network", fail)
    with pytest.raises(BuildError) as caught:
        library.build(builder, None, config, 1_000_000)
    note = "workspace_bytes was 4,096; free memory of the GPU before the build: 1,000,000 bytes"
    assert line in str(caught.value)
    assert (note in str(caught.value)) == line.startswith("Could")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_compatible_plan_may_run_its_host_code(version: str) -> None:
    library = TensorRT(DOUBLES[version])
    graph = trtnn.trace(lambda x: x.relu(), [trtnn.Input((2,))])
    engine = build(graph, library, BuildOptions(version_compatible=True))
    assert engine.runtime.engine_host_code_allowed is True
    with pytest.raises(BuildError, match="engine_host_code_allowed"):
        Engine.deserialize(engine.serialize(), library)


def test_compile_refuses_before_it_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(x: Any) -> Any:
        raise AssertionError("traced")

    monkeypatch.setitem(sys.modules, "tensorrt", double.load("8.6"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    options = BuildOptions(strict_nans=True)
    with pytest.raises(OptionError, match=r"strict_nans=True: TensorRT 8\.6\.0 lacks"):
        trtnn.compile(forward, inputs=[trtnn.Input((2,))], device="cpu", options=options)
