"""How it is measured: times, raw engines, builds, processes, and where a run takes place."""
