"""The optimizer: Muon for the matrices of the layers (momentum, then the nearest orthogonal matrix: Jordan et al. 2024), AdamW for the rest."""

import torch
from torch import nn


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

    def __init__(self, model: nn.Module, muon_rate: float, adam_rate: float):
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
