#!/usr/bin/env python3
"""Makes the tiny seeded checkpoints under mistralrs-testkit/fixtures and their reference values.

Needs: pip install torch transformers tokenizers gguf numpy (CPU builds will do).
Run:   python scripts/make_fixtures.py [--out mistralrs-testkit/fixtures] [--only NAME ...]

Every model is random, but seeded: the same versions write the same bytes. The reference values
(`golden.json`, or `NAME.golden.json` beside a GGUF file) come from the transformers implementation, in
float32, from exactly the stored weights. The makers are in `fixtures/`, one module per group of families.
"""

import argparse
import pathlib

import torch

from fixtures import dense, encoders, encoders_gguf, gemma3_vision, gemma3n, gemma3n_media, idefics3, llama, matformer, minilm, mmproj, moe, qwen_vl
from fixtures.files import dump_json
from fixtures.tokenizer import EOS, tokenizer_golden, train_tokenizer

FAMILIES = [
    llama,
    dense,
    moe,
    gemma3n,
    gemma3n_media,
    matformer,
    gemma3_vision,
    idefics3,
    qwen_vl,
    mmproj,
    encoders,
    encoders_gguf,
    minilm,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = pathlib.Path(__file__).resolve().parent.parent / "mistralrs-testkit" / "fixtures"
    makers = {name: family.make for family in FAMILIES for name in family.MODELS}
    parser.add_argument("--out", type=pathlib.Path, default=default)
    parser.add_argument("--only", nargs="*", choices=sorted(makers))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tok = train_tokenizer()
    assert tok.get_vocab_size() == 303 and tok.token_to_id("<|im_end|>") == EOS, tok.get_vocab_size()
    dump_json(args.out / "tokenizer.golden.json", tokenizer_golden(tok))
    for name, make in makers.items():
        if not args.only or name in args.only:
            make(name, tok, args.out)
    for path in args.out.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main()
