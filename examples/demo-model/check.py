#!/usr/bin/env python3
"""Checks the tables of everyday functions and makes some conversations: prints what is wrong and fails.

Run: python check.py. Only the standard library is used.
"""

import random
import re
import sys

from dialogues import everyday_functions as everyday
from dialogues.chatml import pieces
from dialogues.everyday_values import KINDS
from dialogues.mix import conversation

PLACE = r"\{(?:a_)?(\w+)\}"


def mistakes(row: tuple) -> list[str]:
    """What is wrong with a row: unknown kinds, values of no parameter, requests that lack what must be given."""
    kinds = dict(spec.split(":") for spec in row[3].split())
    found = [f"no values of kind {kind}" for kind in kinds.values() if "|" not in kind and kind.removesuffix("?") not in KINDS]
    needed = {key for key, kind in kinds.items() if not kind.endswith("?")}
    for request in row[4]:
        always = set(re.findall(PLACE, re.sub(r"\[[^\]]*\]", "", request)))
        if needed - always:
            found.append(f"{request!r} lacks {needed - always}")
        if set(re.findall(PLACE, request)) - set(kinds):
            found.append(f"{request!r} has a value of no parameter")
    asked = {key for request in row[4] for key in re.findall(PLACE, request)}
    return found + [f"nobody gives {key}" for key in set(kinds) - asked]


def offered_by_name(count: int) -> list[str]:
    """Functions of the examination that training conversations offer."""
    rng = random.Random("check")
    found = []
    for _ in range(count):
        turns, tools = conversation(rng)
        pieces(turns, tools)
        found += [tool["function"]["name"] for tool in tools or [] if everyday.plain(tool["function"]["name"]) in everyday.KEPT_NAMES]
    return found


def main() -> None:
    rows = everyday.ROWS + [row for rows in everyday.CATALOG.values() for row in rows]
    wrong = [f"{row[0]}: {mistake}" for row in rows for mistake in mistakes(row)]
    names = [row[0] for row in everyday.ROWS]
    wrong += [f"{name}: twice" for name in set(names) if names.count(name) > 1]
    wrong += [f"{name}: is kept, but trained" for name in offered_by_name(2000)]
    print(f"{len(everyday.TRAINED)} everyday functions to train, {len(everyday.EXAMINED)} to examine, {len(rows) - len(names)} put together")
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
