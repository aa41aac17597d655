"""``harness-lookback-guided``: a Hugging Face model whose decoding is guided by a lookback classifier, as an lm-eval model.

lm_eval --model harness-lookback-guided --model_args pretrained=MODEL,classifier=FILE --tasks kd_newsworld_factual
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from harness.errors import HarnessError
from harness.lmeval.bridge.attention import language_model
from harness.lookback.classifier import find
from harness.lookback.encoding import context_tokens
from harness.lookback.guided import Guidance, check, ends_with, guided, text_of
from harness.models.load import LanguageModel
from harness.records.samples import find_source


class LookbackGuided(HFLM):  # type: ignore[misc]  # lm_eval ships no types
    """See the module.

    Args:
        classifier: File of `harness lookback fit`; ``shipped`` for the package's own.
        candidates: Continuations sampled for each chunk.
        chunk: Tokens of a chunk.
        guidance_temperature: Of the sampling; a task's own decoding settings but length and stop strings are passed over.
        choose: ``lookback``, ``probability`` or ``first``, see `harness.lookback.guided.Guidance`.
        guidance_seed: Of the sampling; each document has its own from it.
        **kwargs: Those of lm-eval's ``hf``.

    Raises:
        HarnessError: If the classifier does not fit the model, or the model's attention cannot be read.
    """

    def __init__(
        self,
        classifier: str = "shipped",
        candidates: int = 8,
        chunk: int = 8,
        guidance_temperature: float = 0.9,
        choose: str = "lookback",
        guidance_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._options: dict[str, Any] = {
            "candidates": int(candidates),
            "chunk": int(chunk),
            "temperature": float(guidance_temperature),
            "choose": choose,
        }
        Guidance(**self._options)
        self._seed = int(guidance_seed)
        reader = language_model(self)
        if reader is None:
            raise HarnessError(
                "this model shows no attention to guide by", "Give a transformers model: pretrained=MODEL."
            )
        self._reader: LanguageModel = reader
        self._classifier = find(classifier, reader.model.config, reader.name)
        check(reader.model, self._classifier, reader.name)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """One guided response to each document with a source.

        Raises:
            HarnessError: If a document has no source that its prompt holds: there is nothing to look back at.
        """
        responses = []
        for request in tqdm(requests, desc="guided decoding", disable=disable_tqdm or self.rank != 0):
            prompt, settings = request.args
            place = find_source(prompt, request.doc.get("source", ""))
            if place is None:
                raise HarnessError(
                    f"{request.task_name}, document {request.doc_id}: no source in the prompt to look back at",
                    "Use harness-lookback-guided with kd_ tasks whose documents have a source.",
                )
            stop = [word for word in settings.get("until") or [] if word]
            length = int(settings.get("max_gen_toks", self.max_gen_toks))
            ids = guided(
                self._reader.model,
                self._classifier,
                context_tokens(self._reader, prompt, place[1]),
                Guidance(max_new_tokens=length, **self._options),
                ended=ends_with(self.tokenizer, stop),
                seed=self._seed * 1_000_003 + int(request.doc_id),
            )
            text = text_of(self.tokenizer, ids, stop)
            self.cache_hook.add_partial("generate_until", request.args, text)
            responses.append(text)
        return responses
