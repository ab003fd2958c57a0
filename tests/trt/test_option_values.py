"""What the build options take, without any TensorRT: values, comparison, description."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from trtnn.errors import OptionError
from trtnn.options import BuildOptions


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"workspace_bytes": 0}, "workspace_bytes: expected a positive int, got 0"),
        ({"workspace_bytes": 1.5}, "workspace_bytes: expected a positive int, got 1.5"),
        ({"tactic_dram_bytes": True}, "tactic_dram_bytes: expected a positive int, got True"),
        (
            {"builder_optimization_level": 6},
            "builder_optimization_level: expected an int from 0 to 5, got 6",
        ),
        (
            {"max_aux_streams": -1},
            "max_aux_streams: expected an int from 0 to 2**31 - 1, got -1",
        ),
        ({"max_threads": 2**31}, f"max_threads: expected an int from 1 to 2**31 - 1, got {2**31}"),
        ({"strict_nans": 1}, "strict_nans: expected True or False, got 1"),
        ({"refit": True}, "refit: expected 'refit', 'identical' or 'individual', got True"),
        (
            {"profiling_verbosity": "detailed"},
            "profiling_verbosity: expected a name in capitals, got 'detailed'",
        ),
        ({"tactic_sources": "CUDNN"}, "tactic_sources: expected a list of names, got 'CUDNN'"),
        ({"plugins_to_serialize": [3]}, "plugins_to_serialize: expected a list of paths, got [3]"),
        (
            {"preview_features": {"X": 1}},
            "preview_features: expected a dict of names to True or False, got {'X': 1}",
        ),
        (
            {"preview_features": ["X"]},
            "preview_features: expected a dict of names to True or False, got ['X']",
        ),
        ({"timing_cache": True}, "timing_cache: expected bytes, a path, False or None, got True"),
        ({"remote_auto_tuning_config": 3}, "remote_auto_tuning_config: expected a str, got 3"),
        ({"log_level": "INFO"}, "log_level: expected a level of logging, an int, got 'INFO'"),
        (
            {"exclude_lean_runtime": True},
            "exclude_lean_runtime=True: has no effect without version_compatible=True",
        ),
        ({"dla_core": 0}, "dla_core=0: has no effect without default_device_type='DLA'"),
        (
            {"l2_limit_for_tiling": 5},
            'l2_limit_for_tiling=5: has no effect without tiling_optimization_level="FAST" or more',
        ),
        ({"strip_plan": True}, "strip_plan=True: has no effect without refit"),
        (
            {"reject_empty_algorithms": True},
            "reject_empty_algorithms=True: has no effect without algorithm_selector",
        ),
        (
            {"disable_timing_cache": True},
            "disable_timing_cache=True: has no effect without timing_cache=False",
        ),
        (
            {"timing_cache": b"x", "builder_optimization_level": 0},
            "timing_cache: there is no timing cache with builder_optimization_level=0",
        ),
        (
            {"timing_cache": "file", "algorithm_selector": object()},
            "timing_cache: there is no timing cache with an algorithm_selector",
        ),
        (
            {"editable_timing_cache": True, "timing_cache": False},
            "editable_timing_cache: there is no timing cache with timing_cache=False",
        ),
    ],
)
def test_a_wrong_value_names_the_field_what_was_given_and_what_was_expected(
    chosen: Any, text: str
) -> None:
    with pytest.raises(OptionError) as caught:
        BuildOptions(**chosen)
    assert caught.value.message == text


def test_options_compare_hash_replace_and_describe_themselves() -> None:
    first = BuildOptions(
        tactic_sources=["CUDNN", "CUBLAS"],
        preview_features={"B": True, "A": False},
        timing_cache=b"x",
        max_threads=2,
        progress_monitor=object(),
    )
    second = replace(first, tactic_sources={"CUBLAS", "CUDNN"})
    assert first == second and hash(first) == hash(second)
    assert first != replace(first, max_threads=3)
    assert (
        json.dumps(first.describe())
        == json.dumps(second.describe())
        == json.dumps(
            {
                "max_threads": 2,
                "preview_features": {"A": False, "B": True},
                "progress_monitor": "builtins.object",
                "tactic_sources": ["CUBLAS", "CUDNN"],
                "timing_cache": "sha256:"
                "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
            }
        )
    )
    assert list(first.describe(keyed=True)) == ["preview_features", "tactic_sources"]
    assert BuildOptions().describe() == {}
    assert BuildOptions(log_level=10, timing_cache="a/b").describe() == {
        "log_level": 10,
        "timing_cache": "a/b",
    }
    assert BuildOptions(timing_cache=False).describe() == {"timing_cache": False}
