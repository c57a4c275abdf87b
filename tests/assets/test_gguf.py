"""A tiny GGUF model, written here with weights that are known, becomes a folder that transformers
loads."""

from pathlib import Path

import numpy as np
import pytest

from dualrec.assets.gguf import gguf_to_folder
from dualrec.errors import AssetError

pytestmark = pytest.mark.timeout(120)  # importing torch and transformers takes most of it

WIDTH, INNER, HEADS = 32, 64, 2
WORDS = ["<unk>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "ab", "Ġ"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"


def write_gguf(path: Path, chat_template: str | None) -> np.ndarray:
    """Write a llama of one layer and return its embeddings."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    if chat_template:
        writer.add_chat_template(chat_template)
    random = np.random.default_rng(0)
    shapes = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (WIDTH, WIDTH),
        "attn_v": (WIDTH, WIDTH),
        "attn_output": (WIDTH, WIDTH),
    }
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    embeddings = random.normal(size=(len(WORDS), WIDTH)).astype(np.float32)
    writer.add_tensor("token_embd.weight", embeddings)
    for name, shape in shapes.items():
        writer.add_tensor(f"blk.0.{name}.weight", random.normal(size=shape).astype(np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return embeddings


def test_the_folder_loads_as_plain_bfloat16_with_the_weights_and_the_chat_template(
    tmp_path: Path,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    embeddings = write_gguf(tmp_path / "tiny.gguf", TEMPLATE)
    gguf_to_folder(tmp_path / "tiny.gguf", tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.gguf", "model"}
    assert {path.suffix for path in (tmp_path / "model").iterdir()} <= {
        ".json",
        ".safetensors",
        ".jinja",
    }
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert model.dtype == torch.bfloat16
    assert not hasattr(model.config, "quantization_config")
    assert torch.equal(
        model.state_dict()["model.embed_tokens.weight"],
        torch.from_numpy(embeddings).to(torch.bfloat16),
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "abc"}], return_dict=False
    ) == [WORDS.index(word) for word in ("<|im_start|>", "ab", "c", "<|im_end|>")]


def test_a_model_without_a_chat_template_or_no_model_at_all_is_refused_and_nothing_stays(
    tmp_path: Path,
) -> None:
    write_gguf(tmp_path / "plain.gguf", None)
    (tmp_path / "junk.gguf").write_bytes(b"GGUF" + b"junk" * 100)
    for name, reason in {
        "plain": "no chat template",
        "junk": "cannot be turned into a model folder",
    }.items():
        with pytest.raises(AssetError, match=rf"{name}\.gguf.*{reason}"):
            gguf_to_folder(tmp_path / f"{name}.gguf", tmp_path / "model")
        assert {path.name for path in tmp_path.iterdir()} == {"plain.gguf", "junk.gguf"}
