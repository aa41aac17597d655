"""Makes the embedded judge, the offline stand-in for HHEM, with fixed seeds: about twelve minutes on one shared core.

    python scripts/make_embedded_judge.py             # into build/embedded-judge
    python scripts/make_embedded_judge.py --install   # then copies it into the package

A cross-encoder for the news world alone: RoFormer (BERT with rotary positions), 192 wide, 4 layers, on the news world's whole-word
tokenizer. It is trained on pairs that the news world's oracle labels: well-formed summaries, half of them with exchanged,
mixed-up or left-out facts (`harness.judges.pairs`), and samples of the shipped teachers, so that it sees real models' mistakes.

A small model of random weights does not find out in minutes that it has to compare two texts (docs/log.md says what was
tried). What makes it learn is where it starts (`start_comparing`): in each layer but the last, one head finds the same word in
the other text, one looks at the word before and one at the word after. And each stated fact is judged on its own by a second
head on its last word, which is thrown away after training.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from make_newsworld_models import Muon, _schedule
from safetensors.torch import load_file
from tqdm import tqdm
from transformers import LlamaForCausalLM, RoFormerConfig, RoFormerForSequenceClassification

from harness.files import canonical_json, write_atomic
from harness.judges.finish import Batch, collate, finish, losses
from harness.judges.judge import Domain
from harness.judges.load import EMBEDDED
from harness.judges.pairs import LabelledPair, newsworld_pairs, oracle_pair
from harness.newsworld import FULL, Shape, models, prompt, rows
from harness.newsworld.tokenizer import build

WIDTH, HEADS, LAYERS = 192, 3, 4
LEAST_KNOWN = 0.9
"""The tokenizer knows all words of the news world, and 0.63 at most of any real text of the data sets that the tests read."""
SHORT = Shape(details=(0, 1), distractor=0.0, fillers=(0, 0))
BATCH = 32
SAMPLED_ARTICLES = 1024
SAMPLE_SHARE = 0.25
"""Share of model-written summaries in a batch, once articles are full."""


def main(argv: list[str] | None = None) -> int:
    """Makes the judge; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/embedded-judge"))
    parser.add_argument("--steps", type=int, default=1200, help="optimizer steps (fewer for tests)")
    parser.add_argument("--weights", type=Path, help="trained before: only calibrate, measure and write them")
    parser.add_argument("--install", action="store_true", help="copy the judge into the package")
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = judge_tokenizer()
    model = new_model(tokenizer)
    if arguments.weights:
        model.load_state_dict(load_file(arguments.weights))
    else:
        sampled = [pair for name in ("teacher", "teacher-clean") for pair in sample_pairs(name)]
        train(model, tokenizer, sampled, steps=arguments.steps)
    card = {
        "made_by": "scripts/make_embedded_judge.py",
        "what": "a stand-in for HHEM inside the news world; on any other text its scores mean nothing",
        "steps": arguments.steps,
        "batch": BATCH,
        "parameters": model.num_parameters(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }
    finish(
        model,
        tokenizer,
        dev=list(newsworld_pairs("judge-dev", 1000)),
        test=list(newsworld_pairs("judge-test", 1000)),
        output=arguments.output,
        method="temperature",
        card=card,
        title="embedded judge (news world)",
        domain=Domain(name="the news world", least_known=LEAST_KNOWN),
    )
    write_atomic(arguments.output / "provenance.json", canonical_json(card) + "\n")
    print(f"made in {time.monotonic() - start:.0f} s: {arguments.output}")
    if arguments.install:
        shutil.copytree(arguments.output, EMBEDDED, dirs_exist_ok=True)
    return 0


def judge_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """The news world's words; a pair reads ``<s> article </s> summary </s>``."""
    from tokenizers import processors

    tokenizer = build()
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s>:0 $A:0 </s>:0 $B:1 </s>:1",
        special_tokens=[("<s>", start), ("</s>", end)],
    )
    tokenizer.padding_side = "right"
    tokenizer.sep_token, tokenizer.cls_token = "</s>", "<s>"
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # else it is not saved
    return tokenizer


def new_model(tokenizer: transformers.PreTrainedTokenizerFast) -> RoFormerForSequenceClassification:
    """The untrained model, set up to compare."""
    config = RoFormerConfig(
        vocab_size=len(tokenizer),
        embedding_size=WIDTH,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        type_vocab_size=2,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
        id2label={0: "consistent"},
        label2id={"consistent": 0},
    )
    model = RoFormerForSequenceClassification(config)
    start_comparing(model)
    return model


@torch.no_grad()
def start_comparing(model: RoFormerForSequenceClassification) -> None:
    """Sets queries and keys so that heads attend to the same word of the other text, the word before, the word after.

    Rotary positions turn the first dimensions of a head quickly with distance and the last ones hardly at all. So a match of
    content, which must hold at any distance, is put into the last ones, and a fixed offset into the first ones.
    """
    embeddings = model.roformer.embeddings
    embeddings.word_embeddings.weight.normal_(0, 1)
    embeddings.word_embeddings.weight[model.config.pad_token_id] = 0
    side = torch.nn.functional.normalize(torch.randn(WIDTH), dim=0)
    embeddings.token_type_embeddings.weight.copy_(torch.stack([4 * side, -4 * side]))
    size = WIDTH // HEADS
    speeds = 10_000 ** (-torch.arange(0, size, 2) / size)
    for layer in model.roformer.encoder.layer[
        :-1
    ]:  # the last one starts by averaging, which a verdict on all facts needs
        query, key = layer.attention.self.query, layer.attention.self.key
        same = 3 * torch.randn(size, WIDTH) / WIDTH**0.5
        same[: size // 2 + 4] = 0
        query.weight[:size], key.weight[:size] = same, same
        query.weight[size - 2], key.weight[size - 2] = 2.2 * side, -2.2 * side
        for head, offset in ((1, -1), (2, 1)):
            dims = slice(head * size, (head + 1) * size)
            ahead = torch.zeros(size)
            ahead[0:20:2] = 1.6
            cos, sin = torch.cos(speeds * offset), torch.sin(speeds * offset)
            turned = torch.zeros(size)
            turned[0::2], turned[1::2] = ahead[0::2] * cos, ahead[0::2] * sin
            query.bias[dims], key.bias[dims] = 1.6 * turned, 1.6 * ahead


def sample_pairs(name: str) -> list[LabelledPair]:
    """Summaries that a shipped model samples at temperature 1, labelled by the oracle."""
    model = LlamaForCausalLM.from_pretrained(models.path(name)).eval()
    tokenizer = build()
    articles = [row["article"] for row in rows(f"judge-samples-{name}", SAMPLED_ARTICLES)]
    pairs = []
    for start in tqdm(range(0, len(articles), 64), desc=f"samples of {name}", mininterval=5):
        batch = articles[start : start + 64]
        inputs = tokenizer([prompt(article) for article in batch], return_tensors="pt", padding=True)
        with torch.inference_mode():
            found = model.generate(
                input_ids=inputs.input_ids,
                attention_mask=inputs.attention_mask,
                max_new_tokens=40,
                do_sample=True,
                temperature=1.0,
                top_k=0,
            )
        texts = tokenizer.batch_decode(found[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        pairs += [
            oracle_pair(article, text.strip())
            for article, text in zip(batch, texts, strict=True)
            if text.strip()
        ]
    return pairs


def train(
    model: RoFormerForSequenceClassification,
    tokenizer: transformers.PreTrainedTokenizerFast,
    sampled: list[LabelledPair],
    *,
    steps: int,
) -> None:
    """Trains in place; every batch is of new pairs, short articles first."""
    span_head = torch.nn.Linear(WIDTH, 1)
    matrices = [
        p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "out_proj" not in n
    ]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen] + list(span_head.parameters())
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=0.01),
        torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    model.train()
    shown = 0.69
    batches = _batches(sampled, steps)
    for step in (bar := tqdm(range(steps), desc="embedded judge", mininterval=5)):
        for optimizer, lrs in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = peak * _schedule(step, steps)
        batch: Batch = collate(tokenizer, next(batches), max_length=256)
        whole, spans = losses(model, span_head, batch)
        (whole + spans).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        shown = 0.98 * shown + 0.02 * whole.item()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{shown:.3f}", spans=f"{spans.item():.3f}")


def _batches(sampled: list[LabelledPair], steps: int, pool: int = 8) -> Iterator[list[LabelledPair]]:
    """Batches of pairs of similar length, in random order."""
    rng = random.Random("order")
    models_say = itertools.cycle(rng.sample(sampled, len(sampled)))
    short = steps // 10
    streams = [
        newsworld_pairs(split, 10**9, per_article=2, shape=shape)
        for split, shape in (("judge-train-short", SHORT), ("judge-train", FULL))
    ]
    for start in range(0, steps, pool):
        full = start >= short
        n_sampled = int(SAMPLE_SHARE * BATCH * pool) if full else 0
        pairs = list(itertools.islice(streams[full], BATCH * pool - n_sampled))
        pairs += itertools.islice(models_say, n_sampled)
        pairs.sort(key=lambda pair: len(pair.source) + len(pair.summary))
        batches = [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]
        rng.shuffle(batches)
        yield from batches


if __name__ == "__main__":
    sys.exit(main())
