#!/usr/bin/env python3
"""Trains the demo model on conversations made up as it goes, in the rounds of `rounds.py`, and writes a standard Qwen2 checkpoint.

Run: python train.py --out build/demo-model
It continues from `state.pt` if there is one; Ctrl-C loses at most --save-every pools of 10 to 25 steps. The same seed, number
of threads and machine give the same weights: their hash is printed at the end.
"""

import argparse
import hashlib
import json
import pathlib
import random
import time
from dataclasses import dataclass, field

import gguf
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

from dialogues import words
from dialogues.chatml import pieces
from model import CONFIG, Qwen2, gguf_name
from optimizer import Optimizer
from rounds import ROUNDS, Round

HERE = pathlib.Path(__file__).parent
IGNORED = -100
POOLS_PER_ROUND = 100_000  # the numbers of a round's pools begin at so many times its place, wherever the round before ended
Q8_0 = gguf.GGMLQuantizationType.Q8_0
PROMPT_SHARE = 16  # one prompt token in so many is learnt too


def encode(tokenizer: Tokenizer, rng: random.Random, make) -> tuple[list[int], list[int]]:
    """One conversation as tokens, and for each the next token if it is to be learnt."""
    messages, tools = make(rng)
    tokens, learnt = [], []
    for text, by_assistant in pieces(messages, tools):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens += ids
        learnt += [by_assistant or rng.randrange(PROMPT_SHARE) == 0 for _ in ids]
    labels = [token if wanted else IGNORED for token, wanted in zip(tokens, learnt)]
    return tokens[:-1], labels[1:]


def batches(tokenizer: Tokenizer, rng: random.Random, count: int, size: int, make):
    """The batches of one pool of `count` conversations: rows of like length, padded, about `size` tokens each."""
    rows = sorted((encode(tokenizer, rng, make) for _ in range(count)), key=lambda row: len(row[0]))
    out, batch = [], []
    for tokens, labels in rows:
        tokens, labels = tokens[: CONFIG["max_position_embeddings"]], labels[: CONFIG["max_position_embeddings"]]
        if batch and (len(batch) + 1) * len(tokens) > size:
            out.append(batch)
            batch = []
        batch.append((tokens, labels))
    out.append(batch)
    rng.shuffle(out)
    for batch in out:
        width = max(len(tokens) for tokens, _ in batch)
        yield (torch.tensor([tokens + [0] * (width - len(tokens)) for tokens, _ in batch]),
               torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in batch]))


@dataclass
class Progress:
    """Where the training stands: the round, the steps and pools done in it, and the losses so far."""

    round: int = 0
    step: int = 0
    pool: int = 0
    losses: list[float] = field(default_factory=list)


def from_file(path: pathlib.Path, names) -> dict:
    """The weights in a file that `export.py` wrote."""
    held = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}
    return {name: torch.from_numpy(held[gguf_name(name)].copy()) for name in names}


def loss_of(model: Qwen2, tokens, labels) -> torch.Tensor:
    labels = labels.flatten()
    wanted = (labels != IGNORED).nonzero().flatten()
    return F.cross_entropy(model(tokens, wanted), labels[wanted])


def save(progress: "Progress", optimizer: Optimizer, out: pathlib.Path) -> None:
    """The state to go on from, and the checkpoint as it stands. Each is replaced in one move."""
    state = optimizer.state()
    torch.save({"optimizer": state, **vars(progress)}, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")
    save_file(state["weights"], out / "model.tmp", metadata={"format": "pt"})
    (out / "model.tmp").replace(out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")


def digest(weights: dict) -> str:
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def begin(a: argparse.Namespace, optimizer: Optimizer) -> Progress:
    """Goes on from the saved state, begins a round from a file, or begins everything."""
    if (a.out / "state.pt").exists():
        state = torch.load(a.out / "state.pt")
        optimizer.restore(state.pop("optimizer"))
        return Progress(**state)
    if a.start_from:
        optimizer.set_weights(from_file(a.start_from, optimizer.weights))
        return Progress(round=[r.name for r in ROUNDS].index(a.round))
    return Progress()


def begin_round(this: Round, optimizer: Optimizer) -> None:
    """A round with a fresh start begins with the weights as a Q8_0 file holds them and no moments, so that it may start from such a file."""
    if this.fresh:
        rounded = {name: w if w.dim() < 2 else gguf.dequantize(gguf.quantize(w.numpy(), Q8_0), Q8_0) for name, w in optimizer.state()["weights"].items()}
        optimizer.set_weights({name: torch.as_tensor(weight) for name, weight in rounded.items()})
        optimizer.forget()


class Training:
    """The model, its optimizer and the way through the rounds."""

    def __init__(self, a: argparse.Namespace):
        self.a, self.tokenizer = a, Tokenizer.from_file(str(HERE / "tokenizer.json"))
        self.model = Qwen2()
        self.compiled = torch.compile(self.model, dynamic=True)
        self.optimizer = Optimizer(self.model, muon_rate=a.rates[0], adam_rate=a.rates[1])
        self.at = begin(a, self.optimizer)
        self.began, self.seen = time.monotonic(), 0

    def run(self) -> None:
        while self.at.round < len(ROUNDS):
            this = ROUNDS[self.at.round]
            words.learn_pieces(self.tokenizer.get_vocab() if this.every_piece else [])
            if self.at.step == 0:
                begin_round(this, self.optimizer)
            while self.at.step < this.steps:
                self.one_pool(this)
                self.at.pool += 1
                if self.at.pool % self.a.save_every == 0 or self.at.step == this.steps:
                    save(self.at, self.optimizer, self.a.out)
            self.at.round, self.at.step, self.at.pool = self.at.round + 1, 0, 0

    def one_pool(self, this: Round) -> None:
        rng = random.Random(f"{self.a.seed}/{self.at.round * POOLS_PER_ROUND + self.at.pool}")
        for tokens, labels in batches(self.tokenizer, rng, this.pool, self.a.tokens, this.mixture(self.at.step)):
            loss = loss_of(self.compiled, tokens, labels)
            loss.backward()
            self.optimizer.step(this.rate(self.at.step))
            self.at.step += 1
            self.at.losses.append(loss.item())
            self.seen += tokens.numel()
            if self.at.step % 20 == 0:
                self.report(this)
            if self.at.step == this.steps:
                break

    def report(self, this: Round) -> None:
        speed = self.seen / (time.monotonic() - self.began)
        left = (this.steps - self.at.step) * self.a.tokens / speed / 60
        loss = sum(self.at.losses[-20:]) / 20
        print(f"{this.name} round, step {self.at.step}/{this.steps}  loss {loss:.3f}  {speed:.0f} tokens/s  {left:.0f} min left", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/demo-model"))
    parser.add_argument("--start-from", type=pathlib.Path, help="begin with the weights of this GGUF file, at --round")
    parser.add_argument("--round", choices=[r.name for r in ROUNDS], default=ROUNDS[-1].name)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens per step")
    parser.add_argument("--rates", type=float, nargs=2, default=(0.006, 0.002), metavar=("MUON", "ADAM"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=10, help="pools")
    return parser.parse_args()


def main() -> None:
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    a.out.mkdir(parents=True, exist_ok=True)
    training = Training(a)
    print(f"{sum(p.numel() for p in training.model.parameters()) / 1e6:.2f} M parameters, {vars(training.at) | {'losses': len(training.at.losses)}}", flush=True)
    training.run()
    print("sha256", digest(training.optimizer.state()["weights"]))


if __name__ == "__main__":
    main()
