"""The suite: what builds, who competes, and the race of all contenders of a case."""
