#!/usr/bin/env python3
"""Trains the demo model on conversations made up as it goes, in three rounds, and writes a standard Qwen2 checkpoint.

Run: python train.py --out build/demo-model
It continues from `state.pt` if there is one; Ctrl-C loses at most --save-every pools of 10 to 25 steps. The same seed, number
of threads and machine give the same weights: their hash is printed at the end.

Matrices are trained with Muon (momentum, then the nearest orthogonal matrix: Jordan et al. 2024), the
rest with AdamW; the rate warms up, stays, and falls to zero over the last part.
"""

import argparse
import hashlib
import json
import pathlib
import random
import time

import gguf
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

from dialogues import words
from dialogues.chatml import pieces
from dialogues.mix import conversation, early, late, third, tools
from model import CONFIG, Qwen2, gguf_name

HERE = pathlib.Path(__file__).parent
IGNORED = -100
POOL = 192  # conversations made at a time and sorted by length; half as many in the third round, whose conversations are long
THIRD_POOL = 100_000  # the first pool of the third round, wherever the second ended
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


def batches(tokenizer: Tokenizer, seed: int, pool: int, size: int, make=conversation):
    """The batches of one pool: rows of like length, padded, about `size` tokens each."""
    rng = random.Random(f"{seed}/{pool}")
    count = POOL // 2 if make is third else POOL
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


def orthogonal(g: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz iteration of `[n, rows, columns]` towards the nearest orthogonal matrices; the coefficients trade accuracy for slope at zero."""
    tall = g.shape[1] > g.shape[2]
    x = g.mT if tall else g
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Optimizer:
    """Steps a model's weights. Muon for matrices in layers, all of a shape at once; AdamW for the rest."""

    def __init__(self, model: Qwen2, muon_rate: float, adam_rate: float):
        self.weights = dict(model.named_parameters())
        self.rates, self.steps = (muon_rate, adam_rate), 0
        by_shape = {}
        for name, weight in self.weights.items():
            if "layers" in name and weight.dim() == 2:
                by_shape.setdefault(weight.shape, []).append(name)
        self.matrices = list(by_shape.values())
        self.others = [name for name in self.weights if not any(name in names for names in self.matrices)]
        self.forget()

    def forget(self) -> None:
        """Begins with fresh moments."""
        self.first = {name: torch.zeros_like(w, requires_grad=False) for name, w in self.weights.items()}
        self.second = {name: torch.zeros_like(self.first[name]) for name in self.others}
        self.age = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        self.steps, self.age = self.steps + 1, self.age + 1
        for names in self.matrices:
            self.muon(names, scale * self.rates[0])
        for name in self.others:
            self.adam(name, scale * self.rates[1])
        for weight in self.weights.values():
            weight.grad = None

    def muon(self, names: list[str], rate: float) -> None:
        for name in names:
            self.first[name].mul_(0.95).add_(self.weights[name].grad)
        directions = orthogonal(torch.stack([self.weights[name].grad + 0.95 * self.first[name] for name in names]))
        for name, direction in zip(names, directions):
            weight = self.weights[name]
            weight.mul_(1 - 0.02 * rate).add_(direction, alpha=-rate * max(1, weight.shape[0] / weight.shape[1]) ** 0.5)

    def adam(self, name: str, rate: float) -> None:
        first, second, gradient = self.first[name], self.second[name], self.weights[name].grad
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square(), 0.02)
        step = (first / (1 - 0.9**self.age)) / ((second / (1 - 0.98**self.age)).sqrt() + 1e-8)
        self.weights[name].add_(step, alpha=-rate)

    def state(self) -> dict:
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        return {"weights": weights, "first": self.first, "second": self.second, "steps": self.steps, "age": self.age}

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        self.first, self.second, self.steps, self.age = (state[k] for k in ("first", "second", "steps", "age"))
        self.set_weights(state["weights"])

    @torch.no_grad()
    def set_weights(self, weights: dict) -> None:
        for name, weight in self.weights.items():
            weight.copy_(weights[name])


def rate_at(step: int, a: argparse.Namespace) -> float:
    """Warm up over 100 steps, then constant, then linearly to zero over the last half; again from 0.6 in the second round. In the third, fresh
    moments warm up over 30 steps, and the rate falls over its last `--fall` steps."""
    if step < a.steps:
        return min(1.0, (step + 1) / 100, 2 * (a.steps - step) / a.steps)
    if step < a.steps + a.second:
        return 0.6 * (a.steps + a.second - step) / a.second
    done = step - a.steps - a.second
    return a.third_rate * min(1.0, (done + 1) / 30, (a.third - done) / a.fall)


def maker(step: int, a: argparse.Namespace):
    """Where the conversations come from at a step."""
    ends = [(a.early, early), (a.late, conversation), (a.steps, late), (a.steps + a.second, tools)]
    return next((make for end, make in ends if step < end), third)


def begin_third(optimizer: Optimizer, tokenizer: Tokenizer) -> None:
    """The third round begins with the weights as a Q8_0 file holds them and fresh moments: it may start from such a file."""
    rounded = {name: w if w.dim() < 2 else gguf.dequantize(gguf.quantize(w.numpy(), Q8_0), Q8_0) for name, w in optimizer.state()["weights"].items()}
    optimizer.set_weights({name: torch.as_tensor(weight) for name, weight in rounded.items()})
    optimizer.forget()
    words.learn_pieces(tokenizer.get_vocab())


def from_file(path: pathlib.Path, names) -> dict:
    """The weights in a file that `export.py` wrote."""
    held = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}
    return {name: torch.from_numpy(held[gguf_name(name)].copy()) for name in names}


def loss_of(model: Qwen2, tokens, labels) -> torch.Tensor:
    labels = labels.flatten()
    wanted = (labels != IGNORED).nonzero().flatten()
    return F.cross_entropy(model(tokens, wanted), labels[wanted])


def save(optimizer: Optimizer, pool: int, losses: list[float], out: pathlib.Path) -> None:
    """The state to go on from, and the checkpoint as it stands. Each is replaced in one move."""
    state = optimizer.state()
    torch.save({"optimizer": state, "pool": pool, "losses": losses}, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")
    save_file(state["weights"], out / "model.tmp", metadata={"format": "pt"})
    (out / "model.tmp").replace(out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")


def digest(weights: dict) -> str:
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/demo-model"))
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--second", type=int, default=1500, help="steps of the second round, mostly tools")
    parser.add_argument("--third", type=int, default=1040, help="steps of the third round, copying of every piece and functions of any kind")
    parser.add_argument("--third-rate", type=float, default=0.5)
    parser.add_argument("--fall", type=int, default=700, help="the last steps of the third round, in which the rate falls")
    parser.add_argument("--third-from", type=pathlib.Path, help="begin with the third round, with the weights of this GGUF file")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens per step")
    parser.add_argument("--early", type=int, default=600, help="steps that practise copying")
    parser.add_argument("--late", type=int, default=2431, help="the step from which hard skills are practised more")
    parser.add_argument("--rates", type=float, nargs=2, default=(0.006, 0.002), metavar=("MUON", "ADAM"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=10, help="pools")
    return parser.parse_args()


def begin(a: argparse.Namespace, optimizer: Optimizer, tokenizer: Tokenizer) -> tuple[int, list[float]]:
    """Where the training stands: the pool to go on with, and the losses so far."""
    if (a.out / "state.pt").exists():
        state = torch.load(a.out / "state.pt")
        optimizer.restore(state["optimizer"])
        if optimizer.steps > a.steps + a.second:
            words.learn_pieces(tokenizer.get_vocab())
        return state["pool"], state["losses"]
    if a.third_from:
        optimizer.set_weights(from_file(a.third_from, optimizer.weights))
        optimizer.steps = a.steps + a.second
    return 0, []


def main() -> None:
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    a.out.mkdir(parents=True, exist_ok=True)
    model = Qwen2()
    optimizer = Optimizer(model, muon_rate=a.rates[0], adam_rate=a.rates[1])
    pool, losses = begin(a, optimizer, tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {optimizer.steps}", flush=True)
    ends = [a.steps, a.steps + a.second, a.steps + a.second + a.third]
    began, seen = time.monotonic(), 0
    while optimizer.steps < ends[-1]:
        if optimizer.steps == ends[1]:
            begin_third(optimizer, tokenizer)
            pool = THIRD_POOL
        for tokens, labels in batches(tokenizer, a.seed, pool, a.tokens, maker(optimizer.steps, a)):
            loss = loss_of(model, tokens, labels)
            loss.backward()
            optimizer.step(rate_at(optimizer.steps, a))
            losses.append(loss.item())
            seen += tokens.numel()
            if optimizer.steps % 20 == 0:
                speed = seen / (time.monotonic() - began)
                left = (ends[-1] - optimizer.steps) * a.tokens / speed / 60
                print(f"step {optimizer.steps}/{ends[-1]}  loss {sum(losses[-20:]) / 20:.3f}  {speed:.0f} tokens/s  {left:.0f} min left", flush=True)
            if optimizer.steps in ends:
                break
        pool += 1
        if pool % a.save_every == 0 or optimizer.steps in ends:
            save(optimizer, pool, losses, a.out)
    print("sha256", digest(optimizer.state()["weights"]))


if __name__ == "__main__":
    main()
