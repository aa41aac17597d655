"""The one place that imports lm-evaluation-harness: the task class behind every ``kd_*`` task, its data, and the runner."""
