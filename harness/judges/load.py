"""From a name to a judge that has passed its self-test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import sha256_bytes, sha256_file
from harness.judges import hhem21, self_test
from harness.judges.calibration import Calibration
from harness.judges.cross_encoder import CrossEncoder
from harness.judges.judge import UNPROVEN, Backbone, Domain, Identity, Judge, Pair
from harness.models import hub
from harness.models.device import choose_device, choose_dtype
from harness.models.hashes import file_sha256
from harness.models.weights import SINGLE, local_weights
from harness.stats.held_out import HeldOut

EMBEDDED = Path(__file__).parent / "embedded"
JUDGE_FILE = "judge.json"
"""What `harness judge fit` writes beside the weights: calibration, how good it is, and pairs with the scores they must get."""

HHEM10_REPO = hhem21.REPO
HHEM10_REVISION = "31b1a78c"
"""How the commit begins; only so much of it is known here, and another is refused."""
HHEM10_BRANCH = "refs/pr/2"
"""Where that commit is: the publisher's own branch, hhem-1.0-open, has pickled weights alone; this pull request has safetensors."""
HHEM10_MAX_LENGTH = 512

_CROSS_ENCODER_FILES = ("config.json", SINGLE)
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json",
                    "spm.model", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model")  # fmt: skip

Stored = Sequence[tuple[Pair, float]]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A judge's model and what is known of it, before it is placed on a device."""

    backbone: Backbone
    identity: Identity
    calibration: Calibration = field(default_factory=Calibration)
    stored: Stored = ()
    held_out: HeldOut | None = None
    domain: Domain | None = None


def load(
    name: str = "hhem-2.1",
    *,
    device: str | None = None,
    dtype: str = "float32",
    batch_tokens: int = 0,
    test: bool = True,
    unproven: bool = False,
) -> Judge:
    """Load a judge, checked and tested.

    Args:
        name: ``hhem-2.1``, ``hhem-1.0``, ``embedded``, a folder, or ``owner/model`` or ``owner/model@revision`` of any
            sentence-transformers CrossEncoder on the hub.
        device: Torch device; None takes the accelerator where there is one.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        batch_tokens: Padded tokens of a batch; 0 takes what suits the device.
        test: Run the self-test, unless this judge has passed it here before.
        unproven: Take it also where nothing shows that its scores mean anything: if on held-out documents it was no better than
            chance, and on texts that it was not made for.

    Raises:
        HarnessError: If it cannot be had, is no judge, learned nothing, or fails its self-test.
    """
    choose_dtype(dtype, option="judge_dtype")
    place = choose_device(device, option="judge_device")
    found = _find(name)
    judge = Judge(
        identity=found.identity,
        backbone=found.backbone,
        calibration=found.calibration,
        device=place,
        dtype=dtype,
        batch_tokens=batch_tokens,
        held_out=found.held_out,
        domain=found.domain,
        unproven=unproven,
    )
    if found.held_out and not found.held_out.beats_chance and not unproven:
        raise HarnessError(
            f"the judge {found.identity.name} learned nothing that shows: {found.held_out}, where chance is 0.5",
            f"Fit it on more pairs or from another base, or choose another judge; to insist: {UNPROVEN}.",
        )
    if test:
        self_test.ensure(judge, found.stored)
    return judge


def checks(
    name: str, *, device: str | None = None, dtype: str = "float32"
) -> tuple[Judge, list[self_test.Check]]:
    """A judge and the results of its self-test, run now; errors as in `load`, except that a failed check is no error."""
    judge = load(name, device=device, dtype=dtype, test=False, unproven=True)
    return judge, [*self_test.run(judge, _find(name).stored), *self_test.held_out(judge)]


def _find(name: str) -> _Found:
    if name == "hhem-2.1":
        return _hhem21_from_hub()
    if name == "hhem-1.0":
        folder = _repository(HHEM10_REPO, HHEM10_BRANCH)
        if not folder.name.startswith(HHEM10_REVISION):
            raise HarnessError(
                f"{HHEM10_REPO}@{HHEM10_BRANCH} is {folder.name[:12]} now, not {HHEM10_REVISION}",
                "Choose hhem-2.1, or a folder with HHEM-1.0-open in safetensors.",
            )
        return _cross_encoder(
            folder, name, HHEM10_REVISION, max_length=HHEM10_MAX_LENGTH, stored=self_test.HHEM10_CARD
        )
    if name == "embedded":
        return _cross_encoder(EMBEDDED, name, "shipped")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _from_folder(folder)
    repo, _, revision = name.partition("@")
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise HarnessError(
            f"no judge is called {name!r}, and there is no such folder",
            "Choose hhem-2.1, hhem-1.0, embedded, a folder, or a hub name (owner/model, owner/model@revision).",
        )
    folder = _repository(repo, revision or None)
    return _cross_encoder(folder, repo, folder.name)


def _hhem21_from_hub() -> _Found:
    weights = _fetch(hhem21.REPO, SINGLE, hhem21.REVISION)
    files = _foundation()
    identity = _identity("hhem-2.1", hhem21.REVISION, weights, [weights, *files])
    backbone = hhem21.Hhem21(weights, files[0].parent)
    return _Found(backbone=backbone, identity=identity, stored=self_test.HHEM21_CARD)


def _from_folder(folder: Path) -> _Found:
    name = folder.resolve().name
    if not hhem21.is_hhem21(folder):
        return _cross_encoder(folder, name, "local")
    hhem21.check_prompt(folder)
    weights = local_weights(folder)
    foundation = folder / "foundation"
    if not foundation.is_dir():
        foundation = _foundation()[0].parent
    files = [weights, *(foundation / file for file in hhem21.FOUNDATION_FILES)]
    absent = [str(file) for file in files if not file.is_file()]
    HarnessError.raise_for(
        [f"{file} is missing" for file in absent], f"Copy the files of {hhem21.FOUNDATION} there."
    )
    extra = _read_judge_file(folder)
    # a folder may hold another size of the architecture: what tells the published judge is its stored scores
    backbone = hhem21.Hhem21(weights, foundation, parameters=None)
    return _Found(backbone=backbone, identity=_identity(name, "local", weights, files), **extra)


def _cross_encoder(
    folder: Path, name: str, revision: str, *, max_length: int | None = None, stored: Stored = ()
) -> _Found:
    extra: dict[str, Any] = {"stored": stored} | _read_judge_file(folder)
    weights = local_weights(folder)
    backbone = CrossEncoder(folder, max_length=max_length)
    files = [
        path for path in sorted(folder.iterdir()) if path.name in (*_CROSS_ENCODER_FILES, *_TOKENIZER_FILES)
    ]
    return _Found(backbone=backbone, identity=_identity(name, revision, weights, files), **extra)


def _identity(name: str, revision: str, weights: Path, files: list[Path]) -> Identity:
    return Identity(
        name=name,
        revision=revision,
        weights_sha256=file_sha256(weights),
        files_sha256=sha256_bytes("".join(sha256_file(path) for path in sorted(files)).encode()),
    )


def _fetch(repo: str, filename: str, revision: str | None) -> Path:
    return hub.fetch(repo, filename, revision=revision, remedy=_NO_JUDGE)


_NO_JUDGE = (
    "Choose a judge that is here: --metadata judge=PATH (a folder) or judge=embedded (the small stand-in, trained on "
    "made-up news); or copy the repository into the hub cache."
)


def _foundation() -> list[Path]:
    """Configuration and tokenizer that HHEM-2.1-open stands on."""
    return [_fetch(hhem21.FOUNDATION, name, hhem21.FOUNDATION_REVISION) for name in hhem21.FOUNDATION_FILES]


def _repository(repo: str, revision: str | None) -> Path:
    """Folder with a CrossEncoder's files; of the tokenizer's, those that the repository has: each kind has its own."""
    wanted = (*_CROSS_ENCODER_FILES, *_TOKENIZER_FILES)
    return hub.snapshot(repo, revision=revision, what=f"judge {repo}", only=wanted, remedy=_NO_JUDGE)


def _read_judge_file(folder: Path) -> dict[str, Any]:
    """Calibration and stored pairs of a judge that was fitted here; empty for any other."""
    path = folder / JUDGE_FILE
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        stored = tuple(((row["source"], row["summary"]), float(row["score"])) for row in data["self_test"])
        calibration = dict(data["calibration"])
        held_out = HeldOut.from_dict(data["held_out"]) if data.get("held_out") else None
        domain = Domain(**data["domain"]) if data.get("domain") else None
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"{path}: damaged: {error}", "Fit the judge again: harness judge fit.") from error
    return {
        "calibration": Calibration.from_dict(calibration),
        "stored": stored,
        "held_out": held_out,
        "domain": domain,
    }
