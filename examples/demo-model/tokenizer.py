#!/usr/bin/env python3
"""Trains the demo model's byte-level BPE tokenizer on its own conversations and writes tokenizer.json
beside itself. Whoever changes the grammars a little keeps the tokenizer: a new one needs a new training.

The form is Qwen2.5's (its split into words, its special tokens). One thing differs in the training: a
space is merged only with frequent words of the grammar, never with pieces of words. So an invented
name is cut into the same tokens after a space, a quote or a bracket, and copying it is easy to learn.
"""

import argparse
import collections
import json
import pathlib
import random
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from dialogues import words
from dialogues.chatml import pieces
from dialogues.mix import conversation
from dialogues.tools import NOUNS

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = ["<tool_call>", "</tool_call>"]  # added, but no control tokens: they are text that a client may see
SIZE = 2048
SPACED_WORDS = 420
SPACE = "Ġ"


def texts(count: int, seed: int):
    rng = random.Random(seed)
    for _ in range(count):
        messages, tools = conversation(rng)
        yield re.sub("|".join(map(re.escape, SPECIAL + MARKS)), "", "".join(text for text, _ in pieces(messages, tools)))


def train_words(corpus: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Merges inside words only: the split parts words from what stands before them."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"), pre_tokenizers.Split(Regex(r"\p{L}+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    size = SIZE - len(SPECIAL) - len(MARKS) - SPACED_WORDS
    bpe.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def spaced_words(corpus: list[str], vocab: dict[str, int]) -> list[str]:
    """The most frequent words after a space that are one token and never a value to copy."""
    values = set(words.THINGS + words.ANIMALS + words.COLORS + words.FOODS + words.HOBBIES + words.JOBS + NOUNS)
    counts = collections.Counter(word for text in corpus for word in re.findall(r"(?<= )[A-Za-z]+", text))
    frequent = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if word in vocab and word.lower() not in values]
    names = set(words.FIRST_NAMES)
    return [word for word in frequent if word not in names and (len(word) > 1 or word in "aI")][:SPACED_WORDS]


def build(conversations: int, seed: int) -> Tokenizer:
    corpus = list(texts(conversations, seed))
    vocab, merges = train_words(corpus)
    for word in spaced_words(corpus, vocab):
        merges.append((SPACE, word))
        vocab[SPACE + word] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKS])
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "tokenizer.json")
    parser.add_argument("--conversations", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tokenizer = build(arguments.conversations, arguments.seed)
    tokenizer.save(str(arguments.out))
    lengths = [len(tokenizer.encode(text).ids) for text in texts(1000, arguments.seed + 1)]
    print(f"{tokenizer.get_vocab_size()} tokens; a conversation has {sum(lengths) / len(lengths):.0f} on average, {max(lengths)} at most")


if __name__ == "__main__":
    main()
