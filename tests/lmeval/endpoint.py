"""A server on loopback that speaks OpenAI's protocol: a real small model behind it, and faults where they are asked for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("429", "500", "slow", "broken", "no choices", "null")
"""What a server can do instead of answering."""
RETRY_AFTER, SLOW = 2, 3.0
"""Seconds."""


class Server(ThreadingHTTPServer):
    """Answers with a model; `address` is its base address."""

    daemon_threads = True

    def __init__(self, model: Any, faults: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.faults: list[str | None] = list(faults)
        """Of the next requests; None: an answer."""
        self.always: str | None = None
        """A fault of every request from now on."""
        self.asked: list[dict[str, Any]] = []
        """Every body, with the time at which it came."""
        self.answered = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def fault(self) -> str | None:
        return self.always or (self.faults.pop(0) if self.faults else None)

    def generate(self, prompt: str, limit: int, stop: Sequence[str]) -> tuple[str, str]:
        """Greedy text, and why it ended."""
        import torch

        ids = torch.tensor([self.model.encode(prompt)])
        made = self.model.model.generate(input_ids=ids, max_new_tokens=limit, do_sample=False)
        tokens = made[0, ids.shape[1] :].tolist()
        ended = self.model.tokenizer.eos_token_id in tokens
        text = self.model.tokenizer.decode(tokens, skip_special_tokens=True)
        for word in filter(None, stop):
            ended, text = ended or word in text, text.split(word)[0]
        return text, "stop" if ended else "length"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(
                {**body, "at": time.monotonic(), "authorization": self.headers["Authorization"]}
            )
            fault = self.server.fault()
            if fault in ("429", "500"):
                headers = {"Retry-After": str(RETRY_AFTER)} if fault == "429" else {}
                self._send(int(fault), b'{"error": {"message": "no, sk-leaked-by-the-endpoint"}}', headers)
            elif fault == "broken":
                self._send(200, b'{"choices": [{"ind')
            elif fault == "no choices":
                self._send(200, b'{"error": {"message": "overloaded"}}')
            else:
                if fault == "slow":
                    time.sleep(SLOW)
                self._answer(body, null=fault == "null")

    def _answer(self, body: dict[str, Any], *, null: bool) -> None:
        chat = self.path.endswith("/chat/completions")
        prompts = [body["messages"][-1]["content"]] if chat else body["prompt"]
        prompts = [prompts] if isinstance(prompts, str) else prompts
        stop = body.get("stop") or []
        choices = []
        for index, prompt in enumerate(prompts):
            text, reason = self.server.generate(
                prompt, body["max_tokens"], [stop] if isinstance(stop, str) else stop
            )
            said = (
                {"message": {"role": "assistant", "content": None if null else text}}
                if chat
                else {"text": text}
            )
            choices.append({"index": index, "finish_reason": reason, **said})
        self.server.answered += 1
        self._send(200, json.dumps({"object": "x", "choices": choices}).encode())

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):  # whoever asked did not wait
            pass

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serving(model: Any, faults: Sequence[str] = ()) -> Iterator[Server]:
    """A server with a model behind it, until the block ends."""
    server = Server(model, faults)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
