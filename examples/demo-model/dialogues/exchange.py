"""What all skills share: one question with its answer, the held-out rule, and random choices."""

import hashlib
from dataclasses import dataclass, field
from typing import Callable

HELD_OUT_SHARE = 12  # one key in so many is kept for the examination


def held_out(key: str) -> bool:
    """Whether questions about `key` are kept from training. Depends on the key alone."""
    digest = hashlib.blake2b(key.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % HELD_OUT_SHARE == 0


@dataclass
class Exchange:
    """A question and the answer that counts as right.

    `key` names the instance (for the held-out rule), `expect` is what an examiner looks for in the
    answer: the whole answer by default. `system`, if set, is the system prompt the pair needs.
    `before` are earlier turns that belong to the question.
    """

    user: str
    assistant: str
    key: str
    expect: str = ""
    system: str | None = None
    before: list[dict] = field(default_factory=list)

    def messages(self) -> list[dict]:
        """The turns in the shape of a chat request, the answer last."""
        return [
            *self.before,
            {"role": "user", "content": self.user},
            {"role": "assistant", "content": self.assistant},
        ]


Skill = Callable[["random.Random"], Exchange]  # noqa: F821  (a type for readers)


def draw(skill: Skill, rng, exam: bool) -> Exchange:
    """An instance of `skill` from the wanted side of the held-out rule."""
    for _ in range(1000):
        exchange = skill(rng)
        if held_out(exchange.key) == exam:
            return exchange
    raise RuntimeError(f"{skill.__name__} has no {'held-out' if exam else 'training'} instances")


def one_of(rng, choices):
    """A random element."""
    return choices[rng.randrange(len(choices))]
