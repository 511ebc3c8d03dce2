#!/usr/bin/env python3
"""Times looking at a picture, from the file to the features: transformers against our server, in turn, on the CPU.

Needs: pip install torch torchvision transformers tokenizers pillow timm, and a release build of the server.
Run:   python scripts/bench_vision.py --server target/release/mistralrs-server [--towers qwen3-vl smolvlm]
       [--rounds 5] [--threads 1] [--folder FOLDER]

Towers have the widths of released ones and random weights; all but Gemma 3n's have fewer layers, which does not change
the ratio. The text half is so small that it does not count. transformers runs as it does by default (sdpa attention). Every
round is another picture of the same size, sent to ours as a request for one token, given to theirs as a file in memory.
Times are seconds of the processor over all threads, both pinned to as many processors as threads; with more than one
thread by the clock instead, for whoever waits for a thread spins. Printed: median (lowest to highest), the ratio of medians.
"""

import argparse
import base64
import http.client
import io
import json
import os
import pathlib
import re
import socket
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
from fixtures import files, gemma3_vision, gemma3n_media, idefics3, qwen_vl  # noqa: E402
from fixtures.tokenizer import write_tokenizer  # noqa: E402


class Tower:
    """A model, what prepares its pictures, and its folder."""

    def __init__(self, folder, model, processor, dtype):
        self.folder, self.processor, self.dtype = folder, processor, dtype
        self.model = model.to(dtype).eval()

    def write(self, tok, template, names=dict):
        folder, model = self.folder, self.model
        if (folder / "generation_config.json").exists():
            return
        folder.mkdir(parents=True)
        model.config.dtype = self.dtype
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        files.write_weights(model, {"dtype": self.dtype, "names": names}, folder)
        write_tokenizer(tok, folder, "jinja")
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        kind = type(self.processor).__name__
        files.dump_json(folder / "preprocessor_config.json", {**self.processor.to_dict(), "image_processor_type": kind})
        files.dump_json(folder / "generation_config.json", {"eos_token_id": 302})

    @torch.no_grad()
    def look(self, file):
        inputs = self.processor(images=[Image.open(io.BytesIO(file)).convert("RGB")], return_tensors="pt")
        grid = {"image_grid_thw": inputs["image_grid_thw"]} if "image_grid_thw" in inputs else {}
        self.model.model.get_image_features(inputs["pixel_values"].to(self.dtype), **grid)


def fill(model):
    """Numbers of about the size that trained ones have."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in files.stored_tensors(model):
            if p.dim() > 1 and "scale" not in name:
                p.copy_(torch.randn(p.shape, generator=generator) / np.sqrt(p[0].numel()))
            elif name.endswith("bias"):
                p.zero_()
    return model


def qwen(folder, dtype, kind, vision, text, processor):
    tok = qwen_vl.tokenizer_with_marks()
    ids = {s: tok.token_to_id(s) for s in qwen_vl.SPECIAL}
    text = {
        "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 308,
        "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "max_position_embeddings": 8192, "bos_token_id": 300,
        "eos_token_id": 302, "pad_token_id": 300, **text,
    }
    vision = {
        "num_heads": 16, "out_hidden_size": 64, "temporal_patch_size": 2, "spatial_merge_size": 2, "in_channels": 3, **vision,
    }
    config = getattr(transformers, kind + "Config")(
        text_config=text, vision_config=vision, tie_word_embeddings=True,
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
    )
    model = getattr(transformers, kind + "ForConditionalGeneration")(config)
    tower = Tower(folder, fill(model), transformers.Qwen2VLImageProcessor(**processor), dtype)
    tower.write(tok, qwen_vl.TEMPLATE)
    return tower


SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}}
AREAS = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}


def qwen2(folder, dtype):
    vision = {"depth": 8, "embed_dim": 1280, "hidden_size": 64, "mlp_ratio": 4, "patch_size": 14}
    return qwen(folder, dtype, "Qwen2VL", vision, SECTIONS, AREAS)


def qwen2_5(folder, dtype):
    vision = {
        "depth": 8, "hidden_size": 1280, "intermediate_size": 3420, "window_size": 112, "fullatt_block_indexes": [3, 7],
        "tokens_per_second": 2, "patch_size": 14,
    }
    return qwen(folder, dtype, "Qwen2_5_VL", vision, SECTIONS, AREAS)


def qwen3(folder, dtype):
    vision = {
        "depth": 9, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [2], "patch_size": 16,
        "num_position_embeddings": 2304, "hidden_act": "gelu_pytorch_tanh",
    }
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    half = [0.5, 0.5, 0.5]
    processor = {
        "size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16, "image_mean": half, "image_std": half,
    }
    return qwen(folder, dtype, "Qwen3VL", vision, {"head_dim": 32, "rope_parameters": rope}, processor)


def smolvlm(folder, dtype):
    fixture = idefics3
    vision = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "num_attention_heads": 12, "image_size": 512,
        "patch_size": 16,
    }
    text = {**fixture.TEXT, "hidden_size": 64, "num_hidden_layers": 1, "max_position_embeddings": 8192}
    config = transformers.SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=4, image_token_id=fixture.IMAGE, tie_word_embeddings=True,
        bos_token_id=300, eos_token_id=302,
    )
    processor = transformers.SmolVLMImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    tower = Tower(folder, fill(transformers.SmolVLMForConditionalGeneration(config)), processor, dtype)
    tower.write(fixture.with_marks(), fixture.TEMPLATE)
    files.dump_json(folder / "processor_config.json", {"image_seq_len": 64})
    return tower


def gemma3(folder, dtype):
    fixture = gemma3_vision
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 4,
        "num_attention_heads": 16, "image_size": 896, "patch_size": 14, "vision_use_head": False,
    }
    config = transformers.Gemma3Config(
        text_config={**fixture.TEXT, "max_position_embeddings": 8192}, vision_config=vision, mm_tokens_per_image=256,
        boi_token_index=fixture.BEGIN, eoi_token_index=fixture.END, image_token_index=fixture.SOFT,
        bos_token_id=300, eos_token_id=302,
    )
    processor = transformers.Gemma3ImageProcessor(size={"height": 896, "width": 896}, do_pan_and_scan=False)
    tower = Tower(folder, fill(transformers.Gemma3ForConditionalGeneration(config)), processor, dtype)
    tower.write(fixture.with_marks(None), fixture.TEMPLATE, fixture.released_names)
    return tower


def gemma3n(folder, dtype):
    fixture = gemma3n_media
    config = transformers.Gemma3nConfig(
        text_config={**fixture.TEXT, "max_position_embeddings": 8192},
        vision_config={"hidden_size": 2048, "vocab_size": 2, "vocab_offset": fixture.END_IMAGE},
        audio_config=dict(fixture.AUDIO_KEYS), vision_soft_tokens_per_image=256,
        audio_soft_tokens_per_image=fixture.SOUND_TOKENS, boi_token_id=fixture.BEGIN, eoi_token_id=fixture.END_IMAGE,
        image_token_id=fixture.IMAGE, boa_token_id=fixture.BEGIN_AUDIO, eoa_token_id=fixture.END_AUDIO,
        audio_token_id=fixture.AUDIO, bos_token_id=300, eos_token_id=302,
    )
    processor = transformers.SiglipImageProcessor(size={"height": 768, "width": 768}, resample=2, do_normalize=False)
    tower = Tower(folder, fill(transformers.Gemma3nForConditionalGeneration(config)), processor, dtype)
    tower.write(fixture.with_marks(), fixture.TEMPLATE)
    files.dump_json(folder / "processor_config.json", {"image_seq_length": 256, "audio_seq_length": fixture.SOUND_TOKENS})
    return tower


TOWERS = {
    "qwen2-vl": (qwen2, ["448x448", "1024x768"]),
    "qwen2.5-vl": (qwen2_5, ["448x448", "1024x768"]), "gemma3": (gemma3, ["896x896"]), "gemma3n": (gemma3n, ["768x768"]),
    "qwen3-vl": (qwen3, ["448x448", "1024x768"]), "smolvlm": (smolvlm, ["640x480"]),
}


def draw(width, height, number):
    """A file; with another number another picture."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([np.sin(x / (9 + c) + number) * 90 + np.cos(y / (7 + c)) * 60 + 128 for c in range(3)], -1)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


class Server:
    """Ours, on a free port, until it is closed."""

    def __init__(self, program, folder, threads, cpus):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [program, "--port", str(self.port), "--threads", str(threads), "-m", str(folder)], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
        for _ in range(1200):
            if self.is_ready():
                return
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}")
            time.sleep(0.1)
        raise SystemExit("the server did not become ready")

    def is_ready(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def look(self, file):
        url = "data:image/png;base64," + base64.b64encode(file).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}]
        body = {"model": "default", "messages": [{"role": "user", "content": content}], "max_tokens": 1}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {re.sub('base64,[^ ]*', '', text)[:500]}")

    def close(self):
        self.process.terminate()
        self.process.wait(30)


def measure(look, file, processor_time):
    clock = processor_time or time.monotonic
    start = clock()
    look(file)
    return clock() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--towers", nargs="*", choices=TOWERS, default=list(TOWERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--folder", help="where models are kept; a temporary one by default")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cpus = sorted(os.sched_getaffinity(0))[:args.threads]
    os.sched_setaffinity(0, cpus)
    with tempfile.TemporaryDirectory() as place:
        print("| tower | picture | type | threads | transformers, s | ours, s | ratio of medians |\n|---|---|---|---:|---:|---:|---:|")
        for name in args.towers:
            make, sizes = TOWERS[name]
            folder = pathlib.Path(args.folder or place) / f"{name}-{args.dtype}"
            tower = make(folder, getattr(torch, args.dtype))
            server = Server(args.server, folder, args.threads, cpus)
            try:
                for size in sizes:
                    race(args, name, size, tower, server)
            finally:
                server.close()


def race(args, name, size, tower, server):
    clocks = [time.process_time, server.cpu_seconds] if args.threads == 1 else [None, None]
    pairs = []
    for number in range(args.rounds + 1):
        file = draw(*map(int, size.split("x")), number)
        pairs.append([measure(who.look, file, clock) for who, clock in zip([tower, server], clocks)])
    figures = list(zip(*pairs[1:]))  # the first round is slower
    told = ["{:.2f} ({:.2f}–{:.2f})".format(statistics.median(x), min(x), max(x)) for x in figures]
    ratio = statistics.median(figures[0]) / statistics.median(figures[1])
    print(f"| {name} | {size} | {args.dtype} | {args.threads} | {told[0]} | {told[1]} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
