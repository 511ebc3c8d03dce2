"""Practice for training only: many small answers in one, of the skills in `strings.py`, and several questions in one style.

What is kept for the examination there is kept here too: each part is drawn from the training side.
"""

from .exchange import Exchange, draw, one_of
from .facts import fact
from .numbers import add_large, subtract_close, subtract_large
from .strings import add, exact, multiply, repeat, spell, subtract
from .talk import ONE_WORD, manner

KEY = "practice"  # of what holds several instances; it is on the training side itself


def sums(rng) -> Exchange:
    """Some sums, differences and products after each other."""
    parts = [draw(one_of(rng, [add, add, subtract, subtract, multiply, add_large, subtract_large, subtract_close]), rng, exam=False).assistant for _ in range(rng.randint(3, 10))]
    asked = ", ".join(part.split(" =")[0] for part in parts)
    return exact(one_of(rng, [f"Calculate {asked}.", f"Work out {asked}.", asked]), ", ".join(parts), KEY)


def spell_all(rng) -> Exchange:
    """Some words, letter by letter."""
    parts = [draw(spell, rng, exam=False).assistant for _ in range(rng.randint(2, 5))]
    asked = ", ".join(parts).replace("-", "")
    return exact(one_of(rng, [f"Spell these words: {asked}", f"Spell {asked}."]), ", ".join(parts), KEY)


def in_style(rng) -> list[dict]:
    """A conversation of several questions that are all answered in one way of speaking."""
    style = one_of(rng, [0, 0, 0, ONE_WORD, 2, 4, 5])
    system, answer = manner(rng, style)
    turns = [{"role": "system", "content": system}]
    for _ in range(rng.choice((1, 2, 4, 8, 8))):
        base = draw(fact if style == ONE_WORD else one_of(rng, [fact, fact, fact, add, repeat]), rng, exam=False)
        turns += [{"role": "user", "content": base.user}, {"role": "assistant", "content": answer(base)[0]}]
    return turns
