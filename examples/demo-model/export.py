#!/usr/bin/env python3
"""Writes the trained checkpoint as the Q8_0 GGUF file that is built into the server, and checks both.

Run: python export.py --model build/demo-model --out mistralrs-server/demo-model/demo.gguf
Checked on conversations that were never trained: that transformers computes the same as `model.py`,
and that the rounded weights choose the same next token.
"""

import argparse
import hashlib
import json
import pathlib
import random

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file
from tokenizers import Tokenizer

from dialogues.chatml import pieces
from dialogues.exchange import draw
from dialogues.facts import fact
from dialogues.talk import json_object, memory, server
from dialogues.tools import with_tools
from model import CONFIG, Qwen2, gguf_name

HERE = pathlib.Path(__file__).parent
LICENSE = "mit"
# A small model is sure when it knows: little randomness keeps facts right and stories different.
SAMPLING = {"temp": 0.4, "top_p": 0.9}


def write(weights: dict, tokenizer: Tokenizer, out: pathlib.Path) -> dict:
    """Writes the file; returns the weights as the file holds them."""
    writer = gguf.GGUFWriter(out, "qwen2")
    writer.add_name("mistralrs demo")
    writer.add_description("A tiny chat model trained from scratch on made-up conversations: a demonstration, not an assistant.")
    writer.add_license(LICENSE)
    for key, value in SAMPLING.items():
        writer.add_float32(f"general.sampling.{key}", value)
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_rope_freq_base(CONFIG["rope_theta"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    add_vocabulary(writer, tokenizer)
    held = {}
    for name, tensor in weights.items():
        values = tensor.numpy()
        if values.ndim == 2:
            blocks = gguf.quantize(values, Type.Q8_0)
            held[name] = torch.from_numpy(gguf.dequantize(blocks, Type.Q8_0).reshape(values.shape).copy())
            writer.add_tensor(gguf_name(name), blocks, raw_dtype=Type.Q8_0)
        else:
            held[name] = tensor
            writer.add_tensor(gguf_name(name), values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    model = json.loads(tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    kinds = {token["content"]: gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED for token in model["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token, _ in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in model["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_eos_token_id(tokenizer.token_to_id("<|im_end|>"))
    writer.add_pad_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template((HERE / "template.jinja").read_text())


def reference(weights: dict) -> transformers.Qwen2ForCausalLM:
    config = transformers.Qwen2Config(**{key: value for key, value in CONFIG.items() if key not in ("architectures", "torch_dtype")})
    model = transformers.Qwen2ForCausalLM(config).eval()
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    return model


def held_out_texts(count: int):
    """Conversations that were never trained, as text."""
    rng = random.Random("export")
    for index in range(count):
        if index % 2:
            exchange = with_tools(rng, exam=True)
            yield "".join(text for text, _ in pieces(exchange.messages, exchange.tools))
        else:
            exchange = draw([fact, memory, server, json_object][index // 2 % 4], rng, exam=True)
            yield "".join(text for text, _ in pieces(exchange.messages()))


@torch.no_grad()
def compare(weights: dict, rounded: dict, tokenizer: Tokenizer) -> dict:
    ours, theirs, small = Qwen2(CONFIG).eval(), reference(weights), reference(rounded)
    ours.load_state_dict(weights)
    worst, same, total, divergence = 0.0, 0, 0, 0.0
    for text in held_out_texts(200):
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False).ids])
        plain = theirs(input_ids=ids).logits[0].log_softmax(-1)
        worst = max(worst, (ours(ids)[0].log_softmax(-1) - plain).abs().max().item())
        blocks = small(input_ids=ids).logits[0].log_softmax(-1)
        same += (plain.argmax(-1) == blocks.argmax(-1)).sum().item()
        divergence += (plain.exp() * (plain - blocks)).sum().item()
        total += ids.shape[1]
    return {"worst distance from transformers": worst, "top-1 agreement of Q8_0": same / total, "KL divergence of Q8_0": divergence / total, "tokens compared": total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("build/demo-model"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    weights = load_file(a.model / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    a.out.parent.mkdir(parents=True, exist_ok=True)
    rounded = write(weights, tokenizer, a.out)
    data = a.out.read_bytes()
    print(f"{a.out}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    for name, value in compare(weights, rounded, tokenizer).items():
        print(f"{name}: {value:.6g}")


if __name__ == "__main__":
    main()
