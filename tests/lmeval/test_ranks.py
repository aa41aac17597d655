"""Several processes, joined by gloo as accelerate joins them."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

from harness.lmeval.bridge import ranks

WORKER = """
import sys
import torch.distributed as dist
from harness.lmeval.bridge import ranks

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
scores = [[{"rougeL": 0.5, "answer_rate": 1.0}, {"answer_rate": 0.0}], [{"answer_rate": 0.0}, {"answer_rate": 0.0}]][rank]
assert ranks.gather([rank, rank]) == [0, 0, 1, 1]
padded, ragged = ranks.same_keys_on_every_rank(scores)
assert ragged == {"rougeL"}, ragged
assert {key for sample in padded for key in sample} == {"rougeL", "answer_rate"}
gathered = [s["rougeL"] for s in ranks.gather(padded) if "rougeL" in s]
assert len(gathered) == 2 and ranks.mean_of_scored(gathered) == 0.5
dist.destroy_process_group()
"""


def test_one_process_is_left_alone() -> None:
    scores = [{"a": 1.0}, {}]
    assert ranks.gather(scores) == scores
    assert ranks.same_keys_on_every_rank(scores) == (scores, frozenset())
    assert ranks.mean_of_scored([1.0, math.nan, 3.0]) == 2


def test_a_rank_on_which_all_samples_failed_breaks_nothing(tmp_path: Path, root: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path / "store")],
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        _, error = worker.communicate(timeout=120)
        assert worker.returncode == 0, error
