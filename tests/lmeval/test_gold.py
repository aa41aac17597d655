"""The references, scored as responses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.records import from_lm_eval, import_results, load_documents


def test_the_references_are_a_record_like_any_other(hub_like: Path, tmp_path: Path) -> None:
    words = ["--tasks", "kd_xsum_factual", "--data-dir", str(hub_like), "--metrics", "rouge,surface"]
    assert main(["eval", "gold", *words, "--output", str(tmp_path / "out")]) == 0
    (path,) = import_results(tmp_path / "out" / "gold", tmp_path / "records")
    (record,) = from_lm_eval(tmp_path / "out" / "gold")
    assert record.model == "references"
    assert record.provenance["backend"] == "harness-gold"
    documents = load_documents(record, path)
    assert documents is not None
    assert [s.response for s in record.samples] == [d.references[0] for d in documents.values()]
    assert record.scores["rougeL"]["value"] == 1.0


def test_a_chat_task_takes_them_too(hub_like: Path, tmp_path: Path) -> None:
    words = ["--tasks", "kd_xsum_factual", "--data-dir", str(hub_like), "--metrics", "rouge", "--chat"]
    assert main(["eval", "gold", *words, "--output", str(tmp_path / "out")]) == 0


def test_a_task_without_references_is_refused() -> None:
    from lm_eval.api.instance import Instance

    from harness.lmeval.models.gold import Gold

    request = Instance(
        request_type="generate_until", doc={"x": 1}, arguments=("", {}), idx=0, metadata=("arc", 0, 1)
    )
    with pytest.raises(HarnessError, match="arc: harness-gold needs documents with references"):
        Gold().generate_until([request])


def test_stock_lm_eval_knows_the_model_beside_its_own(root: Path) -> None:
    code = "import faithfulness_harness_lm_eval, lm_eval.tasks\n"
    code += "from lm_eval.api.registry import get_model\n"
    code += "print(get_model('harness-gold').__name__, get_model('dummy').__name__)"
    environment = {**os.environ, "PYTHONPATH": f"{root / 'harness' / 'startup'}{os.pathsep}{root}"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["Gold", "DummyLM"]
