"""The optimizer: Muon for the matrices of the layers (momentum, then the nearest orthogonal matrix: Jordan et al. 2024), AdamW for the rest."""

import torch
from torch import nn

MOMENTUM = 0.95
DECAY = 0.02


def orthogonal(g: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz iteration of `[n, rows, columns]` towards the nearest orthogonal matrices; the coefficients trade accuracy for slope at zero."""
    tall = g.shape[1] > g.shape[2]
    x = (g.mT if tall else g).to(torch.bfloat16 if g.is_cuda else g.dtype)
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).to(g.dtype)


class Optimizer:
    """Steps a model's weights by their gradients, which stay where they are in memory. Muon for matrices in layers, all of a shape at once; AdamW for the rest."""

    def __init__(self, model: nn.Module, muon_rate: float, adam_rate: float):
        self.gradients: list[torch.Tensor] = []
        by_shape: dict = {}
        others = []
        for name, weight in model.named_parameters():
            matrix = "layers" in name and weight.dim() == 2
            weight.grad = torch.zeros_like(weight)
            self.gradients.append(weight.grad)
            (by_shape.setdefault(weight.shape, []) if matrix else others).append(weight)
        self.matrices = [(weights, torch.zeros(len(weights), *shape, device=weights[0].device)) for shape, weights in by_shape.items()]
        self.muon_rate, self.adam_rate = muon_rate, adam_rate
        self.adam = torch.optim.Adam(others, lr=adam_rate, betas=(0.9, 0.98), foreach=True)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One step at `scale` of the full rates; the gradients are zero after it."""
        for weights, momentum in self.matrices:
            self.muon(weights, momentum, scale * self.muon_rate)
        self.adam.param_groups[0]["lr"] = scale * self.adam_rate
        self.adam.step()
        torch._foreach_zero_(self.gradients)

    def muon(self, weights: list[nn.Parameter], momentum: torch.Tensor, rate: float) -> None:
        gradients = torch.stack([weight.grad for weight in weights])
        momentum.mul_(MOMENTUM).add_(gradients)
        directions = orthogonal(gradients + MOMENTUM * momentum)
        rows, columns = weights[0].shape
        torch._foreach_mul_(weights, 1 - DECAY * rate)
        torch._foreach_add_(weights, list(directions.unbind()), alpha=-rate * max(1, rows / columns) ** 0.5)
