"""Bar plots, by matplotlib where it is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trtnn.errors import OptionError, UnsupportedError
from trtnn.files import replacing

FORMATS = ("png", "svg", "pdf")
MOST_BARS, LONGEST = 30, 60


def bars(times: Mapping[str, float], path: str | os.PathLike[str], title: str) -> None:
    """Write a plot of one bar for each of some times, in microseconds, the longest first.

    Raises:
        OptionError: The file ends in none of ``FORMATS``.
        UnsupportedError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    form = Path(path).suffix.removeprefix(".").lower()
    if form not in FORMATS:
        endings = ", ".join(f".{f}" for f in FORMATS)
        raise OptionError(f"path: expected a file that ends in {endings}, got {path}")
    ordered = sorted(times.items(), key=lambda item: -item[1])
    shown, rest = ordered[:MOST_BARS], ordered[MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} more", sum(time for _, time in rest)))
    names = [name if len(name) <= LONGEST else name[: LONGEST - 3] + "..." for name, _ in shown]
    figure = _figure_class()(figsize=(9, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(shown))
    axes.barh(places, [time for _, time in shown], color="#4c78a8")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("microseconds")
    axes.set_title(title)
    with replacing(Path(path)) as file:
        figure.savefig(file, format=form)


def _figure_class() -> Any:
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise UnsupportedError(
            "plot: matplotlib is not installed", hint='pip install "trtnn[plot]"', search=False
        ) from error
