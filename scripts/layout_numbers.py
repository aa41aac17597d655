"""Files, lines, import circles, and the files that an article and a training row pass through, for commits side by side.

    python scripts/layout_numbers.py f6fd14c HEAD

A file is passed through if one of its functions runs: for an article in `lm_eval`, `harness import-results` and `harness publish`,
for a row in Dolly's fields in `harness train-kd`, both with the shipped student.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"harness": ".", "plugins/harness_kd": "plugins"}
FOLLOWED = """
import json, sys, threading
from pathlib import Path
passed, entered, root = set(), 0, sys.argv.pop(1) + "/"
def follow(frame, event, _):
    global entered
    code = frame.f_code
    if event == "call" and code.co_flags & 1 and code.co_filename.startswith(root):  # no body of a module or class
        passed.add(code.co_filename[len(root):])
        back = frame.f_back.f_code.co_filename if frame.f_back else ""
        entered += code.co_filename.endswith("/train.py") and back != code.co_filename
from harness.cli import main
from lm_eval.__main__ import cli_evaluate
threading.setprofile(follow)
sys.setprofile(follow)
status = cli_evaluate() if sys.argv[1] == "run" else main(sys.argv[1:])
sys.setprofile(None)
assert not status
print(json.dumps([sorted(passed), entered]))
"""


def sources(root: Path) -> dict[str, Path]:
    """Module -> file, of the harness and its plugin."""
    return {
        ".".join(path.relative_to(root / base).with_suffix("").parts).removesuffix(".__init__"): path
        for package, base in PACKAGES.items()
        for path in sorted((root / package).rglob("*.py"))
        if "startup" not in path.parts
    }


def imports(module: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Our modules that a module imports when it runs, inside functions too."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = [
        n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"
    ]
    skipped = {id(node) for block in typing_only for node in ast.walk(block)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in skipped:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in names}
    return {name for name in found if name in modules and name != module}


def in_circles(edges: dict[str, set[str]]) -> int:
    """How many import each other, directly or not."""
    left = {name: set(targets) for name, targets in edges.items()}
    for _ in range(2):  # take away who imports nothing left, then who is imported by nothing left
        while free := [name for name, targets in left.items() if not targets & left.keys()]:
            for name in free:
                del left[name]
        left = {name: {other for other in left if name in left[other]} for name in left}
    return len(left)


def packages(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same edges between folders."""
    found: dict[str, set[str]] = {}
    for module, targets in edges.items():
        own = ".".join(module.split(".")[:2])
        found.setdefault(own, set()).update({".".join(name.split(".")[:2]) for name in targets} - {own})
    return found


def followed(root: Path, work: Path, *words: str) -> tuple[set[str], int]:
    """Files whose functions a command runs, and how often others call into ``train.py``."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", FOLLOWED, str(root), *words]
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{words}\n{done.stdout}\n{done.stderr}")
    passed, entered = json.loads(done.stdout.splitlines()[-1])
    return set(passed), entered


def article(root: Path, work: Path) -> set[str]:
    """Files that one article of the news world passes through, to a board."""
    model = root / "harness" / "newsworld" / "checkpoints" / "student"
    task = {"n_documents": 1, "metrics": "oracle,rouge,chrf,surface"}
    words = ["run", "--model", "hf", "--model_args", f"pretrained={model}", "--tasks", "kd_newsworld_factual"]
    words += [
        "--include_path",
        str(root / "tasks"),
        "--device",
        "cpu",
        "--output_path",
        "out",
        "--log_samples",
    ]
    passed, _ = followed(root, work, *words, "--metadata", json.dumps(task))
    (results,) = (work / "out").iterdir()
    passed |= followed(root, work, "import-results", str(results), "--records", "records")[0]
    (record,) = (path for path in (work / "records").rglob("*.jsonl") if "documents" not in path.name)
    published = ["publish", "board.json", "--records", str(record), "--columns", "rougeL"]
    return passed | followed(root, work, *published)[0]


def row(root: Path, work: Path) -> tuple[set[str], int]:
    """Files that a row of Dolly's fields passes through, to a trained model, and how often others call into ``train.py``."""
    student, teacher = (
        root / "harness" / "newsworld" / "checkpoints" / name for name in ("student", "teacher")
    )
    rows = [
        {"instruction": "Who won?", "context": "", "response": f"The mayor of Hull, {i}."} for i in range(2)
    ]
    (work / "dolly.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["train-kd", "--student", str(student), "--teacher", str(teacher), "--data", "dolly.jsonl"]
    return followed(root, work, *words, "--kd-ratio", "1", "--output", "trained", "--epochs", "1")


def main() -> None:
    """Print the table."""
    columns = []
    for commit in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as name:
            root, work = Path(name).resolve() / "tree", Path(name).resolve() / "work"
            root.mkdir()
            work.mkdir()
            archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
            subprocess.run(["tar", "x"], cwd=root, input=archive.stdout, check=True)
            modules = sources(root)
            edges = {module: imports(module, path, modules) for module, path in modules.items()}
            lines = {m: len(path.read_text("utf-8").splitlines()) for m, path in modules.items()}
            trained, entered = row(root, work)
            columns.append(
                {
                    "files": len(modules),
                    "lines": sum(lines.values()),
                    "longest file": max(lines.values()),
                    "files in import circles": in_circles(edges),
                    "packages in import circles": in_circles(packages(edges)),
                    "files that an article passes through": len(article(root, work)),
                    "files that a Dolly row passes through": len(trained),
                    "calls into train.py from other files": entered,
                }
            )
    print("| | " + " | ".join(sys.argv[1:]) + " |\n|---|" + "---:|" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:,}" for column in columns) + " |")


if __name__ == "__main__":
    main()
