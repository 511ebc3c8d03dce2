#!/usr/bin/env python3
"""Trains the demo model on conversations made up as it goes, for a given time, and writes a standard Qwen2 checkpoint.

Run: python train.py --seconds 480 --out build/demo-model
Conversations are made by processes of their own while the GPU (or the processor) learns; if they are too slow, earlier batches are
learnt again. The learning rate follows the clock, so the same command on a faster machine sees more of them. The weights
are written once a minute; `--start-from` begins with such a file.
"""

import argparse
import bisect
import json
import multiprocessing
import os
import pathlib
import queue
import random
import sys
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from dialogues import words
from dialogues.chatml import pieces
from dialogues.mix import conversation
from model import CONFIG, Qwen2
from optimizer import Optimizer

HERE = pathlib.Path(__file__).parent
PROMPT_SHARE = 16  # one prompt token in so many is learnt too
CONTEXT = CONFIG["max_position_embeddings"]
WIDTHS = [48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, CONTEXT]  # rows are padded to one of these
IGNORED = -100
WARM, FLAT = 0.02, 0.35  # shares of the time: until the full rate, and until it begins to fall to zero
SAVE_SECONDS = 60


def encode(tokenizer: Tokenizer, rng: random.Random) -> tuple[list[int], list[bool]]:
    """One conversation as tokens, and for each whether it is to be learnt."""
    parts = pieces(*conversation(rng))
    encoded = tokenizer.encode_batch_fast([text for text, _ in parts], add_special_tokens=False)
    tokens, learnt = [], []
    for (_, by_assistant), part in zip(parts, encoded):
        ids = part.ids
        tokens += ids
        learnt += [True] * len(ids) if by_assistant else [rng.random() * PROMPT_SHARE < 1 for _ in ids]
    return tokens[: CONTEXT + 1], learnt[: CONTEXT + 1]


class Conversations(torch.utils.data.IterableDataset):
    """Batches without end, other ones in each worker: tokens `[rows, width + 1]` and whether each after the first is learnt `[rows, width]`.
    There is one shape for each width, of at most `size` tokens."""

    def __init__(self, seed: int, size: int):
        self.seed, self.size = seed, size

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(f"{self.seed}/{worker.id if worker else 0}")
        tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
        words.learn_pieces(tokenizer.get_vocab())
        waiting: dict[int, list] = {width: [] for width in WIDTHS}
        while True:
            row = encode(tokenizer, rng)
            width = WIDTHS[bisect.bisect_left(WIDTHS, len(row[0]) - 1)]
            waiting[width].append(row)
            if len(waiting[width]) == self.size // width:
                yield batch(waiting[width], width)
                waiting[width] = []


def batch(rows: list[tuple[list[int], list[bool]]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens, learnt = np.zeros((len(rows), width + 1), np.int16), np.zeros((len(rows), width), bool)
    for index, (ids, wanted) in enumerate(rows):
        tokens[index, : len(ids)], learnt[index, : len(ids) - 1] = ids, wanted[1:]
    return torch.from_numpy(tokens), torch.from_numpy(learnt)


class Stream:
    """Batches on the device: a new one if the workers have it ready, else one of those that were learnt."""

    def __init__(self, a: argparse.Namespace):
        loader = torch.utils.data.DataLoader(Conversations(a.seed, a.batch), batch_size=None, num_workers=a.workers, prefetch_factor=8, in_order=False)
        self.device, self.rng, self.again = a.device, random.Random(a.seed), 0
        self.learnt: list = []
        self.ready: queue.Queue = queue.Queue(maxsize=64)
        self.made = iter(loader)  # the workers are forked here, before there are threads

    def begin(self) -> None:
        threading.Thread(target=self.fill, daemon=True).start()

    def fill(self) -> None:
        side = torch.cuda.Stream() if self.device == "cuda" else None
        for parts in self.made:
            with torch.cuda.stream(side):
                parts = tuple(part.to(self.device) for part in parts)
            if side:
                side.synchronize()
            self.ready.put(parts)

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            self.learnt.append(self.ready.get(block=len(self.learnt) < 100))
            return self.learnt[-1]
        except queue.Empty:
            self.again += 1
            return self.rng.choice(self.learnt)


class Learner:
    """Adds the gradient of a batch to the gradients that are there. On a GPU the kernels of each shape are recorded once and then
    replayed: to launch them one by one takes longer than they run."""

    def __init__(self, model: Qwen2, a: argparse.Namespace):
        self.model, self.parameters, self.a = model, list(model.parameters()), a
        self.scale, self.loss = torch.ones((), device=a.device), torch.zeros((), device=a.device)
        self.graphs: dict = {}
        self.pool = None
        self.head = summed_loss
        if a.compile:
            self.head = torch.compile(summed_loss, dynamic=True)
            for layer in model.model.layers:
                layer.compile(dynamic=True)

    def add(self, tokens, learnt) -> None:
        labels = torch.where(learnt, tokens[:, 1:].long(), IGNORED)
        with torch.autocast(self.a.device, torch.bfloat16, enabled=self.a.device == "cuda", cache_enabled=False):
            logits = self.model(tokens[:, :-1].long())
        loss = self.head(logits.flatten(0, 1), labels.flatten()) * self.scale
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            torch._foreach_add_([parameter.grad for parameter in self.parameters], gradients)
            self.loss += loss

    def record(self, width: int) -> None:
        """Records the kernels for a shape. Adds to the gradients: done before the training."""
        rows = self.a.batch // width
        held = torch.zeros(rows, width + 1, dtype=torch.int16, device="cuda"), torch.ones(rows, width, dtype=torch.bool, device="cuda")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.add(*held)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            self.add(*held)
        self.pool, self.graphs[width] = graph.pool(), (graph, held)

    def learn(self, tokens, learnt) -> None:
        recorded = self.graphs.get(learnt.shape[1])
        if recorded is None:
            self.add(tokens, learnt)
            return
        graph, held = recorded
        held[0].copy_(tokens)
        held[1].copy_(learnt)
        graph.replay()


def summed_loss(logits, labels) -> torch.Tensor:
    return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")


def rate(done: float) -> float:
    """The share of the full learning rate when the share `done` of the time has passed."""
    return min(1.0, (done + 1e-4) / WARM, max(0.0, 1 - done) / (1 - FLAT))


class Training:
    """The model, its optimizer, and the clock."""

    def __init__(self, a: argparse.Namespace):
        self.a, self.stream = a, Stream(a)
        self.model = Qwen2().to(a.device)
        if a.start_from:
            self.model.load_state_dict(load_file(a.start_from))
        self.optimizer = Optimizer(self.model, *a.rates)
        self.learner = Learner(self.model, a)
        if a.device == "cuda" and a.graphs:
            for width in WIDTHS:
                self.learner.record(width)
            torch._foreach_zero_([*self.optimizer.gradients, self.learner.loss])
        self.stream.begin()
        self.seen = self.steps = 0

    def one_step(self, done: float) -> None:
        """Learns some batches at once: by the mean loss of their learnt tokens."""
        parts = [self.stream.next() for _ in range(self.a.accumulate)]
        self.learner.scale.copy_(1 / sum(learnt.sum() for _, learnt in parts))
        for tokens, learnt in parts:
            self.learner.learn(tokens, learnt)
            self.seen += learnt.numel()
        self.optimizer.step(rate(done))
        self.steps += 1

    def run(self) -> None:
        began = saved = reported = now = time.monotonic()
        steps = seen = 0
        while now - began < self.a.seconds:
            self.one_step((now - began) / self.a.seconds)
            now = time.monotonic()
            if now - reported > self.a.seconds / 60:
                mean = self.learner.loss.item() / (self.steps - steps)
                self.learner.loss.zero_()
                now = time.monotonic()
                print(f"{now - began:.0f} s  step {self.steps}  loss {mean:.4f}  {self.seen / 1e6:.1f} M tokens, {(self.seen - seen) / (now - reported) / 1e3:.0f} k/s  "
                      f"batches {len(self.stream.learnt)} new, {self.stream.again} again, {self.stream.ready.qsize()} waiting", flush=True)
                reported, steps, seen = now, self.steps, self.seen
            if now - saved > SAVE_SECONDS:
                save(self.model, self.a.out)
                saved = now
        save(self.model, self.a.out)


def save(model: Qwen2, out: pathlib.Path) -> None:
    """The checkpoint as it stands, replaced in one move."""
    save_file({name: weight.detach().cpu().contiguous() for name, weight in model.named_parameters()}, out / "model.tmp", metadata={"format": "pt"})
    (out / "model.tmp").replace(out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/demo-model"))
    parser.add_argument("--seconds", type=float, default=480, help="of learning, without the start")
    parser.add_argument("--start-from", type=pathlib.Path, help="begin with the weights of this safetensors file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=24576, help="tokens at a time")
    parser.add_argument("--accumulate", type=int, default=2, help="batches per step")
    parser.add_argument("--rates", type=float, nargs=2, default=(0.02, 0.004), metavar=("MUON", "ADAM"))
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="processes that make conversations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--no-graphs", dest="graphs", action="store_false", help="launch kernels one by one")
    return parser.parse_args()


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    a = arguments()
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.enable_cudnn_sdp(False)  # it prepares every shape anew
    a.out.mkdir(parents=True, exist_ok=True)
    training = Training(a)
    print(f"{sum(p.numel() for p in training.model.parameters()) / 1e6:.2f} M weights on {a.device}", flush=True)
    training.run()
    sys.stdout.flush()
    for worker in multiprocessing.active_children():  # they are in the middle of something; nobody waits for it
        worker.kill()
    os._exit(0)


if __name__ == "__main__":
    main()
