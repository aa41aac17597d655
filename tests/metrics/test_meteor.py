"""METEOR against nltk, with Open English WordNet's synonyms, and its published values."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.tokenize import wordpunct_tokenize
from nltk.translate.meteor_score import meteor_score

from harness.errors import HarnessError
from harness.files import read_jsonl
from harness.metrics import Sample
from harness.metrics.meteor import Meteor, wordnet_synonyms
from harness.metrics.registry import build


class OpenEnglishWordNet:
    """What nltk's METEOR asks of WordNet, over the synset and irregular-form tables in ../shared/data/oewn_synonyms."""

    def __init__(self, folder: Path) -> None:
        self._synsets: defaultdict[tuple[str, str], list[list[str]]] = defaultdict(list)
        self._irregular: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for _, pos, members in self._rows(folder / "oewn_synsets.tsv.gz"):
            names = members.split("|")
            for name in names:
                self._synsets[name.lower(), pos].append(names)
        for lemma, pos, forms in self._rows(folder / "oewn_irregular_forms.tsv.gz"):
            for form in forms.split("|"):
                self._irregular[form, pos].append(lemma)

    @staticmethod
    def _rows(path: Path) -> list[list[str]]:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [line.rstrip("\n").split("\t") for line in file]

    def _lemmas(self, form: str, pos: str) -> list[str]:
        """WordNet's morphy: the irregular forms, else the form and what its endings leave."""
        if found := self._irregular.get((form, pos)):
            candidates = [form, *found]
        else:
            endings = WordNetCorpusReader.MORPHOLOGICAL_SUBSTITUTIONS[pos]
            candidates = [form, *(form[: -len(old)] + new for old, new in endings if form.endswith(old))]
        return [c for c in dict.fromkeys(candidates) if (c, pos) in self._synsets]

    def synsets(self, word: str) -> list[Any]:
        found = []
        for pos in "nvars":
            for lemma in self._lemmas(word.lower(), "a" if pos == "s" else pos):
                for names in self._synsets[lemma, pos]:
                    lemmas = [
                        SimpleNamespace(name=lambda name=name: name.replace(" ", "_")) for name in names
                    ]
                    found.append(SimpleNamespace(lemmas=lambda lemmas=lemmas: lemmas))
        return found


@pytest.fixture(scope="module")
def wordnet(shared_data: Path) -> OpenEnglishWordNet:
    return OpenEnglishWordNet(shared_data / "oewn_synonyms")


@pytest.fixture(scope="module")
def synonyms(wordnet: OpenEnglishWordNet) -> Callable[[str], frozenset[str]]:
    return lambda word: frozenset(
        lemma.name()
        for synset in wordnet.synsets(word)
        for lemma in synset.lemmas()
        if "_" not in lemma.name()
    )


def test_published_values(shared_data: Path, synonyms: Callable[[str], frozenset[str]]) -> None:
    """Source: nltk/translate/meteor_score.py and nltk/test/meteor.doctest: 0.6944, 0.5, 0.9654, 0.7806, 0, 0."""
    cases = json.loads((shared_data / "metric_vectors/vectors.json").read_text("utf-8"))["meteor_nltk"][
        "cases"
    ]
    metric = Meteor(synonyms, source="oewn")
    assert len(cases) == 7
    for case in cases:
        sample = Sample(source="", references=tuple(case["references"]), response=case["hypothesis"])
        assert metric.score([sample])[0]["meteor"] == pytest.approx(case["score"], abs=5e-5)


def test_equals_nltk(
    shared_data: Path, wordnet: OpenEnglishWordNet, synonyms: Callable[[str], frozenset[str]]
) -> None:
    references = {row["doc_id"]: row["reference"] for row in read_jsonl(shared_data / "realsumm/docs.jsonl")}
    rows = read_jsonl(shared_data / "realsumm/outputs.jsonl")[::10]
    empty = SimpleNamespace(synsets=lambda word: [])
    for metric, theirs in ((Meteor(synonyms), wordnet), (Meteor(None), empty)):
        for row in rows:
            response, reference = row["summary"], references[row["doc_id"]]
            tokens = [wordpunct_tokenize(reference)], wordpunct_tokenize(response)
            assert metric.pair(response, reference) == pytest.approx(
                meteor_score(*tokens, wordnet=theirs), rel=1e-12
            )


def test_without_synonyms_the_score_has_another_name_and_is_lower(
    synonyms: Callable[[str], frozenset[str]],
) -> None:
    sample = Sample(
        source="", references=("the physician bought a car",), response="the doctor purchased an automobile"
    )
    with_synonyms, without = (Meteor(s).score([sample])[0] for s in (synonyms, None))
    assert with_synonyms["meteor"] > 2 * without["meteor_nosyn"]


def test_missing_wordnet_is_an_error_that_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(HarnessError) as caught:
        build(["meteor"], {"wordnet": "wordnet31"})
    assert "wordnet31" in caught.value.problem
    for way_out in ("python -m nltk.downloader wordnet wordnet31", "wordnet=FOLDER", "meteor_nosyn"):
        assert way_out in caught.value.remedy


def test_a_folder_that_is_no_wordnet_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.noun").touch()
    with pytest.raises(HarnessError, match=r"no index\.noun"):
        wordnet_synonyms(str(tmp_path))


def write_tiny_wordnet(folder: Path) -> None:
    """One noun synset, {car, auto, motor_car}, in WordNet's database format (wndb(5WN))."""
    line = "{:08d} 06 n 03 car 0 auto 0 motor_car 0 000 | a motor vehicle  \n"
    (folder / "data.noun").write_text(line.format(0))
    index = "".join(f"{word} n 1 0 1 0 00000000  \n" for word in ("auto", "car", "motor_car"))
    (folder / "index.noun").write_text(index)
    (folder / "noun.exc").write_text("autoes auto\n")
    (folder / "lexnames").write_text("".join(f"{i:02d}\tnoun.{i}\t1\n" for i in range(7)))
    for pos in ("verb", "adj", "adv"):
        for name in (f"data.{pos}", f"index.{pos}", f"{pos}.exc"):
            (folder / name).touch()


def test_a_local_wordnet_folder_is_read(tmp_path: Path) -> None:
    write_tiny_wordnet(tmp_path)
    (metric,) = build(["meteor"], {"wordnet": str(tmp_path)})
    sample = Sample(source="", references=("his auto stopped",), response="his cars stopped")
    same = Sample(source="", references=("his auto stopped",), response="his auto stopped")
    synonym, equal = metric.score([sample, same])
    assert synonym == equal  # car and auto are matched as well as auto and auto
    assert str(tmp_path) not in metric.signature("meteor")
    assert tmp_path.name in metric.signature("meteor")
