"""A model from a GGUF file: a small one is written, quantized, and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.models.gguf import from_gguf
from harness.models.source import ModelSource

gguf = pytest.importorskip("gguf")
WIDTH, HEADS, INNER, LAYERS = 64, 2, 96, 2


@pytest.fixture
def quantized(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A Llama of random weights in Q8_0, its norms in float32, and what it holds after quantization."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<|start|>", "<|end|>", *letters, "Ġ", "th", "the"]
    draw = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_norm": (WIDTH,),
                "attn_q": (WIDTH, WIDTH),
                "attn_k": (WIDTH, WIDTH),
                "attn_v": (WIDTH, WIDTH),
                "attn_output": (WIDTH, WIDTH),
                "ffn_norm": (WIDTH,),
                "ffn_gate": (INNER, WIDTH),
                "ffn_up": (INNER, WIDTH),
                "ffn_down": (WIDTH, INNER),
            }.items()
        }
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    held = {}
    for name, shape in shapes.items():
        values = draw.normal(size=shape).astype(np.float32)
        kind = gguf.GGMLQuantizationType.F32 if len(shape) == 1 else gguf.GGMLQuantizationType.Q8_0
        packed = gguf.quants.quantize(values, kind)
        held[name] = gguf.quants.dequantize(packed, kind)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, held


def test_weights_tokenizer_and_template_come_along(
    quantized: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    path, held = quantized
    source = ModelSource.find(str(from_gguf(path, tmp_path / "model")))
    state = source.model().state_dict()
    assert source.settings["dtype"] == "float32"
    for ours, theirs in {
        "embed_tokens": "token_embd",
        "norm": "output_norm",
        "layers.1.mlp.down_proj": "blk.1.ffn_down",
        "layers.0.self_attn.v_proj": "blk.0.attn_v",  # those of query and key are interleaved otherwise
    }.items():
        assert np.array_equal(state[f"model.{ours}.weight"].numpy(), held[theirs])
    tokenizer = source.tokenizer()
    assert tokenizer.tokenize("the") == ["the"]
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    assert torch.isfinite(source.model()(torch.tensor([[2, 3, 4]])).logits).all()


def test_a_folder_that_is_there_is_not_made_again(
    quantized: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    folder = from_gguf(quantized[0], tmp_path / "model")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    quantized[0].unlink()
    assert (from_gguf(quantized[0], folder) / "model.safetensors").stat().st_mtime_ns == before


def test_a_cut_or_missing_file_is_one_error(
    quantized: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    path, _ = quantized
    (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(HarnessError, match="cannot be read as a model"):
        from_gguf(tmp_path / "cut.gguf", tmp_path / "cut")
    with pytest.raises(HarnessError, match="no such file"):
        from_gguf(tmp_path / "none.gguf", tmp_path / "none")
    assert not (tmp_path / "cut").exists()
