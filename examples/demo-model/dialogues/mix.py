"""The training mixture: whole conversations of one to four exchanges, in the proportions below."""

import random

from .chatml import SYSTEM
from .exchange import draw, one_of
from .facts import fact
from .strings import ARITHMETIC, COPYING, COUNTING, LETTERS, lower, repeat, repeat_times, upper
from .talk import json_object, memory, refuse, server, small_talk, story, styled, unknown_memory
from .tools import with_tools

# (skill, share of the conversations)
SHARES = [
    (small_talk, 3), (fact, 16), (server, 3), (refuse, 3), (memory, 12), (unknown_memory, 1), (story, 3), (styled, 6), (json_object, 5),
    *[(skill, 2) for skill in ARITHMETIC], *[(skill, 1.2) for skill in COPYING], *[(skill, 0.8) for skill in COUNTING], *[(skill, 1) for skill in LETTERS],
]
# Towards the end: the same, and more of what is hard for tokens of several letters.
LATE = [*SHARES, (upper, 5), (lower, 5), *[(skill, 5) for skill in LETTERS + ARITHMETIC], (repeat_times, 2), (styled, 6)]
TOOL_SHARE = 0.34
# The beginning: short conversations that are mostly copying, until the network has learnt to look back.
EARLY = [(repeat, 8), (json_object, 3), (memory, 2), (fact, 2), *[(skill, 1) for skill in COPYING]]
SYSTEMS = [SYSTEM, SYSTEM, SYSTEM, "You are a helpful assistant", "You are a friendly assistant.", "Help the user.", "Be brief.", "You are a chat bot."]


def talk(rng: random.Random, shares: list) -> tuple[list[dict], None]:
    """A conversation without tools: mostly one to four exchanges after each other, now and then many."""
    skills, weights = zip(*shares)
    messages = []
    for index in range(rng.choice((1, 1, 2, 3, 4)) if rng.random() > 0.02 else rng.randint(10, 24)):
        exchange = draw(rng.choices(skills, weights)[0], rng, exam=False)
        if exchange.system is not None:
            return [{"role": "system", "content": exchange.system}, *exchange.messages()], None
        if exchange.before and index:
            continue
        messages += exchange.messages()
    return [{"role": "system", "content": one_of(rng, SYSTEMS)}, *messages], None


def early(rng: random.Random) -> tuple[list[dict], None]:
    """A conversation of the beginning."""
    skills, weights = zip(*EARLY)
    exchange = draw(rng.choices(skills, weights)[0], rng, exam=False)
    return [{"role": "system", "content": exchange.system or SYSTEM}, *exchange.messages()], None


def conversation(rng: random.Random, shares: list = SHARES, tool_share: float = TOOL_SHARE, invent: float = 0.0) -> tuple[list[dict], list[dict] | None]:
    """One training conversation: turns, and the tools it may call."""
    if rng.random() >= tool_share:
        return talk(rng, shares)
    exchange = with_tools(rng, exam=False, invent=invent)
    messages = exchange.messages
    if rng.random() < 0.15:  # tools stay on offer while the talk goes on
        messages = [*draw(fact, rng, exam=False).messages(), *messages]
    return [{"role": "system", "content": one_of(rng, SYSTEMS)}, *messages], exchange.tools


def late(rng: random.Random) -> tuple[list[dict], list[dict] | None]:
    """A conversation of the end."""
    return conversation(rng, LATE)


def tools(rng: random.Random) -> tuple[list[dict], list[dict] | None]:
    """A conversation of the second round: mostly tools, half of them about nothing that exists."""
    return conversation(rng, LATE, tool_share=0.6, invent=0.5)
