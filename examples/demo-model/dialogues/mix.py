"""The training mixture: whole conversations, in the proportions below."""

import random

from .chatml import SYSTEM
from .everyday_functions import everyday_functions, has_kept_name, other_request, toolless
from .exchange import Exchange, draw, one_of
from .facts import explain, fact, translate
from .numbers import COMPARE, LARGE, PRACTICED, WRITTEN, divide_more
from .practice import in_style, spell_all, sums
from .schemas import any_functions
from .strings import (ARITHMETIC, COPYING, COUNTING, LETTERS, add, count, count_letters, lower, multiply, repeat, repeat_times, reverse_list,
                      reverse_word, spell, subtract, upper)
from .talk import code, json_object, memory, name_some, named, refuse, server, shouted, small_talk, story, styled, unknown_memory
from .tools import at_work, sentence, some_functions, with_tools

NO_TOOLS = ["I have no tool for that. Give me one and I can call it.", "I cannot do that without a tool. Give me one and I can call it."]


def without_tools(rng: random.Random) -> Exchange:
    """A request for a tool where none is on offer."""
    return Exchange(sentence(toolless(rng), rng), one_of(rng, NO_TOOLS), "talk", "Give me one")


# (skill, share of the exchanges). What people talk of:
TALK = [
    (small_talk, 10), (fact, 16), (translate, 2), (explain, 3), (server, 5), (refuse, 5), (without_tools, 4), (memory, 12), (unknown_memory, 1), (story, 4), (styled, 6), (named, 1), (json_object, 5), (code, 1.5), (name_some, 1.5),
    *[(skill, 1.5) for skill in ARITHMETIC + LARGE], *[(skill, 1) for skill in PRACTICED], *[(skill, 0.8) for skill in COMPARE], *[(skill, 0.6) for skill in WRITTEN],
    *[(skill, 1) for skill in COPYING], *[(skill, 0.8) for skill in COUNTING], *[(skill, 1) for skill in LETTERS],
]
# Short questions with short answers, many of them after each other.
KNOWLEDGE = [(fact, 20), (translate, 4), (explain, 4), (without_tools, 2), (server, 5), (refuse, 3), (small_talk, 6), (story, 1.5), (json_object, 4), (code, 1.5), (name_some, 1), *[(skill, 1) for skill in COPYING]]
DRILLS = [(lower, 14), (upper, 6), (repeat_times, 5), (repeat, 4), (reverse_list, 2), (count, 2), (spell, 2), (spell_all, 3), (reverse_word, 4), (count_letters, 3),
          (add, 3), (subtract, 5), (multiply, 1.5), (sums, 5), *[(skill, 3) for skill in LARGE + PRACTICED], (divide_more, 6), *[(skill, 1) for skill in COMPARE + WRITTEN], *[(skill, 0.5) for skill in COPYING + COUNTING]]
SYSTEMS = [SYSTEM, SYSTEM, SYSTEM, "You are a helpful assistant", "You are a friendly assistant.", "Help the user.", "Be brief.", "You are a chat bot.", "Answer the questions of the user.",
           "You are a helpful AI assistant.", "You are a helpful assistant with tools."]


def chosen(rng: random.Random, shares: list):
    skills, weights = zip(*shares)
    return rng.choices(skills, weights)[0]


def with_system(rng: random.Random, turns: list[dict]) -> list[dict]:
    return [{"role": "system", "content": one_of(rng, SYSTEMS)}, *turns]


def talk(rng: random.Random) -> tuple[list[dict], None]:
    """A conversation without tools: one to four exchanges after each other."""
    messages: list[dict] = []
    for index in range(rng.choice((1, 1, 2, 3, 4))):
        exchange = draw(chosen(rng, TALK), rng, exam=False)
        if exchange.system is not None:
            return [{"role": "system", "content": exchange.system}, *exchange.messages()], None
        if exchange.before and index:
            continue
        messages += exchange.messages()
    return with_system(rng, messages), None


def drill(rng: random.Random) -> tuple[list[dict], None]:
    """Many short exchanges of one to three skills after each other."""
    skills = [chosen(rng, DRILLS) for _ in range(rng.choice((1, 2, 3)))]
    messages: list[dict] = []
    for _ in range(rng.choice((2, 6, 12, 16))):
        messages += draw(one_of(rng, skills), rng, exam=False).messages()
    return with_system(rng, messages), None


def known(rng: random.Random) -> tuple[list[dict], None]:
    """Many exchanges of what the model knows by heart, some after things to remember."""
    messages = draw(memory, rng, exam=False).messages() if rng.random() < 0.35 else []
    for _ in range(rng.choice((2, 4, 8, 12))):
        exchange = draw(chosen(rng, KNOWLEDGE), rng, exam=False)
        if exchange.system is None:
            messages += exchange.messages()
    return (with_system(rng, messages), None) if messages else known(rng)


def working(rng: random.Random) -> tuple[list[dict], list[dict]]:
    """Functions at work: of everyday kinds, of any kind, and as the examination makes them; now and then of two kinds at once."""
    makers = [lambda: everyday_functions(rng, 1), lambda: any_functions(rng, 1, bare=0.22),
              lambda: some_functions(rng, False, 1, invent=0.6, rename=one_of(rng, [0, 0.7]))]
    functions = rng.choices(makers, (8, 5, 3))[0]()
    if rng.random() < 0.2:
        functions += rng.choices(makers, (8, 5, 3))[0]()
        rng.shuffle(functions)
    if len({function.name for function in functions}) < len(functions) or any(map(has_kept_name, functions)):
        return working(rng)
    turns, schemas = at_work(rng, functions, other_request)
    return with_system(rng, turns), schemas


def asked_once(rng: random.Random) -> tuple[list[dict], list[dict] | None]:
    """One request for tools, some after other talk."""
    exchange = with_tools(rng, exam=False, invent=0.5)
    before = draw(fact, rng, exam=False).messages() if rng.random() < 0.15 else []  # tools are on offer while the talk goes on
    return with_system(rng, [*before, *exchange.messages]), exchange.tools


def conversation(rng: random.Random) -> tuple[list[dict], list[dict] | None]:
    """One training conversation: turns, and the tools it may call."""
    pick = rng.random()
    if pick < 0.33:
        return working(rng)
    if pick < 0.40:
        return asked_once(rng)
    if pick < 0.57:
        return drill(rng)
    if pick < 0.70:
        return known(rng)
    if pick < 0.82:
        return in_style(rng), None
    if pick < 0.85:
        exchange = draw(shouted, rng, exam=False)
        return [{"role": "system", "content": exchange.system}, *exchange.messages()], None
    return talk(rng)
