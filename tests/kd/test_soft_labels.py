"""The soft-label cache: exact labels, addressed by content, that survive crashes and refuse what is not
theirs."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from harness_kd.data.examples import Example
from harness_kd.models import vocabulary_hash, vocabulary_size
from harness_kd.soft_labels.cache import SoftLabelCache, label_files, verify, writing
from harness_kd.soft_labels.capture import capture, label_rows, missing_examples
from harness_kd.soft_labels.labels import SoftLabels, pack
from harness_kd.soft_labels.manifest import Manifest
from torch import nn
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness.models.source import ModelSource

GRID = (1.0, 2.0, 4.0)


def manifest_of(source: ModelSource, **changes: Any) -> Manifest:
    tokenizer = source.tokenizer()
    fields = dict(
        teacher=source.name,
        teacher_revision=source.revision,
        teacher_sha256=source.sha256,
        vocabulary_sha256=vocabulary_hash(tokenizer),
        vocabulary_size=vocabulary_size(tokenizer),
        temperatures=GRID,
        top_k=8,
        max_tail=0.0,
        label_dtype="float32",
        teacher_dtype="float32",
    )
    return Manifest(**{**fields, **changes})


@pytest.fixture
def cache(source: ModelSource, examples: tuple[Example, ...], tmp_path: Path) -> SoftLabelCache:
    manifest = manifest_of(source)
    assert capture(source.model, examples, tmp_path / "labels", manifest) == len(examples)
    return SoftLabelCache(tmp_path / "labels", manifest)


@torch.no_grad()
def teacher_logits(source: ModelSource, example: Example) -> torch.Tensor:
    logits = source.model().eval()(input_ids=torch.from_numpy(example.ids).long()[None]).logits[0]
    return logits[example.boundary - 1 : -1].double()


def dense(
    labels: SoftLabels, grid_index: int, temperature: float, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    log_probs, log_tail = labels.at_temperature(grid_index, temperature)
    rows = np.repeat(np.arange(len(log_tail)), labels.entries_per_token())
    full = torch.full((len(log_tail), vocabulary), -math.inf)
    full[rows, labels.full_ids()] = torch.from_numpy(log_probs)
    return full, torch.from_numpy(log_tail)


@pytest.mark.parametrize("temperature", GRID)
def test_cached_labels_equal_the_teachers_full_softmax_at_every_temperature(
    source: ModelSource, examples: tuple[Example, ...], cache: SoftLabelCache, temperature: float
) -> None:
    for example in examples[::5]:
        truth = torch.log_softmax(teacher_logits(source, example) / temperature, -1)
        kept, log_tail = dense(cache.get(example.key), GRID.index(temperature), temperature, truth.shape[1])
        on = torch.isfinite(kept)
        assert on.sum(-1).tolist() == [8] * example.targets
        assert torch.equal(on.double().cumsum(-1)[:, -1], torch.full((example.targets,), 8.0).double())
        assert truth.masked_fill(on, -math.inf).amax(-1).le(truth.masked_fill(~on, math.inf).amin(-1)).all()
        # the tail mass is stored in float16
        torch.testing.assert_close(kept[on].double(), truth[on], rtol=0, atol=2e-3)
        outside = truth.masked_fill(on, -math.inf).logsumexp(-1)
        torch.testing.assert_close(log_tail.double(), outside, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            kept.exp().sum(-1) + log_tail.exp(), torch.ones(example.targets), rtol=0, atol=1e-6
        )


def test_keeping_the_whole_vocabulary_is_the_teacher_itself(
    source: ModelSource, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    manifest = manifest_of(source, top_k=500)
    capture(source.model, examples[:4], tmp_path / "labels", manifest)
    cache = SoftLabelCache(tmp_path / "labels", manifest)
    for example in examples[:4]:
        truth = torch.log_softmax(teacher_logits(source, example) / 2.0, -1)
        kept, log_tail = dense(cache.get(example.key), 1, 2.0, truth.shape[1])
        torch.testing.assert_close(kept.double(), truth, rtol=0, atol=1e-5)
        assert torch.isinf(log_tail).all()


def test_adaptive_k_keeps_as_few_entries_as_the_bound_allows(source: ModelSource) -> None:
    torch.manual_seed(0)
    hidden, head = 4 * torch.randn(50, 32), nn.Linear(32, 90)
    manifest = manifest_of(source, max_tail=0.05, top_k=64, vocabulary_size=90)
    with torch.no_grad():
        ids, log_probs, keep, log_tail, _ = label_rows(hidden, head, manifest)
        truth = head(hidden).softmax(-1)
    counts = keep.sum(-1)
    assert counts.min() < 20 < counts.max()
    outside = 1 - (truth.gather(1, ids) * keep).sum(-1)
    assert (outside <= 0.05 + 1e-5).all()
    last = log_probs.exp().gather(1, (counts - 1)[:, None]).squeeze(1)
    assert ((outside + last > 0.05) | (counts == 1)).all()
    torch.testing.assert_close(log_tail[:, 0].exp(), outside, rtol=1e-3, atol=1e-5)


def test_ids_of_a_large_vocabulary_come_back_and_fit_280_bytes_per_token() -> None:
    draw = np.random.default_rng(0)
    tokens, kept, vocabulary = 100, 64, 151_936
    ids = np.stack([draw.choice(vocabulary, kept, replace=False) for _ in range(tokens)])
    log_probs = np.sort(np.log(draw.dirichlet(np.ones(kept), tokens) * 0.9))[:, ::-1].astype(np.float32)
    tail = np.full((tokens, 4), math.log(0.1), np.float32)
    labels = pack(
        ids, log_probs, np.ones_like(ids, bool), tail, tail[:, 0], vocabulary_size=vocabulary, dtype="float16"
    )
    assert np.array_equal(labels.full_ids().reshape(tokens, kept), np.sort(ids, 1))
    restored = np.take_along_axis(
        labels.log_probs.reshape(tokens, kept), np.argsort(np.argsort(ids, 1), 1), 1
    )
    np.testing.assert_allclose(restored, log_probs, rtol=2**-11)
    arrays = (labels.ids, labels.log_probs, labels.counts, labels.log_tail, labels.log_normalizer)
    assert sum(array.nbytes for array in arrays) / tokens <= 280


def test_order_and_repetition_of_the_data_do_not_matter(
    source: ModelSource, examples: tuple[Example, ...], cache: SoftLabelCache
) -> None:
    manifest = cache.manifest
    again = [*reversed(examples), *examples]
    assert missing_examples(cache.folder, manifest, again) == []
    assert capture(lambda: pytest.fail("the teacher is loaded"), again, cache.folder, manifest) == 0


def test_finished_labels_may_be_used_while_another_run_adds_some(
    examples: tuple[Example, ...], cache: SoftLabelCache
) -> None:
    def fail() -> NoReturn:
        pytest.fail("the teacher is loaded")

    other, _ = random_labels(1)
    with writing(cache.folder, cache.manifest):
        assert capture(fail, examples, cache.folder, cache.manifest) == 0
        with pytest.raises(HarnessError, match="another process is writing"):
            capture(fail, [*examples, other], cache.folder, cache.manifest)


def test_two_processes_write_the_same_labels_as_one(
    source: ModelSource, examples: tuple[Example, ...], cache: SoftLabelCache, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    for rank in (0, 1):
        capture(source.model, examples, folder, cache.manifest, rank=rank, world_size=2)
    two = SoftLabelCache(folder, cache.manifest)
    assert len(two) == len(cache)
    for example in examples:
        one, other = cache.get(example.key), two.get(example.key)
        assert np.array_equal(one.full_ids(), other.full_ids())
        np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=0, atol=1e-5)


def test_merging_two_caches_is_copying_their_files(
    source: ModelSource, examples: tuple[Example, ...], cache: SoftLabelCache, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    capture(source.model, examples[:30], first, cache.manifest)
    capture(source.model, examples[20:], second, cache.manifest)
    for path in label_files(second):
        shutil.copy(path, first)
    assert missing_examples(first, cache.manifest, examples) == []
    assert verify(first) == 2


def random_labels(seed: int) -> tuple[Example, SoftLabels]:
    draw = np.random.default_rng(seed)
    example = Example(draw.integers(0, 90, 12).astype(np.int32), 4)
    ids = np.stack([draw.permutation(90)[:8] for _ in range(8)])
    log_probs = np.log(draw.dirichlet(np.ones(9), 8)).astype(np.float32)
    tail = np.repeat(log_probs[:, 8:], len(GRID), 1)
    keep = np.ones((8, 8), bool)
    labels = pack(ids, log_probs[:, :8], keep, tail, tail[:, 0], vocabulary_size=90, dtype="float32")
    return example, labels


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_soft_labels as t
from harness_kd.soft_labels.manifest import Manifest
folder = Path({folder!r})
with t.writing(folder, Manifest.read(folder)) as writer:
    for seed in range(10**6):
        example, labels = t.random_labels(seed)
        writer.append([(example.key, labels)])
        print(seed, flush=True)
"""


def test_kill_9_loses_at_most_the_batch_in_flight(source: ModelSource, tmp_path: Path) -> None:
    manifest = manifest_of(source)
    manifest.write_or_match(tmp_path)
    code = WRITER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(20)]
    with pytest.raises(HarnessError, match="another process is writing"), writing(tmp_path, manifest):
        pass
    process.kill()
    acknowledged += [int(line) for line in process.stdout.read().split()]
    process.wait()
    cache = SoftLabelCache(tmp_path, manifest)
    assert len(cache) - len(acknowledged) in (0, 1)
    for seed in acknowledged:
        example, labels = random_labels(seed)
        assert np.array_equal(cache.get(example.key).ids, labels.ids)
    with writing(tmp_path, manifest) as writer:
        example, labels = random_labels(-1 % 2**32)
        writer.append([(example.key, labels)])
    assert example.key in SoftLabelCache(tmp_path, manifest)
    assert len(label_files(tmp_path)) == 1
    assert verify(tmp_path) == 1


def test_a_truncated_shard_is_named(cache: SoftLabelCache) -> None:
    (path,) = label_files(cache.folder)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HarnessError, match=path.name):
        verify(cache.folder)
    with pytest.raises(HarnessError, match=path.name):
        SoftLabelCache(cache.folder, cache.manifest)


def test_a_flipped_bit_is_found_by_verify_and_by_the_read_that_meets_it(
    cache: SoftLabelCache, examples: tuple[Example, ...]
) -> None:
    (path,) = label_files(cache.folder)
    data = bytearray(path.read_bytes())
    labels = cache.get(examples[0].key).log_probs.tobytes()
    position = bytes(data).index(labels)
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(HarnessError, match=path.name):
        verify(cache.folder)
    damaged = SoftLabelCache(cache.folder, cache.manifest)
    with pytest.raises(HarnessError, match=r"soft labels of row \d+ are damaged"):
        damaged.get(examples[0].key)
    damaged.get(examples[1].key)


def test_swapped_shards_are_found(source: ModelSource, tmp_path: Path) -> None:
    manifest = manifest_of(source)
    for rank in (0, 1):
        with writing(tmp_path, manifest, rank=rank) as writer:
            example, labels = random_labels(rank)
            writer.append([(example.key, labels)])
    first, second = label_files(tmp_path)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(HarnessError, match="2 problems"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"top_k": 9}, "top k is 8, this run needs 9"),
        ({"teacher_sha256": "0" * 64}, "teacher sha256"),
        ({"vocabulary_sha256": "0" * 64}, "vocabulary sha256"),
        ({"temperatures": (1.0,)}, "temperatures"),
        ({"label_dtype": "float16"}, "label dtype"),
        ({"code_version": 2}, "code version"),
    ],
)
def test_a_cache_of_another_kind_is_refused_by_the_part_that_differs(
    source: ModelSource,
    cache: SoftLabelCache,
    examples: tuple[Example, ...],
    change: dict[str, Any],
    named: str,
) -> None:
    with pytest.raises(HarnessError, match=named):
        capture(source.model, examples, cache.folder, replace(cache.manifest, **change))


def test_the_teachers_name_is_no_difference(
    source: ModelSource, cache: SoftLabelCache, examples: tuple[Example, ...]
) -> None:
    renamed = replace(cache.manifest, teacher="moved/elsewhere", teacher_revision="main")
    assert capture(source.model, examples, cache.folder, renamed) == 0


def test_a_full_disk_keeps_what_is_finished(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = manifest_of(source)
    example, labels = random_labels(0)
    with writing(tmp_path, manifest) as writer:
        writer.append([(example.key, labels)])

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    other, more = random_labels(1)
    with writing(tmp_path, manifest) as writer, monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            writer.append([(other.key, more)])
    assert len(SoftLabelCache(tmp_path, manifest)) == 1
    assert verify(tmp_path) == 1


def test_a_teacher_whose_logits_are_no_numbers_is_refused(
    source: ModelSource, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    def broken() -> PreTrainedModel:
        model = source.model()
        model.model.norm.weight.data[3] = torch.nan
        return model

    with pytest.raises(HarnessError, match="logits that are no numbers"):
        capture(broken, examples, tmp_path, manifest_of(source))
    assert label_files(tmp_path) == []


def test_padded_rows_of_the_teachers_head_take_no_mass(
    build_model: Callable[..., str], tmp_path: Path, examples: tuple[Example, ...]
) -> None:
    padded = ModelSource.find(build_model(tmp_path / "padded", seed=5, rows=128), role="teacher")
    manifest = manifest_of(padded, top_k=500)
    capture(padded.model, examples[:2], tmp_path / "labels", manifest)
    labels = SoftLabelCache(tmp_path / "labels", manifest).get(examples[0].key)
    truth = torch.log_softmax(teacher_logits(padded, examples[0])[:, :94], -1)
    kept, _ = dense(labels, 0, 1.0, 94)
    torch.testing.assert_close(kept.double(), truth, rtol=0, atol=1e-5)
