"""Models that this package adds to lm-eval."""
