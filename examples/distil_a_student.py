"""Distil a student, and compare it with its twin that was finetuned alone.

    python examples/distil_a_student.py

Two of five training references state something that their article does not. The twin learns that as the truth; the
teacher's soft labels say how likely each word is.
"""

from dataclasses import replace

import harness_kd

import harness
from harness.newsworld import models

TASK = "kd_newsworld_factual"

alone = harness_kd.TrainPlan(
    student=str(models.path("student")),
    data="newsworld?n=2000&noise=0.4",  # or one's own rows of prompt and response: rows.jsonl
    output="models/twin",
    epochs=3,
    learning_rate=5e-3,
    batch_size=32,
)
distilled = replace(alone, output="models/student", teacher=str(models.path("teacher")), kd_ratio=10)

options = {"n_documents": 500, "metrics": ["oracle"]}
results = [
    harness.evaluate(harness_kd.train(plan), TASK, output="results", metadata=options, batch_size=100)
    for plan in (alone, distilled)
]

for name, result in zip(("finetuned alone", "distilled"), results, strict=True):
    score = result.scores[TASK]["oracle_faithfulness"]
    print(f"{name:16} faithful {score.value:.1%}, 95% interval {score.low:.1%} to {score.high:.1%}")
print(harness.compare(*results, scores=["oracle_faithfulness"]).verdict)
