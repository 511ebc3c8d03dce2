#!/usr/bin/env python3
"""Trains the demo model on conversations made up as it goes, and writes a standard Qwen2 checkpoint.

Run: python train.py --out build/demo-model
It continues from `state.pt` if there is one; Ctrl-C loses at most --save-every steps. The same seed, number
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

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

from dialogues.chatml import pieces
from dialogues.mix import conversation, early, late, tools
from model import CONFIG, Qwen2

HERE = pathlib.Path(__file__).parent
IGNORED = -100
POOL = 192  # conversations made at a time and sorted by length
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
    rows = sorted((encode(tokenizer, rng, make) for _ in range(POOL)), key=lambda row: len(row[0]))
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
    """Newton-Schulz iteration towards the nearest orthogonal matrix; the coefficients trade accuracy for slope at zero."""
    tall = g.shape[0] > g.shape[1]
    x = (g.T if tall else g).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).float()


class Optimizer:
    """Float32 copies of the parameters with their moments. Muon for matrices in layers, AdamW for the rest."""

    def __init__(self, model: Qwen2, muon_rate: float, adam_rate: float):
        self.parameters = dict(model.named_parameters())
        self.master = {name: p.detach().float().clone() for name, p in self.parameters.items()}
        self.first = {name: torch.zeros_like(p) for name, p in self.master.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.master.items() if not self.is_matrix(name)}
        self.rates, self.steps = (muon_rate, adam_rate), 0

    def is_matrix(self, name: str) -> bool:
        return "layers" in name and self.parameters[name].dim() == 2

    @torch.no_grad()
    def step(self, scale: float) -> None:
        self.steps += 1
        for name, parameter in self.parameters.items():
            gradient, value, first = parameter.grad.float(), self.master[name], self.first[name]
            parameter.grad = None
            if self.is_matrix(name):
                first.mul_(0.95).add_(gradient)
                direction = orthogonal(gradient + 0.95 * first) * max(1, value.shape[0] / value.shape[1]) ** 0.5
                rate = scale * self.rates[0]
                value.mul_(1 - 0.02 * rate).add_(direction, alpha=-rate)
            else:
                second = self.second[name]
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.02)
                step = (first / (1 - 0.9**self.steps)) / ((second / (1 - 0.98**self.steps)).sqrt() + 1e-8)
                value.add_(step, alpha=-scale * self.rates[1])
            parameter.copy_(value)

    def state(self) -> dict:
        return {"master": self.master, "first": self.first, "second": self.second, "steps": self.steps}

    def restore(self, state: dict) -> None:
        self.master, self.first, self.second, self.steps = (state[k] for k in ("master", "first", "second", "steps"))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.master[name])


def rate_at(step: int, steps: int, second: int) -> float:
    """Warm up over 100 steps, then constant, then linearly to zero over the last half; again from a half in the second round."""
    if step >= steps:
        return 0.6 * (steps + second - step) / second
    return min(1.0, (step + 1) / 100, 2 * (steps - step) / steps)


def maker(step: int, a: argparse.Namespace):
    """Where the conversations come from at a step."""
    ends = [(a.early, early), (a.late, conversation), (a.steps, late)]
    return next((make for end, make in ends if step < end), tools)


def loss_of(model: Qwen2, tokens, labels) -> torch.Tensor:
    labels = labels.flatten()
    wanted = (labels != IGNORED).nonzero().flatten()
    return F.cross_entropy(model(tokens, wanted).float(), labels[wanted])


def save(optimizer: Optimizer, pool: int, losses: list[float], out: pathlib.Path) -> None:
    """The state to go on from, and the checkpoint as it stands. The state is replaced in one move."""
    torch.save({"optimizer": optimizer.state(), "pool": pool, "losses": losses}, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")
    save_file(optimizer.master, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")


def digest(weights: dict) -> str:
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/demo-model"))
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--second", type=int, default=1500, help="steps of the second round, mostly tools")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens per step")
    parser.add_argument("--early", type=int, default=600, help="steps that practise copying")
    parser.add_argument("--late", type=int, default=2431, help="the step from which hard skills are practised more")
    parser.add_argument("--rates", type=float, nargs=2, default=(0.006, 0.002), metavar=("MUON", "ADAM"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=200)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    a.out.mkdir(parents=True, exist_ok=True)
    model = Qwen2()
    optimizer = Optimizer(model, muon_rate=a.rates[0], adam_rate=a.rates[1])
    model.bfloat16()
    pool, losses = 0, []
    if (a.out / "state.pt").exists():
        state = torch.load(a.out / "state.pt")
        optimizer.restore(state["optimizer"])
        pool, losses = state["pool"], state["losses"]
    optimizer.parameters = dict(model.named_parameters())
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {optimizer.steps}", flush=True)
    began, seen = time.monotonic(), 0
    steps = a.steps + a.second
    while optimizer.steps < steps:
        make = maker(optimizer.steps, a)
        for tokens, labels in batches(tokenizer, a.seed, pool, a.tokens, make):
            loss = loss_of(model, tokens, labels)
            loss.backward()
            optimizer.step(rate_at(optimizer.steps, a.steps, a.second))
            losses.append(loss.item())
            seen += tokens.numel()
            if optimizer.steps % 20 == 0:
                speed = seen / (time.monotonic() - began)
                left = (steps - optimizer.steps) * a.tokens / speed / 60
                print(f"step {optimizer.steps}/{steps}  loss {sum(losses[-20:]) / 20:.3f}  {speed:.0f} tokens/s  {left:.0f} min left", flush=True)
            if optimizer.steps in (a.steps, steps):
                break
        pool += 1
        if (pool * POOL) % (a.save_every * 20) < POOL or optimizer.steps in (a.steps, steps):
            save(optimizer, pool, losses, a.out)
    print("sha256", digest(optimizer.master))


if __name__ == "__main__":
    main()
