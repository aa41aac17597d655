"""Training rows: where they come from, and their tokens."""
