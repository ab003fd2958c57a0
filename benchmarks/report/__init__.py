"""What the suite's results come to: tables, plots, sentences, and two runs side by side."""
