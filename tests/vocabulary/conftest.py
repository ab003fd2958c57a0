"""The scripts here import what takes seconds, and hold no doctests."""

collect_ignore = ["__main__.py", "database.py", "networks.py", "survey.py"]
