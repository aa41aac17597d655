"""Factual consistency: how probable a judge holds it that the source supports the response (`harness.judges`).

The paper that this project follows reports "factual consistency" by Vectara's classifier without saying whether it is the
mean score or the share of responses at 0.5 or above, so both are given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from harness.judges import Judge, hhem21, load
from harness.judges.judge import THRESHOLD
from harness.judges.load import HHEM10_REVISION
from harness.metrics import signatures
from harness.metrics.base import Family, Metric, Options, Sample, Score, is_true
from harness.stats.held_out import HeldOut

MEAN, RATE = "factual_consistency", "factual_consistency_rate"
SCORES = {
    MEAN: Score(title="mean probability, by the judge, that the response is consistent", kind="faithfulness"),
    RATE: Score(
        title="share of responses that the judge holds consistent", kind="faithfulness", leading=True
    ),
}
OPTIONS: Options = {
    "judge": "hhem-2.1",
    "judge_device": None,
    "judge_dtype": "float32",
    "judge_batch_tokens": 0,
    "judge_unproven": False,  # takes a judge of which nothing shows that its scores mean anything, see `harness.judges.load`
}

_FORM = (
    "{key}|{value}|judge:{judge}@{revision}|weights:{weights}|max_tokens:{max_tokens}|calibration:{calibration}|dtype:{dtype}"
    "|transformers:{transformers}|torch:{torch}|version:1"
)
_COMMIT = re.compile("[0-9a-f]{40}")
_VALUES = {MEAN: "mean", RATE: f"share>={THRESHOLD}"}
_PINNED = {"hhem-2.1": hhem21.REVISION, "hhem-1.0": HHEM10_REVISION, "embedded": "shipped"}
"""Judges that this version names, with the revision it takes."""


class Consistency(Metric):
    """Mean score, and share of responses that score at least 0.5, both 0..1.

    A response has no score, and is counted, if its document has no source, if it has more words than its source (it is then no
    summary of it), or if the judge gives no number.

    Args:
        name: Of the judge, see `harness.judges.load`.
        device: Torch device; None takes the accelerator where there is one.
        dtype: Precision of the judge.
        batch_tokens: Padded tokens of a batch; 0 takes what suits the device.
        unproven: As in `harness.judges.load`.

    Raises:
        HarnessError: If the judge cannot be had, learned nothing or fails its self-test: now, and not after an evaluation of hours.
    """

    scores = SCORES

    def __init__(
        self,
        name: str = "hhem-2.1",
        *,
        device: str | None = None,
        dtype: str = "float32",
        batch_tokens: int = 0,
        unproven: bool = False,
    ) -> None:
        self._load = {
            "name": name,
            "device": device,
            "dtype": dtype,
            "batch_tokens": batch_tokens,
            "unproven": unproven,
        }
        # tested now, weights given back until they are needed: the evaluated model may want all of the memory
        judge = self._judge()
        self._signature, self._held_out = judge.signature(), judge.held_out
        self._reads_any_text = judge.domain is None
        self._counts: dict[str, int] = {}

    def _judge(self) -> Judge:
        return load(**self._load)  # type: ignore[arg-type]

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`."""
        judge = self._judge()
        judged = [i for i, sample in enumerate(samples) if sample.source.strip() and not _longer(sample)]
        scores: list[dict[str, float]] = [{} for _ in samples]
        pairs = [(samples[i].source, samples[i].response) for i in judged]
        for i, score in zip(judged, judge.score(pairs), strict=True):
            if not math.isnan(score):
                scores[i] = {MEAN: score, RATE: float(score >= THRESHOLD)}
        self._counts = {
            "judge_without_source": sum(not sample.source.strip() for sample in samples),
            "judge_longer_than_source": sum(_longer(sample) for sample in samples),
            "judge_failed": judge.counts.failed,
            "judge_truncated": judge.counts.truncated,
            "judge_over_length": judge.counts.over_length,
        }
        return scores

    def check_sources(self, sources: Sequence[str]) -> None:
        """See `harness.metrics.base.Metric`: `embedded` knows the news world alone."""
        if not self._reads_any_text:
            self._judge().check_sources(sources)

    def held_out(self) -> dict[str, HeldOut | None]:
        """See `harness.metrics.base.Metric`."""
        return dict.fromkeys(self.scores, self._held_out)

    def counts(self) -> dict[str, int]:
        """What happened to the samples of the last `score`: not scored (and why), cut, or longer than the judge was trained on."""
        return dict(self._counts)

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        import torch
        import transformers

        libraries = f"transformers:{transformers.__version__}|torch:{torch.__version__.split('+')[0]}"
        return "|".join([key, _VALUES[key], self._signature, libraries, "version:1"])


def _longer(sample: Sample) -> bool:
    source = sample.source.split()
    return bool(source) and len(sample.response.split()) > len(source)


def from_options(options: Options) -> Consistency:
    """Build from task metadata; see `OPTIONS`."""
    return Consistency(
        str(options["judge"]),
        device=options["judge_device"],
        dtype=str(options["judge_dtype"]),
        batch_tokens=int(options["judge_batch_tokens"] or 0),
        unproven=is_true(options["judge_unproven"]),
    )


def contradiction(key: str, signature: str, options: Options) -> str | None:
    """See `harness.metrics.base.Family`: which judge, its revision where it is pinned, and its precision are known."""
    form = _FORM.replace("{key}", key).replace("{value}", _VALUES[key])
    stated = signatures.read(form, signature)
    if stated is None:
        return f"is not of the form {form}"
    judge = str(options["judge"])
    # owner/model@revision, or a folder, whose name may hold an @ of its own
    names = {signatures.last_part(name) for name in (judge, judge.partition("@")[0])}
    expected = {
        "judge": None if signatures.last_part(stated["judge"]) in names else judge,
        "revision": None if stated["revision"] == "local" else _revision(judge),
        "dtype": str(options["judge_dtype"]),
    }
    return signatures.differing(stated, expected)


def _revision(judge: str) -> str | None:
    """The revision that a judge's name stands for, as signatures cut it; None where it stands for none."""
    commit = judge.partition("@")[2]
    revision = _PINNED.get(judge) or (commit if _COMMIT.fullmatch(commit) else None)
    return revision and revision[:12]


FAMILY = Family(scores=SCORES, from_options=from_options, options=OPTIONS, contradiction=contradiction)
