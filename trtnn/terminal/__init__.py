"""The commands of ``trtnn``, on typer and rich: what is typed, and how results are shown."""
