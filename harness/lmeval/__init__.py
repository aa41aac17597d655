"""The one place that imports lm-evaluation-harness: the task class, its documents, and the runner."""
