"""Running a teacher over examples and keeping its distributions.

Shapes: B batch, T positions, N response tokens, D hidden width, V vocabulary, K kept entries, G temperatures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import frexp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness_kd.data.examples import Example
from harness_kd.loss.fused import rows_per_chunk
from harness_kd.loss.states import decoder_start, padded, response_states
from harness_kd.placement import input_device
from harness_kd.progress import Progress
from harness_kd.soft_labels.cache import SoftLabelCache, writing
from harness_kd.soft_labels.labels import SoftLabels, pack
from harness_kd.soft_labels.manifest import Manifest

_DRAW_ROWS = 64
_BUFFER_ELEMENTS = 1 << 18
"""1 MiB of float32, which a core's cache holds."""
BATCH_TOKENS = 8192
"""Padded tokens of one teacher batch."""
Labeller = Callable[[Sequence[Example]], list[SoftLabels]]


def missing_examples(folder: Path, manifest: Manifest, examples: Sequence[Example]) -> list[Example]:
    """The examples without labels in the cache, each content once."""
    cache = SoftLabelCache(folder, manifest) if folder.exists() else None
    distinct = {example.key: example for example in examples}
    return [example for key, example in distinct.items() if cache is None or key not in cache]


def capture(
    load_teacher: Callable[[], PreTrainedModel],
    examples: Sequence[Example],
    folder: Path,
    manifest: Manifest,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> int:
    """Store the teacher's labels of all examples that the cache lacks; the teacher is loaded only if there
    are any.

    A killed capture loses at most the batch in flight, and the next call continues.

    Args:
        rank: This process's number among ``world_size`` that share the work; each writes files of its own.

    Returns:
        The number of examples captured now by this process.

    Raises:
        HarnessError: If the folder holds labels of another kind, or another process writes as the same rank.
    """

    def start() -> Labeller:
        teacher = load_teacher()
        teacher.train(False)
        device = input_device(teacher)
        return lambda batch: label_batch(teacher, batch, manifest, device)

    return store_missing(start, examples, folder, manifest, rank=rank, world_size=world_size)


def store_missing(
    start: Callable[[], Labeller],
    examples: Sequence[Example],
    folder: Path,
    manifest: Manifest,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> int:
    """`capture` by any engine: ``start`` is called once, and only if there is something to label."""
    if folder.exists():
        manifest.write_or_match(folder)
        if not missing_examples(folder, manifest, examples):
            return 0  # without the lock: runs that train from finished labels at the same time are in nobody's way
    with writing(folder, manifest, rank=rank) as writer:
        todo = sorted(
            missing_examples(folder, manifest, examples), key=lambda example: (len(example.ids), example.key)
        )
        # by content: a share must not depend on what the others have finished meanwhile
        todo = [example for example in todo if int.from_bytes(example.key[:8]) % world_size == rank]
        if not todo:
            return 0
        label = start()
        total = sum(example.targets for example in todo)
        with Progress("teacher's soft labels", total, unit="token", shown=rank == 0) as shown:
            for batch in length_buckets(todo):
                writer.append(
                    [(example.key, entry) for example, entry in zip(batch, label(batch), strict=True)]
                )
                shown.advance(sum(example.targets for example in batch))
    return len(todo)


def length_buckets(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Cut length-sorted examples into batches of at most `BATCH_TOKENS` padded tokens."""
    batch: list[Example] = []
    for example in examples:
        if batch and len(example.ids) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


@torch.inference_mode()
def label_batch(
    teacher: PreTrainedModel, batch: Sequence[Example], manifest: Manifest, device: torch.device
) -> list[SoftLabels]:
    """The teacher's labels of one batch; only response rows reach the output head, a chunk at a time.

    Raises:
        HarnessError: If the teacher's logits are no numbers.
    """
    inputs = {name: tensor.to(device) for name, tensor in padded(batch, decoder_start(teacher)).items()}
    hidden = response_states(teacher, inputs)
    head = teacher.get_output_embeddings()  # type: ignore[no-untyped-call]
    rows = rows_per_chunk(manifest.vocabulary_size)
    uniform = torch.from_numpy(np.concatenate([_uniform(example, manifest.tail_draws) for example in batch]))
    chunks = [
        label_rows(hidden[start : start + rows], head, manifest, uniform[start : start + rows])
        for start in range(0, len(hidden), rows)
    ]
    ids, log_probs, keep, log_tail, log_z = (
        np.concatenate([chunk[field].cpu().numpy() for chunk in chunks]) for field in range(5)
    )
    if not np.isfinite(log_z).all():
        raise HarnessError(
            f"the teacher gives logits that are no numbers for {(~np.isfinite(log_z)).sum()} of {len(log_z)} tokens of a batch",
            f"It ran in {manifest.teacher_dtype}: float16 overflows in models made for bfloat16. Try --teacher-dtype bfloat16 or "
            "float32; if that fails too, its weights are damaged.",
        )
    ends = np.cumsum([example.targets for example in batch])
    slices = [slice(end - example.targets, end) for example, end in zip(batch, ends, strict=True)]
    size, dtype = manifest.vocabulary_size, manifest.label_dtype
    return [
        pack(ids[s], log_probs[s], keep[s], log_tail[s], log_z[s], vocabulary_size=size, dtype=dtype)
        for s in slices
    ]


def _uniform(example: Example, draws: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers in [0, 1) for each response token and draw, from the example's content: capturing it again draws the same."""
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(example.key[:16])))
    return generator.random((example.targets, draws))


def label_rows(
    hidden: Tensor, head: nn.Module, manifest: Manifest, uniform: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Labels of some positions from their hidden states [N, D].

    Args:
        uniform: float64 [N, draws] in [0, 1); needed if the manifest has draws.

    Returns:
        ids int64 [N, K], log-probabilities float32 [N, K], keep bool [N, K], log tail mass float32 [N, G],
        log-normaliser float32 [N].
    """
    logits = head(hidden)[:, : manifest.vocabulary_size].float()
    values, ids = logits.topk(min(manifest.top_k, logits.shape[1]), -1)
    if manifest.tail_draws and uniform is not None:
        log_z = logits.logsumexp(-1, keepdim=True)
        log_probs = values - log_z
        keep = _kept(log_probs, manifest.max_tail)
        drawn, log_weights, first = _draw(logits, log_z, ids, keep, uniform.to(logits.device))
        log_tail = torch.full((len(logits), len(manifest.temperatures)), -torch.inf, device=logits.device)
        return (
            torch.cat([ids, drawn], 1),
            torch.cat([log_probs, log_weights], 1),
            torch.cat([keep, first], 1),
            log_tail,
            log_z.squeeze(1),
        )
    peak = values[:, :1]
    kept = values - peak
    # summing the tail itself, not 1 - kept mass, which cancels where the teacher is sure
    temperatures = torch.tensor(manifest.temperatures, dtype=torch.float32, device=logits.device)
    rest = _tail_masses(logits, peak, ids, (1.0, *manifest.temperatures))
    log_mass = (rest[:, :1] + kept.exp().sum(-1, keepdim=True)).log_()
    keep = _kept(kept - log_mass, manifest.max_tail)
    scaled = (kept[:, :, None] / temperatures).exp_()
    tail = rest[:, 1:] + scaled.masked_fill(keep[:, :, None], 0.0).sum(1)
    log_tail = tail.log() - (tail + scaled.masked_fill(~keep[:, :, None], 0.0).sum(1)).log_()
    return ids, kept - log_mass, keep, log_tail, (log_mass + peak).squeeze(1)


def _kept(log_probs: Tensor, max_tail: float) -> Tensor:
    """Which of the descending entries [N, K] are kept: those before whose end more than ``max_tail`` is left; bool [N, K]."""
    keep = torch.ones_like(log_probs, dtype=torch.bool)
    if max_tail > 0:
        keep[:, 1:] = log_probs.exp().cumsum(-1)[:, :-1] < 1 - max_tail
    return keep


def _tail_masses(logits: Tensor, peak: Tensor, ids: Tensor, temperatures: Sequence[float]) -> Tensor:
    """Sums over the vocabulary outside ``ids`` of exp((logit - peak) / T), float32 [N, G].

    On a CPU through a buffer that stays in its cache, and by squaring where one temperature is twice another: a softmax over
    fresh [N, V] for each would take longer than the output head.

    Args:
        logits: float32 [N, V].
        peak: float32 [N, 1].
        ids: int64 [N, K].
    """
    tokens, size = logits.shape
    rows = max(1, _BUFFER_ELEMENTS // size) if logits.device.type == "cpu" else tokens
    buffer, sums = logits.new_empty(min(rows, tokens), size), logits.new_empty(tokens, len(temperatures))
    order = sorted(range(len(temperatures)), key=lambda i: (frexp(temperatures[i])[0], -temperatures[i]))
    for start in range(0, tokens, rows):
        block = slice(start, min(start + rows, tokens))
        mass, at = buffer[: block.stop - start], 0.0
        for i in order:
            t = temperatures[i]
            if at and frexp(at)[0] == frexp(t)[0]:
                while at > t:
                    mass.square_()
                    at /= 2
            else:
                torch.sub(logits[block], peak[block], out=mass).mul_(1 / t).exp_().scatter_(
                    1, ids[block], 0.0
                )
                at = t
            torch.sum(mass, -1, out=sums[block, i])
    return sums


def _draw(
    logits: Tensor, log_z: Tensor, ids: Tensor, keep: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Stratified draws from the mass outside the kept entries.

    A token's expected weight is its probability, so the label's expectation is the whole distribution, and the gradient of the
    cross-entropy, linear in it, has no bias (Anshumann et al. 2025, arXiv 2503.16870). One draw from each of S equal strata of
    the mass has less variance than S independent ones.

    Returns:
        Token ids int64 [N, S], their log weights float32 [N, S], and bool [N, S], False for repeats of a token.
    """
    draws = uniform.shape[1]
    strata = (torch.arange(draws, device=logits.device) + uniform) / draws
    found, masses = [], []
    for start in range(
        0, len(logits), _DRAW_ROWS
    ):  # double precision: a sum over the vocabulary of small numbers
        rows = slice(start, start + _DRAW_ROWS)
        rest = (logits[rows] - log_z[rows]).double().exp()
        rest.scatter_(1, ids[rows], rest.gather(1, ids[rows]).masked_fill(keep[rows], 0.0))
        total = rest.cumsum(-1)
        mass = total[:, -1:]
        found.append(
            torch.searchsorted(total, strata[rows] * mass, right=True).clamp_max(logits.shape[1] - 1)
        )
        masses.append(mass)
    drawn, mass = torch.cat(found), torch.cat(masses)
    times = (drawn[:, :, None] == drawn[:, None, :]).sum(-1)
    first = torch.ones_like(drawn, dtype=torch.bool)
    first[:, 1:] = drawn[:, 1:] != drawn[:, :-1]  # strata ascend, so repeats are neighbours
    return drawn, (times / draws * mass).log().float(), first & (mass > 0)
