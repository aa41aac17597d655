"""A hub on this machine: repositories as the Hugging Face hub serves them, over HTTP, for the clients that users have.

Addresses, status codes and headers are the hub's own, as huggingface_hub 2.4, datasets 5.2 and transformers 5.23 use them: small
files come by a redirect to a cache, large ones (LFS) by one to a storage address without authorisation; commits are JSON lines.
Not here: Xet, pull requests' discussions, and the data set viewer, which nothing of ours may ask.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from huggingface_hub import constants

Files = Mapping[str, bytes | Path]
_LFS = ("*.safetensors", "*.bin", "*.parquet", "*.model", "*.gguf")
_KINDS = {"model": "models", "dataset": "datasets"}


@dataclass(kw_only=True)
class Repository:
    """One repository; every commit is kept."""

    kind: str
    name: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    readers: tuple[str, ...] = ()
    """Tokens that a gated repository lets in."""

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, a pull request or a full hash names."""
        return self.refs.get(revision) or (revision if revision in self.commits else None)


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with an address, how often."""

    part: str
    """Of ``METHOD /path``."""
    status: int | None = None
    how: str = ""
    """``truncated``, ``dropped`` or ``slow``, where it is no status."""
    seconds: float = 0.0
    times: int = -1
    """-1: always."""


class LocalHub:
    """Repositories, faults, and what was asked; `serve` puts it on a port of the loopback address."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.aliases: dict[str, str] = {}
        """Former name -> name."""
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        """``METHOD /path?query`` of every request."""
        self.tokens: set[str] = set()
        self.leaked: set[str] = set()
        """Tokens that a client showed to the storage address."""
        self.readers: set[str] = set()
        """Tokens that may not write."""
        self.large: dict[str, bytes] = {}
        """What storage holds, by SHA-256."""
        self.url = ""
        self.lock = Lock()

    def add(
        self,
        name: str,
        files: Files,
        *,
        kind: str = "model",
        revision: str = "main",
        commit: str | None = None,
        **stated: Any,
    ) -> str:
        """A commit with these files, all there are, on a branch; the repository is made if it is not there.

        Returns:
            The commit.
        """
        held = {path: file if isinstance(file, bytes) else file.read_bytes() for path, file in files.items()}
        repository = self.repositories.setdefault((kind, name), Repository(kind=kind, name=name))
        for key, value in stated.items():
            setattr(repository, key, value)
        number = f"{name} {revision} {len(repository.commits)}"
        commit = commit or hashlib.sha1(number.encode(), usedforsecurity=False).hexdigest()
        repository.commits[commit] = held
        repository.refs[revision] = commit
        self.large |= {_sha256(data): data for path, data in held.items() if is_large(path)}
        return commit

    def files(self, name: str, *, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """What a branch holds."""
        repository = self.repositories[kind, name]
        return repository.commits[repository.refs[revision]]

    def fail(self, part: str, **stated: Any) -> Fault:
        """Let something go wrong wherever ``METHOD /path`` contains a part."""
        self.faults.append(Fault(part=part, **stated))
        return self.faults[-1]

    @contextmanager
    def serve(self) -> Iterator[LocalHub]:
        """Answer until left."""
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def patched(hub: LocalHub, patch: pytest.MonkeyPatch) -> None:
    """Make this process a client of the hub; the libraries read their settings on import."""
    template = "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr("transformers.utils.hub._hf_api", None)  # transformers' own client, made once
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def folder(path: Path) -> dict[str, bytes | Path]:
    """The files of a folder, for `LocalHub.add`."""
    return {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}


def is_large(path: str) -> bool:
    """Whether the hub keeps a file of this name in LFS."""
    return any(fnmatch(path, pattern) for pattern in _LFS)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def card_errors(text: str, kind: str) -> list[str]:
    """What the hub's own check refuses in a card's front matter."""
    found = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    try:
        stated = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        return [f"YAML: {str(error).splitlines()[0]}"]
    if not isinstance(stated, dict | None):
        return ["the metadata is no mapping"]
    stated = stated or {}
    errors = [
        f'"{key}" must be a string or a list of strings'
        for key in ("base_model", "datasets", "tags", "language", "license")
        if not all(isinstance(part, str) for part in _listed(stated.get(key)))
    ]
    repo = re.compile(r"[\w.-]+(/[\w.-]+)?")
    for key in ("base_model", "datasets"):
        errors += [
            f'"{key}": {part!r} is no name of a repository'
            for part in _listed(stated.get(key))
            if isinstance(part, str) and not repo.fullmatch(part)
        ]
    if kind == "model":
        errors += _index_errors(stated.get("model-index"))
    return errors


def _index_errors(index: Any) -> list[str]:
    errors = []
    for model in index or []:
        if not isinstance(model.get("name"), str):
            errors.append('"model-index[0].name" must be a string')
        for result in model.get("results", []):
            if not result.get("task", {}).get("type"):
                errors.append('"results[].task.type" is required')
            dataset = result.get("dataset", {})
            if not dataset.get("type") or not dataset.get("name"):
                errors.append('"results[].dataset.type" and "name" are required')
            if not all("value" in metric and metric.get("type") for metric in result.get("metrics", [{}])):
                errors.append('"results[].metrics[]" needs type and value')
    return errors


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


class _Refused(Exception):  # noqa: N818 - an answer, not an error
    def __init__(
        self, status: int, code: str = "", message: str = "", headers: Mapping[str, str] | None = None
    ):
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self.headers |= headers or {}


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        split = urlsplit(self.path)
        self.place, self.query = unquote(split.path), parse_qs(split.query)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        with self.hub.lock:
            self.hub.asked.append(f"{self.command} {self.path}")
            fault = self._fault()
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.token:
            self.hub.tokens.add(self.token)
        self.how = fault.how if fault else ""
        try:
            if fault and fault.how == "dropped":
                self.close_connection = True
                return
            if fault and fault.how == "slow":
                time.sleep(fault.seconds)
            if fault and fault.status:
                # the hub names no reason where it fails; the client is told to come back at once, so that tests are quick
                raise _Refused(fault.status, headers={"Retry-After": "0"})
            self._route()
        except _Refused as refused:
            content = json.dumps({"error": refused.message}).encode()
            self._send(content, {"Content-Type": "application/json", **refused.headers}, refused.status)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass

    def _fault(self) -> Fault | None:
        asked = f"{self.command} {self.place}"
        for fault in self.hub.faults:
            if fault.part in asked and fault.times != 0:
                fault.times -= 1
                return fault
        return None

    # where to

    def _route(self) -> None:
        place = self.place
        if place == "/":
            self._send(b"a hub", {"Content-Type": "text/html"})
        elif place == "/api/whoami-v2":
            self._require_token()
            self._answer({"type": "user", "name": "me", "auth": {"accessToken": {"role": "write"}}})
        elif place == "/api/repos/create":
            self._create(json.loads(self.body))
        elif place == "/api/validate-yaml":
            asked = json.loads(self.body)
            errors = [{"message": error} for error in card_errors(asked["content"], asked["repoType"])]
            content = json.dumps({"errors": errors, "warnings": []}).encode()
            self._send(content, {"Content-Type": "application/json"}, 400 if errors else 200)
        elif place.startswith("/storage/"):
            self._storage(place.removeprefix("/storage/"))
        elif place.startswith("/api/resolve-cache/"):
            _, _, _, kind, rest = place.split("/", 4)
            repository, rest = self._repository(kind.removesuffix("s"), rest)
            commit, _, path = rest.partition("/")
            self._small(repository, commit, path)
        elif found := re.fullmatch(r"/api/(model|dataset)s(?:/(.+))?", place):
            self._api(found[1], found[2])
        elif found := re.fullmatch(r"/(datasets/)?(.+)", place):
            self._git("dataset" if found[1] else "model", found[2])

    def _api(self, kind: str, rest: str | None) -> None:
        if rest is None:
            return self._list(kind)
        repository, rest = self._repository(kind, rest)
        verb, _, rest = rest.partition("/")
        if verb in ("preupload", "commit"):
            self._require_writer()
            return self._preupload(repository) if verb == "preupload" else self._commit(repository, rest)
        if verb == "refs":
            return self._answer({"branches": [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                                              for name, commit in repository.refs.items()],
                                 "tags": [], "converts": []})  # fmt: skip
        if verb == "commits":
            commit, date = self._resolved(repository, rest), "2026-01-01T00:00:00.000Z"
            return self._answer([{"id": commit, "title": "", "message": "", "date": date, "authors": []}])
        if verb == "discussions":
            return self._answer({"discussions": [], "count": 0, "start": 0})
        if verb == "auth-check":
            self._require_access(repository)
            return self._answer({})
        if verb in ("", "revision"):
            return self._info(repository, self._resolved(repository, rest or "main"))
        if verb not in ("tree", "paths-info"):
            raise _Refused(404, message=f"nothing is called {self.place}")
        commit, path = self._revision(repository, rest)
        if verb == "tree":
            self._tree(repository, commit, path)
        else:
            asked = (json.loads(self.body) if self.body.startswith(b"{") else parse_qs(self.body.decode()))[
                "paths"
            ]
            files = repository.commits[commit]
            entries = {entry["path"]: entry for entry in _entries(files, "", recursive=True)}
            self._answer([entries[path] for path in asked if path in entries])
        return None

    def _git(self, kind: str, rest: str) -> None:
        if found := re.fullmatch(r"(.+)\.git/info/lfs/objects/(batch|verify)", rest):
            self._require_writer()
            self._repository(kind, found[1])
            return self._batch() if found[2] == "batch" else self._answer({})
        repository, rest = self._repository(kind, rest)
        verb, _, rest = rest.partition("/")
        if verb != "resolve":
            raise _Refused(404, message=f"nothing is called {self.place}")
        commit, path = self._revision(repository, rest)
        self._resolve(repository, commit, path)
        return None

    def _repository(self, kind: str, rest: str) -> tuple[Repository, str]:
        """The repository that a path begins with, and the rest of the path."""
        parts = rest.split("/")
        for length in (2, 1):
            name = "/".join(parts[:length])
            if moved := self.hub.aliases.get(name):
                # the hub sends who asks for a former name to the new one
                where = self.path.replace(f"/{name}", f"/{moved}", 1)
                raise _Refused(307, headers={"Location": where})
            if found := self.hub.repositories.get((kind, name)):
                return found, "/".join(parts[length:])
        # without a token the hub does not tell what is private from what is not there
        raise _Refused(404 if self.token else 401, "RepoNotFound",
                       "Repository not found" if self.token else "Invalid username or password.")  # fmt: skip

    def _revision(self, repository: Repository, rest: str) -> tuple[str, str]:
        """Commit and path of ``REVISION/PATH``; a revision may hold slashes."""
        parts = rest.split("/")
        for length in (3, 1):
            if commit := repository.commit("/".join(parts[:length])):
                return commit, "/".join(parts[length:])
        return self._resolved(repository, parts[0]), ""

    def _resolved(self, repository: Repository, revision: str) -> str:
        if commit := repository.commit(revision):
            return commit
        raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    # reading

    def _list(self, kind: str) -> None:
        wanted = self.query.get("filter", [])
        found = []
        for repository in self.hub.repositories.values():
            card = repository.commits[repository.refs["main"]].get("README.md", b"").decode()
            if repository.kind == kind and all(f"- {tag}" in card for tag in wanted):
                found.append({"id": repository.name, "tags": wanted})
        self._answer(found)

    def _info(self, repository: Repository, commit: str) -> None:
        files = repository.commits[commit]
        self._answer({"_id": "0" * 24, "id": repository.name, "sha": commit, "private": False,
                      "gated": "manual" if repository.gated else False, "disabled": False, "tags": [], "downloads": 0,
                      "siblings": [{"rfilename": path} for path in sorted(files)]})  # fmt: skip

    def _tree(self, repository: Repository, commit: str, path: str) -> None:
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = _entries(repository.commits[commit], path, recursive=recursive)
        if path and not entries:
            raise _Refused(404, "EntryNotFound", f"{path} does not exist on this revision")
        self._answer(entries)

    def _resolve(self, repository: Repository, commit: str, path: str) -> None:
        headers = {"X-Repo-Commit": commit}
        self._require_access(repository)
        data = repository.commits[commit].get(path)
        if data is None:
            raise _Refused(404, "EntryNotFound", "Entry not found", headers)
        if is_large(path):
            digest = _sha256(data)
            headers |= {
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(data)),
                "ETag": f'"{digest}"',
            }
            self._send(b"", headers | {"Location": f"{self._storage_url()}/storage/{digest}"}, 302)
        else:
            where = f"/api/resolve-cache/{_KINDS[repository.kind]}/{repository.name}/{commit}/{path}"
            self._send(b"", headers | {"ETag": f'"{_blob(data)}"', "Location": where}, 307)

    def _small(self, repository: Repository, commit: str, path: str) -> None:
        data = repository.commits[commit][path]
        self._ranged(data, {"ETag": f'"{_blob(data)}"', "X-Repo-Commit": commit})

    def _storage_url(self) -> str:
        """Another host than the hub's, to the eyes of a client."""
        return self.hub.url.replace("127.0.0.1", "localhost")

    def _require_access(self, repository: Repository) -> None:
        if repository.gated and self.token not in repository.readers:
            raise _Refused(403 if self.token else 401, "GatedRepo",
                           f"Access to {repository.kind} {repository.name} is restricted.")  # fmt: skip

    # writing

    def _require_token(self) -> None:
        if not self.token:
            raise _Refused(401, message="Invalid username or password.")

    def _require_writer(self) -> None:
        self._require_token()
        if self.token in self.hub.readers:
            raise _Refused(403, message="you have no right to write here")

    def _create(self, asked: dict[str, Any]) -> None:
        self._require_writer()
        kind, name = asked.get("type") or "model", f"{asked.get('organization') or 'me'}/{asked['name']}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repositories:
            self._send(json.dumps({"error": "You already created this repo", "url": url}).encode(), {}, 409)
            return
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, kind=kind)
        self._answer({"url": url, "id": name})

    def _preupload(self, repository: Repository) -> None:
        held = repository.commits[repository.refs["main"]]
        self._answer({"files": [
            {"path": path, "uploadMode": "lfs" if is_large(path) else "regular", "shouldIgnore": False,
             "oid": _blob(held[path]) if path in held else None}
            for path in (file["path"] for file in json.loads(self.body)["files"])
        ]})  # fmt: skip

    def _batch(self) -> None:
        objects = []
        for stated in json.loads(self.body)["objects"]:
            entry = {"oid": stated["oid"], "size": stated["size"]}
            if stated["oid"] not in self.hub.large:
                where = f"{self._storage_url()}/storage/{stated['oid']}"
                entry["actions"] = {"upload": {"href": where}}
            objects.append(entry)
        self._answer({"transfer": "basic", "objects": objects})

    def _commit(self, repository: Repository, revision: str) -> None:
        lines = [json.loads(line) for line in self.body.decode().splitlines()]
        files: dict[str, bytes | Path] = dict(
            repository.commits[repository.refs.get(revision) or repository.refs["main"]]
        )
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        pull = "create_pr" in self.query
        branch = f"refs/pr/{len(repository.refs)}" if pull else revision
        commit = self.hub.add(repository.name, files, kind=repository.kind, revision=branch)
        page = f"{self.hub.url}/{'datasets/' if repository.kind == 'dataset' else ''}{repository.name}"
        answer = {
            "success": True,
            "commitOid": commit,
            "commitUrl": f"{page}/commit/{commit}",
            "hookOutput": "",
        }
        self._answer(answer | ({"pullRequestUrl": f"{page}/discussions/1"} if pull else {}))

    def _storage(self, digest: str) -> None:
        if self.token:
            self.hub.leaked.add(self.token)
        if self.command == "PUT":
            if _sha256(self.body) != digest:
                raise _Refused(400, message="other bytes than were announced")
            self.hub.large[digest] = self.body
            return self._send(b"", {})
        self._ranged(self.hub.large[digest], {"ETag": f'"{digest}"'})
        return None

    # answering

    def _answer(self, content: Any) -> None:
        self._send(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _ranged(self, data: bytes, headers: dict[str, str]) -> None:
        headers = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self._send(data, headers)
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            raise _Refused(416, headers={"Content-Range": f"bytes */{len(data)}"})
        self._send(
            data[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"}, 206
        )
        return None

    def _send(self, data: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.how == "truncated":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data)


def _entries(files: Mapping[str, bytes], under: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a path, as ``tree`` lists them."""
    start = f"{under}/" if under else ""
    found: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if not path.startswith(start):
            continue
        parts = path.removeprefix(start).split("/")
        for depth in range(1, len(parts)):
            name = start + "/".join(parts[:depth])
            if recursive or depth == 1:
                found[name] = {"type": "directory", "path": name, "oid": _blob(name.encode()), "size": 0}
        if recursive or len(parts) == 1:
            found[path] = {"type": "file", "path": path, "oid": _blob(data), "size": len(data)}
            if is_large(path):
                found[path]["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 130}
    return list(found.values())
