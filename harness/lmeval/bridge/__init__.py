"""Every bend of lm-evaluation-harness."""
