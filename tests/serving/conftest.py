"""What pytest is not to import: the cluster's own file imports Ray, which warns."""

collect_ignore = ["cluster.py"]
