"""Sending a checkpoint with its card, or a board with its records, to the Hugging Face hub, each as one commit.

Only files that such a repository needs are sent: never a pickle, optimizer state, or anything else that lies in the folder.
huggingface_hub finds the token, and nothing here reads or prints it. An upload that breaks off leaves the repository as it was;
sending it again does not send large files twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from harness.board.card import board_card, with_scores
from harness.board.eval_results import eval_result_files
from harness.board.publish import publish, texts, verify
from harness.board.table import Board
from harness.errors import HarnessError
from harness.files import write_atomic
from harness.models import hub
from harness.models.hub_errors import LOG_IN, explained
from harness.models.identity import model_identity
from harness.models.weights import read_json
from harness.records import Record, load_record
from harness.records.documents import documents_path
from harness.records.import_scores import ids_path

_CHECKPOINT = tuple(
    "*.safetensors *.safetensors.index.json config.json generation_config.json adapter_config.json tokenizer* "
    "special_tokens_map.json added_tokens.json vocab.* merges.txt *.model chat_template* preprocessor_config.json run.json".split()
)
_UNSAFE = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One commit to one repository."""

    repo: str
    kind: Literal["model", "dataset"]
    message: str
    files: dict[str, Path | str]
    """Path in the repository -> local file, or text."""
    left_out: list[str] = field(default_factory=list)
    """Files of the folder that stay here."""
    notes: list[str] = field(default_factory=list)
    """What else the user should know, a sentence each."""

    def describe(self) -> str:
        """What would go, for ``--dry-run``."""
        sizes = {name: _size(content) for name, content in self.files.items()}
        lines = [f"{self.kind} {self.repo}: {len(self.files)} files, {sum(sizes.values()):,} bytes"]
        lines += [f"  {size:>14,}  {name}" for name, size in sorted(sizes.items())]
        lines += [f"  stays here: {', '.join(self.left_out)}"] if self.left_out else []
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def model_upload(
    repo: str, folder: Path, records: Sequence[Path], benchmarks: Mapping[str, str] | None = None
) -> Upload:
    """A checkpoint, its card with the records' scores, and a file for each leaderboard of the hub.

    Args:
        repo: Owner and name.
        folder: The checkpoint.
        records: Of the checkpoint.
        benchmarks: Task of a benchmark on the hub -> key of the score that its leaderboard takes.

    Raises:
        HarnessError: If the folder is no safetensors checkpoint, or a record is of other weights.
    """
    _check_repo(repo)
    loaded = [load_record(path) for path in records]
    _check_checkpoint(folder, loaded)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "README.md")
    sent = [name for name in names if any(fnmatch(name, pattern) for pattern in _CHECKPOINT)]
    readme = folder / "README.md"
    text = readme.read_text("utf-8") if readme.is_file() else None
    files: dict[str, Path | str] = {name: folder / name for name in sent}
    files["README.md"] = with_scores(text, repo.rsplit("/", 1)[-1], loaded, base=base_model(folder))
    results, reasons = eval_result_files(loaded, benchmarks or {})
    files |= results
    folders = [f"{path.name}/" for path in sorted(folder.iterdir()) if path.is_dir()]
    left = [name for name in names if name not in sent]
    return Upload(
        repo=repo,
        kind="model",
        message="Checkpoint and scores",
        files=files,
        left_out=left + folders,
        notes=reasons,
    )


def board_upload(repo: str, spec_path: Path, *, documents: bool = True) -> Upload:
    """A board, verified first, with the records behind it, as a data set whose page is the board.

    What is sent verifies where it is downloaded: the board's own files go under their own names, and once more as the card.

    Args:
        repo: Owner and name.
        spec_path: The board's specification.
        documents: Whether articles and references go too; else the board's page is made anew without them.

    Raises:
        HarnessError: If the board does not follow from its records.
    """
    _check_repo(repo)
    board = verify(spec_path)
    files: dict[str, Path | str] = {
        name: board.folder / name for name in _behind(board, spec_path, documents)
    }
    shown = [spec_path.with_suffix(suffix).name for suffix in (".md", *texts(board))]
    if documents:
        files |= {name: spec_path.with_name(name) for name in shown}
    else:
        files |= _shown_without_documents(spec_path, files, shown)
    markdown = files[spec_path.with_suffix(".md").name]
    text = markdown if isinstance(markdown, str) else markdown.read_text("utf-8")
    files["README.md"] = board_card(board, text, table=spec_path.with_suffix(".csv").name)
    return Upload(repo=repo, kind="dataset", message=f"Board: {board.spec.title}", files=files)


def _behind(board: Board, spec_path: Path, documents: bool) -> list[str]:
    """What a board is made from, by its path beside the specification."""
    names = [spec_path.name, *board.spec.cited, *(row["record"] for row in board.spec.rows)]
    for row in board.rows:
        for entry in row.entries.values():
            path = board.folder / entry.path
            articles = documents_path(entry.record, path) if documents else None
            beside = (articles, ids_path(entry.record, path))
            names += [file.relative_to(board.folder).as_posix() for file in beside if file and file.is_file()]
    return list(dict.fromkeys(names))


def _shown_without_documents(
    spec_path: Path, behind: Mapping[str, Path | str], shown: Sequence[str]
) -> dict[str, str]:
    """The board's own files as they are where there are no articles, which is what `verify` computes there."""
    with TemporaryDirectory() as folder:
        for name, file in {**behind, spec_path.with_suffix(".md").name: spec_path.with_suffix(".md")}.items():
            write_atomic(Path(folder) / name, Path(file).read_bytes())
        publish(Path(folder) / spec_path.name)
        return {name: (Path(folder) / name).read_bytes().decode("utf-8") for name in shown}


def base_model(folder: Path) -> str | None:
    """The model on the hub that a checkpoint was trained from, as its adapter says; None where it does not."""
    try:
        stated = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    except HarnessError:  # no adapter
        return None
    named = isinstance(stated, str) and hub.names_repository(stated) and not Path(stated).exists()
    return stated if named else None


def send(upload: Upload, *, private: bool = False, create_pr: bool = False) -> str:
    """Make the repository if it is not there, commit the files, and return the commit's address.

    Raises:
        HarnessError: If there is no token, no right to write, no network, the upload breaks off, or the hub refuses the card.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi(library_name="faithfulness-harness")
    operations = [
        CommitOperationAdd(
            path_in_repo=name, path_or_fileobj=content.encode() if isinstance(content, str) else str(content)
        )
        for name, content in sorted(upload.files.items())
    ]
    try:
        api.create_repo(upload.repo, repo_type=upload.kind, private=private, exist_ok=True)
        commit = api.create_commit(
            upload.repo, operations, commit_message=upload.message, repo_type=upload.kind, create_pr=create_pr
        )
    except LocalTokenNotFoundError as error:
        raise HarnessError(
            "the hub needs a token to write", "Run `hf auth login`, or set HF_TOKEN."
        ) from error
    except OfflineModeIsEnabled as error:
        raise HarnessError("HF_HUB_OFFLINE is set", "Unset it to send anything.") from error
    except (
        Exception
    ) as error:  # of the HTTP library, and what huggingface_hub makes of them; none has a type of its own
        raise _not_sent(upload.repo, error) from error
    return str(commit.pr_url or commit.commit_url)


def _not_sent(repo: str, error: Exception) -> HarnessError:
    if isinstance(error, ValueError) and str(error).startswith("Invalid metadata"):
        said = "; ".join(line.strip("- ") for line in str(error).splitlines()[1:] if line.strip())
        return HarnessError(
            f"{repo}: the hub refuses the front matter of README.md: {said}",
            "Correct it there. Nothing was committed.",
        )
    reason, remedy = explained(error, repo)
    advice = f"{remedy} " if remedy and LOG_IN in remedy else ""
    return HarnessError(f"{repo}: {reason}", f"{advice}Nothing was committed: run the command again.")


def _check_repo(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise HarnessError(f"{repo!r} is no name of a repository", "Write owner/name.") from error
    if "/" not in repo:
        raise HarnessError(f"{repo!r} has no owner", "Write owner/name.")


def _check_checkpoint(folder: Path, records: Sequence[Record]) -> None:
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such folder", "Give the checkpoint's folder.")
    if not any(folder.glob("*.safetensors")):
        unsafe = [path.name for pattern in _UNSAFE for path in folder.glob(pattern)]
        found = f"; {', '.join(unsafe)} can run code when loaded and is never sent" if unsafe else ""
        raise HarnessError(
            f"{folder}: no *.safetensors{found}", "Save the model with safe_serialization=True."
        )
    weights = model_identity(str(folder), None)["weights_sha256"]
    HarnessError.raise_for(
        [
            f"the record of {record.model} on {record.task} is of other weights "
            f"({str(theirs)[:12]}, the checkpoint has {weights[:12]})"
            for record in records
            if (theirs := record.provenance["model"].get("weights_sha256")) != weights
        ],
        "Give the records of this checkpoint, or evaluate it.",
    )


def _size(content: Path | str) -> int:
    return len(content.encode()) if isinstance(content, str) else content.stat().st_size
