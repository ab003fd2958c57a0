"""How it is shown: Markdown tables of a results file."""
