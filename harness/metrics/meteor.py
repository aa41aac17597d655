"""METEOR (Lavie and Agarwal, 2007), equal to nltk's, with WordNet synonyms or, under another name, without.

Words are aligned in three stages, each on what the one before left over: the same word, the same Porter stem, a WordNet
synonym (of the stem, as in nltk). The score is the weighted harmonic mean of precision and recall, lowered by the
fragmentation of the alignment. nltk looks every word up again for every pair; here stems and synonyms are kept, so a corpus
costs little more than its vocabulary.

Source: nltk 3.10.4, nltk/translate/meteor_score.py; tokens by `nltk.tokenize.wordpunct_tokenize`, which needs no download
(nltk leaves tokens to the caller). WordNet is never optional for the name `meteor`: without it scores are lower, and
nothing would show why.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.metrics import signatures
from harness.metrics.base import Family, Metric, Options, Sample, Score

SCORES = {
    "meteor": Score(
        title="words, stems and synonyms shared with the reference, in order", kind="overlap", leading=True
    ),
}
SCORES_WITHOUT_SYNONYMS = {
    "meteor_nosyn": Score(title="words and stems shared with the reference, in order", kind="overlap"),
}
OPTIONS: Options = {"wordnet": "wordnet"}

_ALPHA, _BETA, _GAMMA = 0.9, 3.0, 0.5
_FORM = (
    f"{{key}}|alpha:{_ALPHA}|beta:{_BETA:g}|gamma:{_GAMMA}|case:lower|tok:wordpunct|stem:porter|syn:{{syn}}"
    "|refs:best|version:1"
)
_TOKEN = re.compile(r"\w+|[^\w\s]+")  # nltk's wordpunct_tokenize
_WORDNET_FILES = ("data.noun", "index.noun", "noun.exc", "lexnames")

Synonyms = Callable[[str], frozenset[str]]


class Meteor(Metric):
    """METEOR in 0..1; with several references the best one counts.

    Args:
        synonyms: Single-word synonyms of a lower-case word; None leaves the third stage out and names the score ``meteor_nosyn``.
        source: What the synonyms come from, for the signature.
    """

    def __init__(self, synonyms: Synonyms | None, *, source: str = "none") -> None:
        self.scores = SCORES if synonyms else SCORES_WITHOUT_SYNONYMS
        (self._name,) = self.scores
        self._synonyms = lru_cache(maxsize=100_000)(synonyms) if synonyms else None
        self._stem = lru_cache(maxsize=100_000)(_porter_stem)
        self._source = source

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`."""
        return [
            {self._name: max(self.pair(sample.response, reference) for reference in sample.references)}
            for sample in samples
        ]

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        return _FORM.format(key=key, syn=self._source)

    def pair(self, response: str, reference: str) -> float:
        """METEOR of one response against one reference."""
        return self.tokens(_TOKEN.findall(response.lower()), _TOKEN.findall(reference.lower()))

    def tokens(self, response: Sequence[str], reference: Sequence[str]) -> float:
        """METEOR of lower-case tokens."""
        matches = self._align(response, reference)
        if not matches:
            return 0.0
        precision, recall = len(matches) / len(response), len(matches) / len(reference)
        mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
        fragmentation: float = (_chunks(matches) / len(matches)) ** _BETA
        return mean * (1 - _GAMMA * fragmentation)

    def _align(self, response: Sequence[str], reference: Sequence[str]) -> list[tuple[int, int]]:
        """(response position, reference position) of each aligned pair, by response position."""
        ours, theirs = dict(enumerate(response)), dict(enumerate(reference))
        matches = _match(ours, theirs, lambda word: (word,))
        ours, theirs = ({i: self._stem(word) for i, word in words.items()} for words in (ours, theirs))
        matches += _match(ours, theirs, lambda word: (word,))
        if self._synonyms:
            find = self._synonyms
            matches += _match(ours, theirs, lambda word: find(word) | {word})
        return sorted(matches)


def _match(
    ours: dict[int, str], theirs: dict[int, str], equals: Callable[[str], Sequence[str] | frozenset[str]]
) -> list[tuple[int, int]]:
    """Align from the end: each of our words with the last free word of theirs that equals it; both are taken out."""
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for j, word in theirs.items():
        positions[word].append(j)
    matches = []
    for i in reversed(list(ours)):
        free = [positions[word] for word in equals(ours[i]) if positions.get(word)]
        if free:
            j = max(free, key=lambda stack: stack[-1]).pop()
            matches.append((i, j))
            del ours[i], theirs[j]
    return matches


def _chunks(matches: Sequence[tuple[int, int]]) -> int:
    """Runs of matches that are adjacent in both texts."""
    steps = pairwise(matches)
    return 1 + sum((i + 1, j + 1) != following for (i, j), following in steps)


def _porter_stem(word: str) -> str:
    return str(_porter().stem(word))


@lru_cache(maxsize=1)
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def wordnet_synonyms(place: str) -> tuple[Synonyms, str]:
    """Synonyms from WordNet.

    Args:
        place: Name of an nltk corpus (``wordnet``, ``wordnet31``, ``wordnet2022``: Open English WordNet), or a folder in WordNet's
            own format (``data.noun``, ...), such as a release of Open English WordNet.

    Returns:
        The look-up, and the name and version for the signature.

    Raises:
        HarnessError: If there is no WordNet at that place.
    """
    reader = _reader(place)

    def synonyms(word: str) -> frozenset[str]:
        names = (lemma.name() for synset in reader.synsets(word) for lemma in synset.lemmas())
        return frozenset(name for name in names if "_" not in name)

    name = Path(place).name if Path(place).expanduser().is_dir() else place
    return synonyms, f"{name}-{reader.get_version() or 'unknown'}"


def _reader(place: str) -> Any:
    import nltk

    folder = Path(place).expanduser()
    corpora = " ".join(dict.fromkeys(["wordnet", place] if folder.name == place else ["wordnet"]))
    remedy = (
        f"Run `python -m nltk.downloader {corpora}`, or name a local copy with --metadata wordnet=FOLDER (its files: "
        "data.noun, ...), or use the metric meteor_nosyn, which has no synonyms."
    )
    if folder.is_dir():
        missing = [name for name in _WORDNET_FILES if not (folder / name).is_file()]
        if missing:
            raise HarnessError(
                f"METEOR: {folder} is no WordNet folder: it has no {', '.join(missing)}", remedy
            )
        return _read_folder(folder.resolve())
    try:
        reader = getattr(nltk.corpus, place)
        reader.ensure_loaded()
    except (LookupError, AttributeError) as error:
        raise HarnessError(f"METEOR needs WordNet, and {place!r} is not on this machine", remedy) from error
    return reader


def _read_folder(folder: Path) -> Any:
    import nltk
    from nltk.corpus.reader import WordNetCorpusReader

    class LocalWordNet(WordNetCorpusReader):  # type: ignore[misc]
        def map_wn(self, version: str = "wordnet") -> None:
            """No map to WordNet 3.0's synsets: it serves other languages, and needs WordNet 3.0 installed."""

    nltk.data.path.append(str(folder))  # nltk reads only from folders that stand there
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The multilingual functions")
        return LocalWordNet(nltk.data.FileSystemPathPointer(str(folder)), None)


def from_options(options: Options) -> Meteor:
    """Build from task metadata; see `OPTIONS`."""
    synonyms, source = wordnet_synonyms(str(options["wordnet"]))
    return Meteor(synonyms, source=source)


def contradiction(key: str, signature: str, options: Options) -> str | None:
    """See `harness.metrics.base.Family`: all is known but WordNet's version."""
    form = _FORM.replace("{key}", key)
    stated = signatures.read(form, signature)
    if stated is None:
        return f"is not of the form {form}"
    wordnet = signatures.last_part(str(options["wordnet"]))
    known = signatures.last_part(stated["syn"]).startswith(f"{wordnet}-")
    return signatures.differing(stated, {"syn": None if known else wordnet})


FAMILY = Family(scores=SCORES, from_options=from_options, options=OPTIONS, contradiction=contradiction)
