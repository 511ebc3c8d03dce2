#!/usr/bin/env python3
"""Makes the tiny seeded checkpoints under mistralrs-testkit/fixtures and their reference values.

Needs: pip install torch transformers tokenizers gguf numpy (CPU builds will do).
Run:   python scripts/make_fixtures.py [--out mistralrs-testkit/fixtures] [--only NAME ...]

Every model is random, but seeded: the same versions write the same bytes. The reference values
(`golden.json`, or `NAME.golden.json` beside a GGUF file) are natural-log probabilities from the
transformers implementation, in float32, from exactly the stored weights: for a 40- and a 7-token
prompt the next token of every prompt position, then 24 greedy steps, each with the five best.
The greedy steps recompute the whole sequence without a cache: slow and obvious.
"""

import argparse
import json
import math
import pathlib
import shutil

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from gguf import GGMLQuantizationType as GT
from safetensors.torch import save_file

MODEL_VOCAB = 308  # larger than the tokenizer's, as in real Qwen checkpoints
GREEDY_STEPS = 24
MIN_MARGIN = 0.02  # between the best and the second at each greedy step: an argmax worth testing

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CORPUS = [
    "The old lighthouse keeper counted the ships that passed in the night.",
    "There were seven of them, and then the rain came and there were none.",
    "A small engine reads the words, thinks for a moment, and answers.",
    "She said that the river would rise before the morning, and it did.",
    "Tokens are numbers; numbers are cheap; the meaning is in the order of them.",
    "In the garden the children planted beans, 12 rows of 34 seeds each.",
]
TOKENIZER_TEXTS = [
    "The lighthouse keeper answers.",
    "  two  spaces, a\ttab\r\nand 1234 numbers",
    "Grüße aus Köln, 日本語のテスト, مرحبا, 🦀🚀 e\u0301",
    "<|im_start|>user\nhello<|im_end|>\n",
    "I'll say it's DON'T and we'Ve\n\n\n  done",
    "",
]
CONVERSATIONS = [
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which ship?"},
        {"role": "assistant", "content": "The seventh."},
        {"role": "user", "content": "Grüße 🦀"},
    ],
]


# ---- tokenizer -------------------------------------------------------------------------------


def train_tokenizer():
    """A byte-level BPE in the form Qwen2 uses: 256 bytes, a few merges, three special tokens."""
    tok = tokenizers.Tokenizer(tokenizers.models.BPE())
    tok.normalizer = tokenizers.normalizers.NFC()
    tok.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(SPLIT), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tok.train_from_iterator(CORPUS * 3, trainer)
    tok.add_special_tokens([tokenizers.AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    return tok


def write_tokenizer(tok, folder, template_place):
    """`template_place`: where the chat template goes, one of its three places."""
    tok.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 256,
        "added_tokens_decoder": {
            str(tok.token_to_id(s)): {
                "content": s, "lstrip": False, "normalized": False, "rstrip": False,
                "single_word": False, "special": True,
            }
            for s in SPECIAL
        },
    }
    if template_place == "tokenizer_config":
        config["chat_template"] = CHAT_TEMPLATE
    elif template_place == "jinja":
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    elif template_place == "json":
        dump_json(folder / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    else:
        raise ValueError(template_place)
    dump_json(folder / "tokenizer_config.json", config)


def tokenizer_golden(tok):
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tok, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return {
        "made_with": versions(),
        "encodings": [
            {"text": t, "ids": tok.encode(t, add_special_tokens=False).ids} for t in TOKENIZER_TEXTS
        ],
        "conversations": [
            {
                "messages": c,
                "rendered": fast.apply_chat_template(c, tokenize=False, add_generation_prompt=True),
            }
            for c in CONVERSATIONS
        ],
    }


# ---- models ----------------------------------------------------------------------------------

COMMON = {
    "vocab_size": MODEL_VOCAB, "max_position_embeddings": 256, "hidden_act": "silu",
    "attention_dropout": 0.0, "use_cache": True,
}
# name -> (class, config, stored dtype, place of the chat template, shards, seed)
MODELS = {
    "llama-plain": {
        "class": "Llama", "dtype": torch.bfloat16, "template": "tokenizer_config", "shards": 1, "seed": 11,
        "config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 12, "rms_norm_eps": 3e-5, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    },
    "llama-rope-llama3": {
        "class": "Llama", "dtype": torch.bfloat16, "template": "jinja", "shards": 1, "seed": 12,
        "config": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
            },
        },
    },
    "llama-rope-linear": {
        "class": "Llama", "dtype": torch.float16, "template": "json", "shards": 1, "seed": 13,
        "config": {
            "hidden_size": 42, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
            "num_key_value_heads": 1, "head_dim": 12, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0},
        },
    },
    "qwen2-tied": {
        "class": "Qwen2", "dtype": torch.bfloat16, "template": "tokenizer_config", "shards": 1, "seed": 14,
        "config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
            "use_sliding_window": False, "sliding_window": None, "max_window_layers": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        },
    },
    "qwen2-untied": {
        "class": "Qwen2", "dtype": torch.bfloat16, "template": "tokenizer_config", "shards": 3, "seed": 15,
        "config": {
            "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "rms_norm_eps": 2e-6, "tie_word_embeddings": False,
            "use_sliding_window": False, "sliding_window": None, "max_window_layers": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        },
    },
    # GGUF only: rows of 256 for the k-quants, of 32 for the rest.
    "llama-mixed": {
        "class": "Llama", "dtype": torch.float32, "seed": 16, "gguf_only": True,
        "config": {
            "hidden_size": 256, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    },
}
MIXED_TYPES = {
    "token_embd.weight": GT.Q2_K,
    "blk.0.attn_q.weight": GT.Q3_K, "blk.0.attn_k.weight": GT.Q4_K, "blk.0.attn_v.weight": GT.Q5_K,
    "blk.0.attn_output.weight": GT.Q4_0, "blk.0.ffn_gate.weight": GT.Q6_K, "blk.0.ffn_up.weight": GT.Q4_K,
    "blk.0.ffn_down.weight": GT.Q4_1,
    "blk.1.attn_q.weight": GT.Q4_K, "blk.1.attn_k.weight": GT.F16, "blk.1.attn_v.weight": GT.Q6_K,
    "blk.1.attn_output.weight": GT.Q5_0, "blk.1.ffn_gate.weight": GT.Q2_K, "blk.1.ffn_up.weight": GT.Q8_0,
    "blk.1.ffn_down.weight": GT.Q5_1,
}


def new_model(spec, seed):
    config_class = getattr(transformers, spec["class"] + "Config")
    model_class = getattr(transformers, spec["class"] + "ForCausalLM")
    eos = 302
    config = config_class(**COMMON, **spec["config"], bos_token_id=300, eos_token_id=eos, pad_token_id=300)
    config._attn_implementation = "eager"
    model = model_class(config).to(torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("norm.weight"):
                p.copy_(1.0 + 0.2 * noise)
            elif name.endswith(".bias"):
                p.copy_(0.5 * noise)
            elif "embed_tokens" in name or "lm_head" in name:
                p.copy_(noise * 3.0 / math.sqrt(p.shape[-1]))
            else:
                p.copy_(noise * 1.8 / math.sqrt(p.shape[-1]))
            p.copy_(p.to(spec["dtype"]).to(torch.float32))  # exactly what will be stored
    return model


@torch.no_grad()
def log_probs(model, ids):
    """[tokens, vocab] of a whole sequence, no cache."""
    return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)


def step(row, token):
    top = torch.topk(row, 5)
    return {
        "token": token,
        "logprob": round(row[token].item(), 6),
        "top": [[i, round(v, 6)] for i, v in zip(top.indices.tolist(), top.values.tolist())],
    }


def golden_case(model, prompt):
    rows = log_probs(model, prompt)
    prompt_logprobs = [step(rows[i], prompt[i + 1]) for i in range(len(prompt) - 1)]
    ids, greedy = list(prompt), []
    for _ in range(GREEDY_STEPS):
        row = log_probs(model, ids)[-1]
        best = torch.topk(row, 2)
        if (best.values[0] - best.values[1]).item() < MIN_MARGIN or best.indices[0].item() in (300, 302):
            return None  # a near tie or an end of text: another seed makes a better test
        token = best.indices[0].item()
        greedy.append(step(row, token))
        ids.append(token)
    return {"prompt": prompt, "prompt_logprobs": prompt_logprobs, "greedy": greedy}


def golden(model, prompts, weights):
    cases = [golden_case(model, p) for p in prompts]
    if any(c is None for c in cases) or any(len({s["token"] for s in c["greedy"]}) < 4 for c in cases):
        return None
    return {"made_with": versions(), "weights": weights, "cases": cases}


def versions():
    return {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}


def dump_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def dump_golden(path, value):
    """One step per line: small, and diffs stay readable."""
    def line(s):
        return "    " + json.dumps(s, separators=(",", ":"))
    cases = []
    for c in value["cases"]:
        parts = [f'   "prompt": {json.dumps(c["prompt"])}']
        for key in ("prompt_logprobs", "greedy"):
            parts.append(f'   "{key}": [\n' + ",\n".join(map(line, c[key])) + "\n   ]")
        cases.append("  {\n" + ",\n".join(parts) + "\n  }")
    head = "".join(f' "{k}": {json.dumps(value[k])},\n' for k in ("made_with", "weights"))
    path.write_text("{\n" + head + ' "cases": [\n' + ",\n".join(cases) + "\n ]\n}\n", encoding="utf-8")


# ---- Hugging Face folders --------------------------------------------------------------------


def old_spelling(config):
    """What transformers 4 wrote: `torch_dtype`, `rope_theta` and `rope_scaling` at the top."""
    old = dict(config)
    old["torch_dtype"] = old.pop("dtype")
    rope = dict(old.pop("rope_parameters"))
    old["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    old["rope_scaling"] = None
    if kind == "linear":
        old["rope_scaling"] = {"type": "linear", **rope}  # the oldest key
    elif kind != "default":
        old["rope_scaling"] = {"rope_type": kind, **rope}
    old["transformers_version"] = "4.46.0"
    return old


def write_weights(model, spec, folder):
    tensors = {
        n: p.detach().to(spec["dtype"]).contiguous()
        for n, p in model.named_parameters()  # a tied head is not a parameter of its own
    }
    if spec["shards"] == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, count = sorted(tensors), spec["shards"]
    weight_map = {}
    for s in range(count):
        file = f"model-{s + 1:05}-of-{count:05}.safetensors"
        part = {n: tensors[n] for n in names[s::count]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    dump_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    )


def write_folder(name, spec, model, tok, out):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.config.dtype = spec["dtype"]
    model.config.architectures = [spec["class"] + "ForCausalLM"]
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    dump_json(folder / "config.old.json", old_spelling(config))
    write_weights(model, spec, folder)
    write_tokenizer(tok, folder, spec["template"])
    generation = {"bos_token_id": 300, "eos_token_id": 302}
    if name == "qwen2-untied":  # lists and sampling defaults, as real instruction models have
        generation = {
            "bos_token_id": 300, "eos_token_id": [302, 300], "do_sample": True,
            "temperature": 0.7, "top_p": 0.8, "top_k": 20,
        }
    dump_json(folder / "generation_config.json", generation)
    return folder


# ---- GGUF ------------------------------------------------------------------------------------

GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
GGUF_PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    if name in GGUF_NAMES:
        return GGUF_NAMES[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{GGUF_PARTS[part]}.{kind}"


def interleave(rows, heads):
    """GGUF's Llama keeps q and k rows so that rotation pairs are neighbours: (half, pair) -> (pair, half)."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def to_gguf_rows(config, arch, name, array):
    if arch == "llama" and ".attn_q." in name:
        return interleave(array, config.num_attention_heads)
    if arch == "llama" and ".attn_k." in name:
        return interleave(array, config.num_key_value_heads)
    return array


def from_gguf_rows(config, arch, name, array):
    heads = {".attn_q.": config.num_attention_heads, ".attn_k.": config.num_key_value_heads}
    for key, n in heads.items():
        if arch == "llama" and key in name:
            return array.reshape(n, array.shape[0] // n // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)
    return array


def random_k_blocks(rng, ty, rows, cols):
    """Valid blocks of a k-quant type: random codes, small scales. The PyPI package reads
    these types but does not write them; what the bytes mean is what it reads."""
    _, size = gguf.GGML_QUANT_SIZES[ty]
    blocks = rng.integers(0, 256, (rows * cols // 256, size), dtype=np.uint8)
    # where the half-precision scales stand inside a block
    places = {GT.Q2_K: (80, 82), GT.Q3_K: (108,), GT.Q4_K: (0, 2), GT.Q5_K: (0, 2), GT.Q6_K: (208,)}[ty]
    for place in places:
        blocks[:, place : place + 2] = np.ones((len(blocks), 1), np.float16).view(np.uint8)
    unit = gguf.dequantize(blocks, ty)
    target = 1.8 / math.sqrt(cols) / unit.std()
    for place in places:
        scale = (target * rng.uniform(0.7, 1.3, (len(blocks), 1))).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8)
    return blocks.reshape(rows, -1)


def pick_type(wanted, name, shape):
    if len(shape) == 1:
        return GT.F32
    ty = wanted[name] if isinstance(wanted, dict) else wanted
    block, _ = gguf.GGML_QUANT_SIZES[ty]
    return ty if shape[-1] % block == 0 else GT.F16  # a row that does not divide stays half precision


def encode_tensors(model, arch, wanted, rng):
    """name -> (type, stored array), and writes what the stored bytes mean back into the model."""
    stored, k_types = {}, (GT.Q2_K, GT.Q3_K, GT.Q4_K, GT.Q5_K, GT.Q6_K)
    with torch.no_grad():
        for hf_name, p in model.named_parameters():
            name = gguf_name(hf_name)
            array = to_gguf_rows(model.config, arch, name, p.detach().numpy())
            ty = pick_type(wanted, name, array.shape)
            data = random_k_blocks(rng, ty, *array.shape) if ty in k_types else gguf.quantize(array, ty)
            stored[name] = (ty, data)
            back = from_gguf_rows(model.config, arch, name, gguf.dequantize(data, ty))
            p.copy_(torch.from_numpy(np.ascontiguousarray(back)))
    return stored


def add_tokenizer(writer, tok):
    tokens = [tok.id_to_token(i) or f"[PAD{i}]" for i in range(MODEL_VOCAB)]
    special = {tok.token_to_id(s) for s in SPECIAL}
    kinds = [
        gguf.TokenType.CONTROL if i in special
        else gguf.TokenType.NORMAL if tok.id_to_token(i) is not None
        else gguf.TokenType.UNUSED
        for i in range(MODEL_VOCAB)
    ]
    merges = json.loads(tok.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(k) for k in kinds])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_eos_token_id(302)
    writer.add_pad_token_id(300)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def rope_divisors(config):
    """llama3 rope scaling as GGUF keeps it: one divisor per rotation pair."""
    rope, dim = config.rope_parameters, config.head_dim
    divisors = []
    for i in range(dim // 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (2 * i / dim)
        turns = rope["original_max_position_embeddings"] / wave
        smooth = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        smooth = min(max(smooth, 0.0), 1.0)
        divisors.append(1.0 / ((1.0 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def write_gguf(path, model, tok, wanted, seed=0):
    """Leaves the model with the weights that the file holds."""
    config = model.config
    arch = config.model_type
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_name(path.stem)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if arch == "llama":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_vocab_size(MODEL_VOCAB)
    add_tokenizer(writer, tok)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config))
    for name, (ty, data) in encode_tensors(model, arch, wanted, np.random.default_rng(seed)).items():
        writer.add_tensor(name, data, raw_dtype=ty)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# name of the file -> (model it is a twin of, stored types, whether the values differ from the twin's)
GGUF_FILES = {
    "llama-plain-f32": ("llama-plain", GT.F32, False),
    "llama-plain-q8_0": ("llama-plain", GT.Q8_0, True),
    "llama-rope-llama3-bf16": ("llama-rope-llama3", GT.BF16, False),
    "qwen2-tied-f32": ("qwen2-tied", GT.F32, False),
    "qwen2-tied-q8_0": ("qwen2-tied", GT.Q8_0, True),
    "llama-mixed": ("llama-mixed", MIXED_TYPES, True),
}


def make(name, spec, tok, prompts, out):
    for seed in range(spec["seed"] * 1000, spec["seed"] * 1000 + 1000):
        if try_seed(name, spec, tok, prompts, out, seed):
            print(f"{name}: seed {seed}")
            return
    raise SystemExit(f"{name}: no seed gives clear greedy steps")


def try_seed(name, spec, tok, prompts, out, seed):
    twins = {k: v for k, v in GGUF_FILES.items() if v[0] == name}
    found = {}
    if not spec.get("gguf_only"):
        model = new_model(spec, seed)
        found[name] = golden(model, prompts, f"stored as {spec['dtype']}, computed in float32")
        if found[name] is None:
            return False
        write_folder(name, spec, model, tok, out)
        dump_golden(out / name / "golden.json", found[name])
    for file, (_, wanted, differs) in twins.items():
        model = new_model(spec, seed)
        write_gguf(out / f"{file}.gguf", model, tok, wanted, seed)
        found[file] = golden(model, prompts, "dequantised as the gguf package does, computed in float32")
        if found[file] is None:
            return False
        if differs:
            dump_golden(out / f"{file}.golden.json", found[file])
        else:
            assert found[file]["cases"] == found[name]["cases"], file
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = pathlib.Path(__file__).resolve().parent.parent / "mistralrs-testkit" / "fixtures"
    parser.add_argument("--out", type=pathlib.Path, default=default)
    parser.add_argument("--only", nargs="*", choices=sorted(MODELS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tok = train_tokenizer()
    assert tok.get_vocab_size() == 303 and tok.token_to_id("<|im_end|>") == 302, tok.get_vocab_size()
    dump_json(args.out / "tokenizer.golden.json", tokenizer_golden(tok))
    text = "The keeper said 7 ships: Grüße! " + " ".join(CORPUS)
    prompts = [tok.encode(text).ids[:40], tok.encode("A small river of 日").ids[:7]]
    assert list(map(len, prompts)) == [40, 7]
    for name, spec in MODELS.items():
        if not args.only or name in args.only:
            make(name, spec, tok, prompts, args.out)
    for path in args.out.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main()
