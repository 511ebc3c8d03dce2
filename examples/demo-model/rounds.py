"""The rounds of the training: how long each is, what it practices, and how fast it learns. One row is one round."""

from collections.abc import Callable
from dataclasses import dataclass

from dialogues import mix


@dataclass(frozen=True)
class Round:
    """`mixtures` are (up to which step, where conversations come from). The rate climbs to `peak` (of the optimizer's rates) in
    `warm` steps, stays, and falls to zero over the last `fall` steps. A `fresh` round starts without moments, from weights as the
    GGUF file holds them. With `every_piece`, invented words are made of all pieces of the tokenizer. `pool` conversations are made
    at a time and sorted by length."""

    name: str
    steps: int
    mixtures: tuple[tuple[int, Callable], ...]
    peak: float
    warm: int
    fall: int
    fresh: bool = False
    every_piece: bool = False
    pool: int = 192

    def mixture(self, step: int) -> Callable:
        return next(make for until, make in self.mixtures if step < until)

    def rate(self, step: int) -> float:
        return self.peak * min(1.0, (step + 1) / self.warm, (self.steps - step) / self.fall)


ROUNDS = [
    # Copying first, then everything, then more of what is hard.
    Round("first", 3600, ((600, mix.early), (2431, mix.conversation), (3600, mix.late)), peak=1.0, warm=100, fall=1800),
    # Mostly tools.
    Round("second", 1500, ((1500, mix.tools),), peak=0.6, warm=1, fall=1500),
    # Copying of every piece, drills, and functions of any kind.
    Round("third", 1040, ((1040, mix.third),), peak=0.5, warm=30, fall=700, fresh=True, every_piece=True, pool=96),
    # Harder drills of letters, cases and numbers, ways of speaking, and requests in more forms.
    Round("fourth", 1640, ((1640, mix.fourth),), peak=0.8, warm=60, fall=880, fresh=True, every_piece=True, pool=288),
    # What was weak after it: small letters, differences, functions whose name is a verb.
    Round("fifth", 720, ((720, mix.fifth),), peak=0.4, warm=20, fall=700, every_piece=True, pool=288),
]
