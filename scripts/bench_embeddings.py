#!/usr/bin/env python3
"""Embeddings per second, ours against sentence-transformers, on the same folder with the same number of threads.

    bench_embeddings.py PROGRAM MODEL_FOLDER [--threads 1] [--rounds 5] [--texts 256]

Needs sentence-transformers. PROGRAM is the example `embeddings`, as `cargo build --release --example embeddings`
leaves it. Both are started once and asked in turn; a round is all texts once. What counts is CPU time, user and
system, of all threads of each: a shared machine stretches wall time. sentence-transformers is called in this
process, in batches of 32 sorted by length as it does by default.
"""

import argparse
import os
import pathlib
import random
import re
import statistics
import subprocess
import time

WORDS = (
    "the old lighthouse keeper counted ships that passed in night there were seven of them and then rain came she "
    "said river would rise before morning it did children planted beans garden rows seeds each small engine reads "
    "words thinks for moment answers tokens are numbers cheap meaning is order"
).split()
LENGTHS = {"short": (4, 16), "mixed": (4, 180), "long": (140, 180)}


def texts(kind, count):
    """Words in random order: speed does not depend on what they say."""
    rng = random.Random(7)
    low, high = LENGTHS[kind]
    return [" ".join(rng.choices(WORDS, k=rng.randint(low, high))) + "." for _ in range(count)]


class Ours:
    def __init__(self, binary, folder):
        self.process = subprocess.Popen([binary, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def encode(self, batch):
        self.process.stdin.write("\n".join(batch) + "\n\n")
        self.process.stdin.flush()
        return int(re.search(r"(\d+) tokens", self.process.stdout.readline())[1])

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Theirs:
    def __init__(self, folder, threads):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self.model = SentenceTransformer(folder, device="cpu")

    def cpu_seconds(self):
        return time.process_time()

    def encode(self, batch):
        self.model.encode(batch, batch_size=32)


def measure(program, batch):
    before, start = program.cpu_seconds(), time.monotonic()
    program.encode(batch)
    return program.cpu_seconds() - before, time.monotonic() - start


def shown(numbers):
    return f"{statistics.median(numbers):.1f} ({min(numbers):.1f}–{max(numbers):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=256)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    theirs, ours = Theirs(args.folder, args.threads), Ours(args.program, args.folder)
    try:
        print("| texts | tokens | ours, texts per CPU second | sentence-transformers | ratio of medians |\n|---|---:|---:|---:|---:|")
        for kind in LENGTHS:
            batch = texts(kind, args.texts)
            tokens = ours.encode(batch)
            theirs.encode(batch)
            rates = {ours: [], theirs: []}
            for _ in range(args.rounds):
                for program in rates:
                    cpu, _wall = measure(program, batch)
                    rates[program].append(len(batch) / cpu)
            ratio = statistics.median(rates[ours]) / statistics.median(rates[theirs])
            print(f"| {kind} | {tokens} | {shown(rates[ours])} | {shown(rates[theirs])} | {ratio:.2f} |", flush=True)
    finally:
        ours.end()


if __name__ == "__main__":
    main()
