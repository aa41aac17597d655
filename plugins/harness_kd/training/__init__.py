"""One training run, from a plan to a model folder: `harness_kd.training.train` reads top to bottom."""
