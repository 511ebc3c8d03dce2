#!/usr/bin/env python3
"""Times a vision tower with its preprocessing: transformers against ours, in turn, on the CPU.

Needs: pip install torch torchvision transformers tokenizers pillow, and the release build of the example `picture`.
Run:   python scripts/bench_vision.py --picture target/release/examples/picture [--rounds 5] [--threads 1]

The model has the widths of Qwen2.5-VL-3B's tower and random weights, fewer layers, and a text half so small that it does
not count. From the file to the features, in seconds of processor time over all threads, both pinned to as many
processors as threads. Ours is a fresh program each time: what the same program takes for a picture of one token is
subtracted; it prepares the picture twice, to tell its size and to answer. Printed: median (lowest to highest), and the
ratio of medians.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import transformers
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from fixtures import files, qwen_vl  # noqa: E402
from fixtures.tokenizer import write_tokenizer  # noqa: E402

VISION = {
    "depth": 8, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 64,
    "window_size": 112, "fullatt_block_indexes": [3, 7], "tokens_per_second": 2, "patch_size": 14,
    "temporal_patch_size": 2, "spatial_merge_size": 2, "in_channels": 3,
}
TEXT = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
}
PROCESSOR = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}


def make_model(folder, dtype):
    tok = qwen_vl.tokenizer_with_marks()
    spec = {"class": "Qwen2_5_VL", "text": TEXT, "vision": VISION, "tied": True}
    model = qwen_vl.new_model(spec, 1, tok)
    processor = transformers.Qwen2VLImageProcessor(**PROCESSOR)
    model.config.dtype = dtype
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    files.write_weights(model, {"dtype": dtype}, folder)
    write_tokenizer(tok, folder, "jinja")
    (folder / "chat_template.jinja").write_text(qwen_vl.TEMPLATE, encoding="utf-8")
    files.dump_json(folder / "processor_config.json", {"image_processor": processor.to_dict()})
    files.dump_json(folder / "generation_config.json", {"eos_token_id": 302})
    return model.to(dtype), processor


def draw(path, width, height):
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([np.sin(x / (9 + c)) * 90 + np.cos(y / (7 + c)) * 60 + 128 for c in range(3)], -1)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@torch.no_grad()
def theirs(model, processor, path, dtype):
    start = time.process_time()
    inputs = processor(images=[Image.open(path).convert("RGB")], return_tensors="pt")
    model.model.get_image_features(inputs["pixel_values"].to(dtype), inputs["image_grid_thw"])
    return time.process_time() - start


def ours(program, folder, path, threads):
    """Seconds of processor time of one run of the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [program, str(folder), str(path)], capture_output=True, check=True, timeout=600,
        env={**os.environ, "RAYON_NUM_THREADS": str(threads)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--picture", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--sizes", nargs="*", default=["448x448", "1024x768"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:args.threads])
    dtype = getattr(torch, args.dtype)
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "model").mkdir()
        model, processor = make_model(place / "model", dtype)
        smallest = place / "smallest.png"
        draw(smallest, 56, 56)
        for size in args.sizes:
            path = place / f"{size}.png"
            draw(path, *map(int, size.split("x")))
            theirs(model, processor, path, dtype)  # the first is slower
            pairs = []
            for _ in range(args.rounds):
                first = theirs(model, processor, path, dtype)
                without = ours(args.picture, place / "model", smallest, args.threads)
                pairs.append((first, ours(args.picture, place / "model", path, args.threads) - without))
            a, b = ([pair[who] for pair in pairs] for who in (0, 1))
            told = ["{:.2f} ({:.2f}–{:.2f})".format(statistics.median(x), min(x), max(x)) for x in (a, b)]
            ratio = statistics.median(a) / statistics.median(b)
            print(f"{size} {args.dtype}: transformers {told[0]} s, ours {told[1]} s, ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
