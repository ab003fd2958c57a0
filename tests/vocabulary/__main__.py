"""Count what of the operator database matches: ``python -m tests.vocabulary [PATTERN ...]``."""

from __future__ import annotations

import argparse
import fnmatch
import json
from pathlib import Path

import torch

from tests.vocabulary.database import entries, examined


def main() -> None:
    """Print a line for each entry that does not match, and the counts; write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--samples", type=int, help="at most so many of each entry and dtype")
    parser.add_argument("--json", type=Path, help="where the counts are written")
    asked = parser.parse_args()
    found = [
        examined(name, info, asked.samples)
        for name, info in entries().items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in asked.patterns)
    ]
    for entry in found:
        if not entry.matches:
            counts = f"{entry.matched} match, {len(entry.refused)} refused"
            print(f"{entry.name}: {counts}, {len(entry.wrong)} WRONG")
            for text in (*entry.wrong[:2], *entry.refused[:1]):
                print(f"    {text}")
    counts = {
        "entries": len(found),
        "match on all samples": sum(entry.matches for entry in found),
        "refused in part or whole": sum(bool(e.refused) and not e.wrong for e in found),
        "anything else": sum(bool(entry.wrong) for entry in found),
        "without samples": sum(not (e.matched or e.refused or e.wrong) for e in found),
    }
    print(counts)
    if asked.json:
        told = {entry.name: entry.told() for entry in found}
        versions = {"torch": torch.__version__, "samples": asked.samples or "all"}
        asked.json.write_text(json.dumps({**versions, **counts, "told": told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
