"""``python -m benchmarks.tables``."""

import typer

from benchmarks.tables.table import main

typer.run(main)
