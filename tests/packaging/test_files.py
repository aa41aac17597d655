"""Files are written whole or not at all, and broken input is named by file and line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.files import (
    canonical_json,
    exclusive_lock,
    iter_jsonl,
    read_jsonl,
    replace_dir,
    sha256_bytes,
    sha256_file,
    write_atomic,
    write_jsonl,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_text_as_utf8_with_its_line_ends(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "file.txt", "é\r\n")
    assert (tmp_path / "new" / "file.txt").read_bytes() == b"\xc3\xa9\r\n"
    assert names(tmp_path / "new") == ["file.txt"]


def test_new_file_has_the_mode_that_open_gives(tmp_path: Path) -> None:
    write_atomic(tmp_path / "ours", "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "x"


def test_reader_never_sees_a_partial_file(tmp_path: Path) -> None:
    """The process may write 1,000 bytes to a file; the kernel refuses the rest in the middle of ours."""
    target = tmp_path / "file"
    target.write_text("old")
    script = (
        "import resource, sys; from harness.files import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_atomic(sys.argv[1], 'x' * 5000)\n"
        "except OSError as error:\n    print(error.errno, error.filename)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path.cwd(),
    )
    assert done.stdout.split() == [str(errno.EFBIG), str(target)]
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as the kernel does: without a file name

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(tmp_path / "file", "x")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "file")
    assert names(tmp_path) == []


def test_rows_that_fail_half_way_leave_nothing(tmp_path: Path) -> None:
    def rows() -> Any:
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "rows.jsonl", rows())
    assert names(tmp_path) == []


def test_jsonl_round_trip_keeps_every_text(tmp_path: Path) -> None:
    # line separators of Unicode, a lone surrogate, which has no UTF-8 form, and an integer beyond 64 bits
    rows = [{"text": "a\u2028b\x85c\nd"}, {"text": "\ud800"}, {"text": "été", "n": 2**70, "x": 0.1}]
    assert write_jsonl(tmp_path / "rows.jsonl", iter(rows)) == 3
    assert read_jsonl(tmp_path / "rows.jsonl") == rows
    assert "été" in (tmp_path / "rows.jsonl").read_text("utf-8")


def test_jsonl_refuses_to_write_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(tmp_path / "rows.jsonl", [{"x": float("nan")}])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b'{"a": 1}\n{"a": \n', 2, "Expecting value"),
        (b'{"a": 1}\n\n[1]\n', 3, "expected an object, found list"),
        (b'{"a": "\xff"}\n', 1, "utf-8"),
        (b'{"a": NaN}', 1, "NaN is not JSON"),
        (b'{"a": -Infinity}', 1, "-Infinity is not JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        read_jsonl(path)
    assert caught.value.problem.startswith(f"{path}, line {line}: ")
    assert reason in caught.value.problem


def test_rows_before_a_broken_line_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a":')
    rows = iter_jsonl(path)
    assert next(rows) == {"a": 1}
    with pytest.raises(HarnessError, match="line 2"):
        next(rows)


def test_nan_can_be_let_in_and_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": NaN}\n')
    (row,) = read_jsonl(path, allow_nan=True)
    assert row["a"] != row["a"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"none\.jsonl: cannot be read: No such file"):
        read_jsonl(tmp_path / "none.jsonl")


def test_canonical_json_is_one_text_per_value() -> None:
    first, second = {"b": [1, 0.1, None], "a": "é"}, {"a": "é", "b": [1, 0.1, None]}
    assert canonical_json(first) == canonical_json(second) == '{"a":"\\u00e9","b":[1,0.1,null]}'
    assert json.loads(canonical_json(first)) == first
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json({"x": value})
    with pytest.raises(TypeError):
        canonical_json({"x": {1}})


def test_sha256_against_the_published_vectors(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B: "abc" and one million times "a"."""
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "million").write_bytes(b"a" * 1_000_000)
    expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert sha256_file(tmp_path / "million") == expected
    (tmp_path / "pieces").write_bytes(b"abc" * 1_000_000)  # more than one piece of the reader
    assert sha256_file(tmp_path / "pieces") == sha256_bytes(b"abc" * 1_000_000)


def test_a_lock_is_held_by_one_process_and_freed_when_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from harness.files import exclusive_lock\n"
        "with exclusive_lock(sys.argv[1], 'taken'):\n    print('held', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HarnessError, match="taken"), exclusive_lock(tmp_path / "lock", "taken"):
            pass
        holder.kill()
    with exclusive_lock(tmp_path / "lock", "taken"):
        pass


def test_folder_appears_whole(tmp_path: Path) -> None:
    with replace_dir(tmp_path / "model") as folder:
        (folder / "part").write_text("new")
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["part"]


def test_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "part").write_text("old")
    with pytest.raises(RuntimeError), replace_dir(tmp_path / "model") as folder:
        (folder / "part").write_text("new")
        raise RuntimeError
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "part").read_text() == "old"


def test_folder_replaces_all_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left over").touch()
    with replace_dir(tmp_path / "model") as folder:
        (folder / "part").touch()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["part"]


def test_folder_is_put_back_when_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "part").write_text("old")
    rename = Path.rename

    def fail_for_new_folder(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new_folder)
    with pytest.raises(OSError, match="No space left"), replace_dir(tmp_path / "model"):
        pass
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "part").read_text() == "old"


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("precious")
    with pytest.raises(HarnessError, match="is a file"), replace_dir(tmp_path / "model"):
        pass
    assert (tmp_path / "model").read_text() == "precious"
