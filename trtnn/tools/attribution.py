"""Which modules a layer of an engine is of: TensorRT's names hold those that the network had."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trtnn.graph.graph import Graph, all_nodes
from trtnn.saved.graphs import ops_by_name

ROOT = "(root)"
# TensorRT's own name of what has none: the kind in it is no op of the root's.
_UNNAMED = re.compile(r"\(Unnamed Layer\* \d+\) \[[^\]]*\]")
_REGION = "ForeignNode["  # which says its first and its last layer, and no other


@dataclass(frozen=True)
class Owners:
    """The modules of one layer of an engine.

    Attributes:
        modules: Their paths, in order of execution; empty of what TensorRT adds, such as copies.
        told: Whether its name says all of them. Of a region it says the first and the last: what
            lies between, and is in no other layer, is counted to it.
    """

    modules: tuple[str, ...]
    told: bool = True

    def __str__(self) -> str:
        names = [path or ROOT for path in self.modules]
        return (" + " if self.told else " ... ").join(names)


class Attribution:
    """Finds modules in the names of layers.

    Args:
        graph: As it was traced; of a loaded model there is none, and all that has the form of a
            module's path is taken for one.
    """

    def __init__(self, graph: Any) -> None:
        nodes = list(all_nodes(graph)) if isinstance(graph, Graph) else []
        self.order = [node.origin.path for node in nodes]
        self.places: dict[tuple[str, str], list[int]] = {}
        for place, node in enumerate(nodes):
            self.places.setdefault((node.origin.path, node.op.name), []).append(place)
            self.places.setdefault((node.origin.path, ""), []).append(place)
        paths = sorted({path for path in self.order if path}, key=len, reverse=True)
        known = "|".join(map(re.escape, paths)) if nodes else r"[\w.]+"
        path = rf"(?:({known})/)?" if known else "()"
        ops = "|".join(sorted(ops_by_name(), key=len, reverse=True))
        # What TensorRT puts in front and behind stands beside an underscore: reshape_before_NAME.
        self.pattern = re.compile(rf"(?<![\w./])(?:\w+?_)?{path}({ops})(?:#\d+)?(?![A-Za-z0-9/])")

    def owners(self, names: Sequence[str]) -> list[Owners]:
        """Return the modules of each layer of one engine."""
        found = [self._labels(name) for name in names]
        regions = [
            _REGION in name and len(labels) > 1 for name, labels in zip(names, found, strict=True)
        ]
        named = {path for labels in found for path, _ in labels}
        return [
            self._region(labels, named) if region else Owners(_once(path for path, _ in labels))
            for labels, region in zip(found, regions, strict=True)
        ]

    def _labels(self, name: str) -> list[tuple[str, str]]:
        """Return module path and op of each of the network's layers that a name holds."""
        matches = self.pattern.finditer(_UNNAMED.sub("", name).replace("...", " ... "))
        return [(match[1] or "", match[2]) for match in matches]

    def _region(self, labels: Sequence[tuple[str, str]], named: set[str]) -> Owners:
        """Return the first, the last, and what lies between and nobody else names."""
        first, last = labels[0], labels[-1]
        begin = min(self._places(first), default=0)
        end = max(self._places(last), default=-1)
        between = [path for path in self.order[begin : end + 1] if path not in named]
        return Owners(_once([first[0], *between, last[0]]), told=False)

    def _places(self, label: tuple[str, str]) -> list[int]:
        return self.places.get(label) or self.places.get((label[0], ""), [])


def _once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
