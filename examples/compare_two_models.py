"""Say whether one model is better than another: a paired test on the same articles.

    python examples/compare_two_models.py

Both models ship with harness: the untuned student of the news world, and its teacher.
"""

import harness
from harness.newsworld import models

TASK = "kd_newsworld_factual"
OPTIONS = {"n_documents": 200, "metrics": ["oracle", "rouge"]}

untuned, tuned = (
    harness.evaluate(models.path(name), TASK, output="results", metadata=OPTIONS, batch_size=50)
    for name in ("student", "teacher")
)
found = harness.compare(untuned, tuned, scores=["oracle_faithfulness", "rougeL"])

print(found.verdict)
for key, score in found.scores.items():
    difference = score.difference
    if difference is not None and difference.interval is not None:
        low, high = difference.interval.low, difference.interval.high
        print(f"{key:20} {difference.delta:+.3f}   {low:+.3f} to {high:+.3f}   p = {score.p_holm:.4f} (Holm)")
