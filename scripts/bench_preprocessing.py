#!/usr/bin/env python3
"""Preparing pictures for an encoder: ours and transformers', in turn, on the same pictures.

    python scripts/bench_preprocessing.py TEST_BINARY [ROUNDS] [THREADS]

TEST_BINARY is what `cargo test --release -p mistralrs-vision --test it --no-run` names. Each round is a
fresh process of ours and one of transformers, both on the same processor; a round's figure is the median of
nine runs, in processor time over all threads. From the decoded picture to the tensor that the encoder reads. Needs transformers 5 with torchvision and Pillow.
"""

import os
import re
import statistics
import subprocess
import sys

REFERENCE = """
import sys, time, statistics, pathlib
import torch
sys.path.insert(0, str(pathlib.Path(sys.argv[1])))
torch.set_num_threads(int(sys.argv[2]))
from make_vision_goldens import drawn, Qwen2VLImageProcessor, Gemma3ImageProcessor, Idefics3ImageProcessor, SiglipImageProcessor
half = [0.5, 0.5, 0.5]
recipes = {
    "qwen2": Qwen2VLImageProcessor(min_pixels=3136, max_pixels=12845056),
    "qwen3": Qwen2VLImageProcessor(
        size={"shortest_edge": 65536, "longest_edge": 16777216}, patch_size=16, image_mean=half, image_std=half),
    "gemma3": Gemma3ImageProcessor(size={"height": 896, "width": 896}, resample=2),
    "gemma3n": SiglipImageProcessor(size={"height": 768, "width": 768}, resample=2, do_normalize=False),
    "smolvlm": Idefics3ImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}),
}
for name, processor in recipes.items():
    for size in [(640, 480), (1920, 1080)]:
        picture = drawn(*size)
        times = []
        for _ in range(9):
            start = time.process_time()
            processor(images=[picture], return_tensors="pt")
            times.append((time.process_time() - start) * 1e3)
        times.sort()
        print(name, f"{size[0]}x{size[1]}", f"{times[4]:.2f} {times[0]:.2f} {times[8]:.2f}")
"""


def rows(command, threads):
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    cpus = sorted(os.sched_getaffinity(0))[:int(threads)]
    run = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    # The test's name stands before our first row, on the same line.
    found = re.findall(r"(qwen2|qwen3|gemma3|gemma3n|smolvlm) (\d+x\d+) ([\d.]+)", run.stdout)
    return {(recipe, size): float(median) for recipe, size, median in found}


def main():
    binary = os.path.abspath(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    threads = sys.argv[3] if len(sys.argv) > 3 else "1"
    here = os.path.dirname(os.path.abspath(__file__))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(rows([binary, "preprocessing_speed", "--ignored", "--nocapture"], threads))
        theirs.append(rows([sys.executable, "-c", REFERENCE, here, threads], threads))
    print("| recipe | picture | ours, ms | transformers, ms | ratio of medians |")
    print("|---|---|---:|---:|---:|")
    for key in ours[0]:
        figures = [sorted(run[key] for run in runs) for runs in (ours, theirs)]
        medians = [statistics.median(times) for times in figures]
        cells = [f"{m:.1f} ({t[0]:.1f}–{t[-1]:.1f})" for m, t in zip(medians, figures)]
        print(f"| {key[0]} | {key[1]} | {cells[0]} | {cells[1]} | {medians[1] / medians[0]:.1f} |")


if __name__ == "__main__":
    main()
