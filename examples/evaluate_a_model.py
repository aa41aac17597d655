"""Evaluate a model, and print its scores with 95% intervals.

    python examples/evaluate_a_model.py

All of it is here, offline: articles made by rule, a small model that ships with harness, an oracle that knows the truth.
"""

import harness
from harness.newsworld import models

MODEL = models.path("teacher")  # a folder, or a name on the hub
TASK = "kd_newsworld_factual"  # `harness.lmeval.run.all_task_names()` lists ours; lm-eval's own work too

found = harness.evaluate(MODEL, TASK, output="results", metadata={"n_documents": 100}, batch_size=50)

for key, score in found.scores[TASK].items():
    interval = "none" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"
    print(f"{key:26} {score.value:8.3f}   {interval:20} n = {score.n}")

sample = found.records[TASK].samples[0]
said = "faithful" if sample.scores["oracle_faithfulness"] else "not faithful"
print(f"\nThe first response, {said}: {sample.response}")
print(f"Every response with its scores: {found.folder}")
