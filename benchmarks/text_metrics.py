"""Time and memory of all text metrics, beside the ways they are computed elsewhere.

Ours is one call of the suite behind the tasks: ROUGE-1, -2, -L, -Lsum, chrF2, chrF++, METEOR, BERTScore, length, coverage,
density. Beside it, on the same texts, with the same encoder and layer, in this process, one after the other in each round:

    lm-eval    lm-eval's own task cnn_dailymail_abisee, its `process_results` per document: ROUGE-1, -2, -L and BERTScore
    evaluate   Hugging Face evaluate, its metrics rouge, chrf and bertscore over all documents at once (--evaluate FOLDER: the
               folder `metrics` of a checkout of huggingface/evaluate; left out without it)
    plain      a loop over documents with rouge_score, sacrebleu and nltk, and one call of bert_score.BERTScorer

No other computes coverage and density, and ours has them in its time. METEOR is without synonyms on both sides, so that no
WordNet is needed. The texts are REALSumm's system summaries of CNN/DailyMail articles.

    python benchmarks/text_metrics.py PATH_OF_REALSUMM [--documents 100] [--rounds 3] [--batch-tokens N] [--evaluate FOLDER]
    python benchmarks/text_metrics.py PATH_OF_REALSUMM --memory

`--memory` prints the peak memory of a process that scores 2,000 and one that scores 11,490 summaries (CNN/DailyMail's test set).
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from harness.files import read_jsonl
from harness.metrics import Sample, Suite
from harness.metrics.bertscore import LAYERS
from harness.metrics.encoders import MINILM, Encoder
from harness.metrics.registry import build

FAMILIES = ("rouge", "chrf", "meteor_nosyn", "bertscore", "surface")
LAYER = LAYERS[MINILM]
CNNDM_TEST = 11_490


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="of our encoder batches")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--memory-of", type=int, metavar="N", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of is not None:
        print(_peak_memory(arguments.folder, arguments.memory_of))
    elif arguments.memory:
        compare_memory(arguments.folder)
    else:
        compare_time(arguments)


def compare_time(arguments: argparse.Namespace) -> None:
    """Median over rounds, and the median of each round's ratio to ours."""
    samples = system_summaries(arguments.folder, arguments.documents)
    encoder = Encoder(MINILM, layer=LAYER).folder
    contenders: dict[str, Callable[[list[Sample]], dict[str, list[float]]]] = {
        "ours": partial(ours, batch_tokens=arguments.batch_tokens),
        "lm-eval": partial(lm_eval_per_document, encoder=encoder),
        "plain": partial(plain_loop, encoder=encoder),
    }
    if arguments.evaluate:
        contenders["evaluate"] = partial(hf_evaluate, encoder=encoder, metrics=arguments.evaluate.resolve())
    disable_progress_bar()
    for contender in contenders.values():  # imports and the first reading of files are nobody's time
        contender(samples[:2])
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, dict[str, list[float]]] = {}
    for _ in tqdm(range(arguments.rounds), desc="rounds"):
        for name, contender in contenders.items():
            started = time.perf_counter()
            found[name] = contender(samples)
            seconds[name].append(time.perf_counter() - started)
    print(
        f"{len(samples)} summaries, {len({s.references for s in samples})} references, {arguments.rounds} rounds, "
        f"encoder {MINILM} layer {LAYER}, {torch.get_num_threads()} threads\n\n"
        "| | scores per summary | seconds | times ours | largest difference to ours |\n|---|---|---|---|---|"
    )
    for name, values in seconds.items():
        ratio = median(theirs / our for theirs, our in zip(values, seconds["ours"], strict=True))
        shared = found[name].keys() & found["ours"].keys()
        apart = max(
            abs(a - b) for key in shared for a, b in zip(found[name][key], found["ours"][key], strict=True)
        )
        print(f"| {name} | {len(found[name])} | {median(values):.1f} | {ratio:.1f} | {apart:.1e} |")


def compare_memory(folder: Path) -> None:
    """Peak memory of fresh processes."""
    print("| summaries | peak memory, MiB |\n|---|---|")
    for n in (0, 2_000, CNNDM_TEST):
        command = [sys.executable, __file__, str(folder), "--memory-of", str(n)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"| {n:,} | {int(run.stdout):,} |", flush=True)


def _peak_memory(folder: Path, n: int) -> int:
    """MiB, after scoring n distinct summaries of whole articles; 0 is what the libraries and the encoder need."""
    samples = mixed_summaries(folder, n) if n else system_summaries(folder, 2)
    scores = Suite(build(FAMILIES, {"bertscore_model": MINILM})).score(samples)
    if not all(len(sample) > 10 for sample in scores):
        raise SystemExit("some sample was not scored")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def ours(samples: list[Sample], batch_tokens: int | None) -> dict[str, list[float]]:
    """The suite of the tasks; it is built anew, as each contender's encoder is loaded in its time."""
    options = {
        "bertscore_model": MINILM,
        "bertscore_batch_tokens": batch_tokens,
        "rouge_keys": ["rouge1", "rouge2", "rougeL", "rougeLsum"],
        "rouge_stemmer": True,
    }
    scores = Suite(build(FAMILIES, options)).score(samples)
    return {key: [sample[key] for sample in scores] for key in scores[0]}


def lm_eval_per_document(samples: list[Sample], encoder: Path) -> dict[str, list[float]]:
    """lm-eval's own code, given our encoder in place of its distilbert-base-uncased."""
    from lm_eval.tasks.cnn_dailymail import utils

    theirs = utils.bert_score

    def with_our_encoder(predictions: list[str], references: list[str], **_: Any) -> Any:
        return theirs(predictions, references, model_type=str(encoder), num_layers=LAYER)

    utils.bert_score = with_our_encoder
    try:
        scores = [
            utils.process_results({"highlights": sample.references[0]}, [sample.response])
            for sample in samples
        ]
    finally:
        utils.bert_score = theirs
    names = {"bertscore_precision": "bertscore_p", "bertscore_recall": "bertscore_r"}
    # its summary_length is no score of a text pair, and its ROUGE-L is of normalised text
    return {
        names.get(key, key): [sample[key] for sample in scores]
        for key in scores[0]
        if key != "summary_length"
    }


def plain_loop(samples: list[Sample], encoder: Path) -> dict[str, list[float]]:
    """What one would write with the packages of the field, batched where they batch."""
    from bert_score import BERTScorer
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import single_meteor_score
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    class NoWordNet:
        @staticmethod
        def synsets(_word: str) -> list[Any]:
            return []

    rouge = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    chrf, chrf_words = CHRF(), CHRF(word_order=2)
    found: dict[str, list[float]] = {}

    def add(key: str, value: float) -> None:
        found.setdefault(key, []).append(value)

    for sample in samples:
        response, reference = sample.response, sample.references[0]
        for key, score in rouge.score(reference, response).items():
            if key != "rougeLsum":  # it takes one line for one sentence, ours splits sentences
                add(key, score.fmeasure)
        add("chrf", chrf.sentence_score(response, [reference]).score)
        add("chrf++", chrf_words.sentence_score(response, [reference]).score)
        tokens = wordpunct_tokenize(reference), wordpunct_tokenize(response)
        add("meteor_nosyn", single_meteor_score(*tokens, wordnet=NoWordNet()))
    scorer = BERTScorer(model_type=str(encoder), num_layers=LAYER)
    values = scorer.score([s.response for s in samples], [s.references[0] for s in samples])
    found |= {
        key: column.tolist()
        for key, column in zip(("bertscore_p", "bertscore_r", "bertscore_f1"), values, strict=True)
    }
    return found


def hf_evaluate(samples: list[Sample], encoder: Path, metrics: Path) -> dict[str, list[float]]:
    """Hugging Face evaluate over all documents; its METEOR downloads two corpora and is left out."""
    import evaluate

    texts = {
        "predictions": [sample.response for sample in samples],
        "references": [sample.references[0] for sample in samples],
    }
    rouge = evaluate.load(str(metrics / "rouge")).compute(**texts, use_aggregator=False, use_stemmer=True)
    evaluate.load(str(metrics / "chrf")).compute(
        predictions=texts["predictions"], references=[[text] for text in texts["references"]]
    )  # of the corpus alone
    bert = evaluate.load(str(metrics / "bertscore")).compute(
        **texts, model_type=str(encoder), num_layers=LAYER
    )
    names = {"precision": "bertscore_p", "recall": "bertscore_r", "f1": "bertscore_f1"}
    return {key: list(rouge[key]) for key in ("rouge1", "rouge2", "rougeL")} | {
        ours: bert[theirs] for theirs, ours in names.items()
    }


def system_summaries(folder: Path, n: int) -> list[Sample]:
    """System summaries of as many articles as there are, so that up to 100 no reference is encoded once for two."""
    documents = {row["doc_id"]: row for row in read_jsonl(folder / "docs.jsonl")}
    by_document = defaultdict(list)
    for row in read_jsonl(folder / "outputs.jsonl"):
        by_document[row["doc_id"]].append(row)
    rng = random.Random(0)
    for rows_of_one in by_document.values():
        rng.shuffle(rows_of_one)
    rows = [row for one_each in zip(*by_document.values(), strict=True) for row in one_each]
    return [
        Sample(
            source=_plain(documents[row["doc_id"]]["source"]),
            references=(_plain(documents[row["doc_id"]]["reference"]),),
            response=_plain(row["summary"]),
        )
        for row in rows[:n]
    ]


def mixed_summaries(folder: Path, n: int) -> list[Sample]:
    """Samples of which no two are alike: sentences of real articles and summaries in a new order."""
    rng = random.Random(0)
    real = system_summaries(folder, 2_500)

    def mix(text: str) -> str:
        sentences = re.split(r"(?<=[.!?]) ", text)
        rng.shuffle(sentences)
        return f"{' '.join(sentences)} {rng.random()}"

    return [
        Sample(source=mix(s.source), references=(mix(s.references[0]),), response=mix(s.response))
        for s in (real[i % len(real)] for i in range(n))
    ]


def _plain(text: str) -> str:
    return " ".join(re.sub(r"</?t>", " ", text).split())


if __name__ == "__main__":
    main()
