"""The training mixture: whole conversations of one to four exchanges, in the proportions below."""

import random

from .chatml import SYSTEM
from .exchange import draw, one_of
from .facts import fact
from .practice import in_style, spell_all, sums
from .schemas import any_functions
from .strings import (ARITHMETIC, COPYING, COUNTING, LETTERS, add, count, count_letters, lower, multiply, repeat, repeat_times, reverse_list,
                      reverse_word, spell, subtract, upper)
from .talk import json_object, memory, refuse, server, shouted, small_talk, story, styled, unknown_memory
from .tools import at_work, some_functions, with_tools

# (skill, share of the conversations)
SHARES = [
    (small_talk, 3), (fact, 16), (server, 3), (refuse, 3), (memory, 12), (unknown_memory, 1), (story, 3), (styled, 6), (json_object, 5),
    *[(skill, 2) for skill in ARITHMETIC], *[(skill, 1.2) for skill in COPYING], *[(skill, 0.8) for skill in COUNTING], *[(skill, 1) for skill in LETTERS],
]
# Towards the end: the same, and more of what is hard for tokens of several letters.
LATE = [*SHARES, (upper, 5), (lower, 5), *[(skill, 5) for skill in LETTERS + ARITHMETIC], (repeat_times, 2), (styled, 6)]
TOOL_SHARE = 0.34
KEPT = [(fact, 20), (server, 6), (refuse, 3), (small_talk, 2), (story, 1.5), (json_object, 4), (multiply, 3), *[(skill, 1) for skill in COPYING]]
# The third round, many exchanges to a conversation: what the first two taught, and what they left weak.
DRILLS = [(upper, 6), (lower, 7), (repeat_times, 4), (repeat, 4), (reverse_list, 3), (count, 3), *[(skill, 1.5) for skill in LETTERS], (add, 1.5), (subtract, 1.5),
          *[(skill, 0.5) for skill in COPYING + COUNTING]]
# The fourth round: more of them, and dense practice of letters and numbers.
HARD_DRILLS = [(upper, 7), (lower, 12), (repeat_times, 5), (repeat, 3), (reverse_list, 2), (count, 2.5), (spell, 2), (spell_all, 3), (reverse_word, 4), (count_letters, 2.5),
               (add, 3), (subtract, 3), (multiply, 1.5), (sums, 9), *[(skill, 0.4) for skill in COPYING + COUNTING]]
LAST_DRILLS = [(lower, 28), (upper, 6), (subtract, 6), (sums, 5), (repeat_times, 6), (reverse_word, 4), (spell_all, 3), (count_letters, 3), (spell, 2), (repeat, 3),
               (reverse_list, 2), (count, 3), (add, 1), (multiply, 1), *[(skill, 0.4) for skill in COPYING + COUNTING]]
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


def drill(rng: random.Random, shares: list = DRILLS) -> tuple[list[dict], None]:
    """Many short exchanges of one to three skills after each other."""
    skills, weights = zip(*shares)
    chosen = rng.choices(skills, weights, k=rng.choice((1, 2, 3)))
    messages = []
    for _ in range(rng.choice((2, 6, 12, 16))):
        exchange = draw(one_of(rng, chosen), rng, exam=False)
        if exchange.system is None:
            messages += exchange.messages()
    return [{"role": "system", "content": one_of(rng, SYSTEMS)}, *messages], None


def kept(rng: random.Random) -> tuple[list[dict], None]:
    """Many exchanges of what the first two rounds taught, so that it is not forgotten."""
    skills, weights = zip(*KEPT)
    messages = draw(memory, rng, exam=False).messages() if rng.random() < 0.35 else []
    for _ in range(rng.choice((2, 4, 8, 12))):
        exchange = draw(rng.choices(skills, weights)[0], rng, exam=False)
        if exchange.system is None:
            messages += exchange.messages()
    if not messages:
        return kept(rng)
    return [{"role": "system", "content": one_of(rng, SYSTEMS)}, *messages], None


def third(rng: random.Random) -> tuple[list[dict], list[dict] | None]:
    """A conversation of the third round: functions at work, half of them of any kind; drills; and what was learnt before."""
    pick = rng.random()
    if pick < 0.28:
        functions = any_functions(rng, 1, bare=0.0) if rng.random() < 0.5 else some_functions(rng, False, 1, invent=0.6)
        turns, schemas = at_work(rng, functions)
        return [{"role": "system", "content": one_of(rng, SYSTEMS)}, *turns], schemas
    if pick < 0.50:
        return drill(rng)
    if pick < 0.68:
        return kept(rng)
    if pick < 0.74:
        exchange = draw(shouted, rng, exam=False)
        return [{"role": "system", "content": exchange.system}, *exchange.messages()], None
    return conversation(rng, LATE, tool_share=0.1, invent=0.5)


def fourth(rng: random.Random, tools: float = 0.26, bare: float = 0.12, drills: list = HARD_DRILLS) -> tuple[list[dict], list[dict] | None]:
    """A conversation of the fourth round: as the third, with harder drills and requests, and whole conversations in one style. `tools` is
    the share of functions at work, `bare` that of functions about nothing."""
    pick = (rng.random() - tools) / (1 - tools)
    if pick < 0:
        functions = any_functions(rng, 1, bare) if rng.random() < 0.55 else some_functions(rng, False, 1, invent=0.7, rename=one_of(rng, [0, 0.7]))
        turns, schemas = at_work(rng, functions)
        return [{"role": "system", "content": one_of(rng, SYSTEMS)}, *turns], schemas
    if pick < 0.446:
        return drill(rng, drills)
    if pick < 0.649:
        return kept(rng)
    if pick < 0.865:
        return in_style(rng), None
    return conversation(rng, LATE, tool_share=0.15, invent=0.5)


def fifth(rng: random.Random) -> tuple[list[dict], list[dict] | None]:
    """A conversation of the fifth round: what was weak after the fourth."""
    return fourth(rng, 0.32, 0.25, LAST_DRILLS)
