"""Skills on numbers beyond the small sums of `strings.py`. Each returns one exchange whose answer is computed."""

from .exchange import Exchange, held_out, one_of
from .strings import exact
from .words import ANIMALS, COLORS, FOODS, THINGS, person

ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen""".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ROMAN = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]


def in_words(n: int) -> str:
    """A number below 1000 in words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    return f"{ONES[n // 100]} hundred" + (f" {in_words(n % 100)}" if n % 100 else "")


def roman(n: int) -> str:
    text = ""
    for value, letters in ROMAN:
        text, n = text + letters * (n // value), n % value
    return text


def add_large(rng) -> Exchange:
    top = rng.choice((100, 1000, 1000))
    a, b = rng.randrange(top), rng.randrange(top)
    ways = [f"What is {a} + {b}?", f"What is {a} plus {b}?", f"{a} + {b}", f"{a}+{b}=?", f"Add {a} and {b}.", f"How much is {a} plus {b}?", f"Calculate {a} + {b}.", f"{a} plus {b}", f"What is the sum of {a} and {b}?"]
    return Exchange(one_of(rng, ways), f"{a} + {b} = {a + b}", f"add {a} {b}", f"= {a + b}")


def subtract_large(rng) -> Exchange:
    top = rng.choice((50, 100, 1000, 1000))
    a, b = rng.randrange(top), rng.randrange(top)
    if rng.random() < 0.8:
        a, b = max(a, b), min(a, b)
    ways = [f"What is {a} - {b}?", f"What is {a} minus {b}?", f"{a} - {b}", f"{a}-{b}=?", f"Subtract {b} from {a}.", f"How much is {a} minus {b}?", f"Calculate {a} - {b}.", f"{a} minus {b}"]
    return Exchange(one_of(rng, ways), f"{a} - {b} = {a - b}", f"subtract {a} {b}", f"= {a - b}")


def multiply_large(rng) -> Exchange:
    a, b = rng.randint(0, 99), rng.randint(0, 12)
    if rng.random() < 0.5:
        a, b = b, a
    if max(a, b) <= 10:  # these are examined in every wording of their own
        return multiply_large(rng)
    ways = [f"What is {a} times {b}?", f"What is {a} * {b}?", f"{a} * {b}", f"{a} x {b}", f"Multiply {a} by {b}.", f"How much is {a} times {b}?"]
    return Exchange(one_of(rng, ways), f"{a} * {b} = {a * b}", f"multiply {a} {b}", f"= {a * b}")


def by_products(a: int, b: int) -> str:
    """A division worked out: products from the last multiple of five on, until one is large enough."""
    answer, rest = divmod(a, b)
    first = answer if a == 0 else max(1, answer // 5 * 5)
    products = ", ".join(f"{n} * {b} = {n * b}" for n in range(first, answer + 1 + (rest > 0)))
    return f"{products}, so {a} / {b} = {answer}" + (f", remainder {rest}" if rest else "")


def divide(rng) -> Exchange:
    b, answer = rng.randint(1, 12), rng.randint(0, 20)
    a = b * answer
    ways = [f"What is {a} / {b}?", f"What is {a} divided by {b}?", f"{a} / {b}", f"Divide {a} by {b}.", f"How much is {a} divided by {b}?"]
    return Exchange(one_of(rng, ways), by_products(a, b), f"divide {a} {b}", f"/ {b} = {answer}")


def divide_more(rng) -> Exchange:
    """Divisions with larger results too, and with a remainder, in more wordings."""
    b = rng.randint(1, 12)
    a = rng.randrange(b * one_of(rng, (10, 20, 40)))
    a = a // b * b if rng.random() < 0.5 else a
    ways = [f"What is {a} / {b}?", f"{a}/{b}=?", f"Divide {a} by {b}.", f"Calculate {a} / {b}.", f"How often does {b} fit into {a}?", f"{a} divided by {b}", f"{a} / {b}"]
    if rng.random() < 0.02:
        return exact(one_of(rng, [f"What is {a} / 0?", f"Divide {a} by 0.", f"{a} / 0"]), "Nothing can be divided by 0.", f"divide {a} 0")
    return Exchange(one_of(rng, ways), by_products(a, b), f"divide {a} {b}", f"/ {b} = {a // b}")


def multiples(rng) -> Exchange:
    """Some multiples of a number in a row."""
    b, first = rng.randint(2, 12), rng.randint(0, 15)
    count = rng.randint(3, 8)
    answer = ", ".join(f"{b} * {n} = {b * n}" for n in range(first, first + count))
    return exact(one_of(rng, [f"Multiply {b} by the numbers from {first} to {first + count - 1}.", f"The products of {b} with {first} to {first + count - 1}"]), answer, f"multiples {b} {first} {count}")


def subtract_close(rng) -> Exchange:
    """Differences of numbers that are close to each other, half of them below zero."""
    a = rng.randrange(rng.choice((50, 200, 1000)))
    b = max(0, a + rng.randint(-25, 25))
    ways = [f"What is {a} - {b}?", f"What is {a} minus {b}?", f"{a} - {b}", f"{a}-{b}=?", f"Subtract {b} from {a}.", f"How much is {a} minus {b}?", f"Calculate {a} - {b}.", f"{a} minus {b}"]
    return Exchange(one_of(rng, ways), f"{a} - {b} = {a - b}", f"subtract {a} {b}", f"= {a - b}")


def add_three(rng) -> Exchange:
    a, b, c = (rng.randrange(30) for _ in range(3))
    if held_out(f"add {a} {b}") or held_out(f"add {a + b} {c}"):
        return add_three(rng)
    ways = [f"What is {a} + {b} + {c}?", f"{a} + {b} + {c}", f"Add {a}, {b} and {c}.", f"What is the sum of {a}, {b} and {c}?"]
    return Exchange(one_of(rng, ways), f"{a} + {b} = {a + b}, and {a + b} + {c} = {a + b + c}", f"add {a} {b} {c}", f"= {a + b + c}")


def larger(rng) -> Exchange:
    top = rng.choice((20, 100, 1000))
    a, b = rng.sample(range(top), 2)
    big = rng.random() < 0.6
    word = one_of(rng, ["larger", "bigger", "greater"] if big else ["smaller", "less"])
    ways = [f"Which is {word}, {a} or {b}?", f"What is {word}: {a} or {b}?", f"Is {a} or {b} {word}?"]
    answer = max(a, b) if big else min(a, b)
    return Exchange(one_of(rng, ways), f"{answer} is {word} than {a + b - answer}.", f"larger {min(a, b)} {max(a, b)}", f"{answer} is {word}")


def even(rng) -> Exchange:
    n = rng.randrange(rng.choice((20, 100, 1000)))
    ways = [f"Is {n} even or odd?", f"Is {n} odd or even?", f"Is the number {n} even?"]
    return exact(one_of(rng, ways), f"{n} is {'odd' if n % 2 else 'even'}.", f"even {n}")


def sort_numbers(rng) -> Exchange:
    numbers = rng.sample(range(rng.choice((20, 100))), rng.randint(3, 6))
    text = ", ".join(map(str, numbers))
    ways = [f"Sort these numbers: {text}", f"Sort: {text}", f"Put these numbers in order: {text}", f"Order the numbers {text} from small to large."]
    return exact(one_of(rng, ways), ", ".join(map(str, sorted(numbers))), "sort " + text)


def sort_words(rng) -> Exchange:
    words = rng.sample(one_of(rng, [THINGS, ANIMALS, COLORS, FOODS]), rng.randint(3, 5))
    text = ", ".join(words)
    ways = [f"Sort these words: {text}", f"Sort by the alphabet: {text}", f"Put these words in alphabetical order: {text}"]
    return exact(one_of(rng, ways), ", ".join(sorted(words)), "sort " + text)


def largest(rng) -> Exchange:
    numbers = rng.sample(range(rng.choice((20, 100, 1000))), rng.randint(3, 5))
    big, text = rng.random() < 0.6, ", ".join(map(str, numbers))
    word = one_of(rng, ["largest", "biggest", "highest"] if big else ["smallest", "lowest"])
    ways = [f"What is the {word} of {text}?", f"Which is the {word} number: {text}?", f"Find the {word} number in {text}."]
    answer = max(numbers) if big else min(numbers)
    return Exchange(one_of(rng, ways), f"The {word} is {answer}.", f"largest {text}", f"is {answer}.")


def number_words(rng) -> Exchange:
    n = rng.randrange(rng.choice((100, 1000)))
    ways = [f"Write {n} in words.", f"Write the number {n} in words.", f"How do you write {n} in words?", f"Spell out the number {n}."]
    return exact(one_of(rng, ways), in_words(n), f"words {n}")


def words_number(rng) -> Exchange:
    n = rng.randrange(rng.choice((100, 1000)))
    ways = [f"Write {in_words(n)} in digits.", f"Write {in_words(n)} as a number.", f"What is {in_words(n)} in digits?"]
    return exact(one_of(rng, ways), str(n), f"words {n}")


def roman_number(rng) -> Exchange:
    n = rng.randint(1, rng.choice((20, 100)))
    ways = [f"What is {n} in Roman numerals?", f"Write {n} in Roman numerals.", f"Write {n} as a Roman number."]
    return exact(one_of(rng, ways), f"{n} in Roman numerals is {roman(n)}.", f"roman {n}")


def neighbor(rng) -> Exchange:
    n, after = rng.randint(1, rng.choice((20, 100, 1000))), rng.random() < 0.6
    ways = [f"What number comes after {n}?", f"Which number follows {n}?"] if after else [f"What number comes before {n}?", f"Which number is right before {n}?"]
    return exact(one_of(rng, ways), f"{n + 1} comes after {n}." if after else f"{n - 1} comes before {n}.", f"next {n}")


def double(rng) -> Exchange:
    n, half = rng.randrange(rng.choice((20, 100))), rng.random() < 0.4
    if half:
        return exact(one_of(rng, [f"What is half of {2 * n}?", f"Half of {2 * n}?"]), f"Half of {2 * n} is {n}.", f"double {n}")
    return exact(one_of(rng, [f"What is double {n}?", f"What is twice {n}?", f"Double {n}."]), f"Twice {n} is {2 * n}.", f"double {n}")


def told_sum(rng) -> Exchange:
    """A sum or a difference told with things."""
    a, b = rng.randint(2, 30), rng.randint(1, 20)
    thing = one_of(rng, ["apples", "books", "coins", "pens", "stones", "cards", "eggs", "balls", "cookies", "flowers"])
    who = one_of(rng, ["I", "I", person(rng)])
    has, gets, gives, ask = ("have", "get", "give away", "do I have") if who == "I" else ("has", "gets", "gives away", f"does {who} have")
    whose = "You have" if who == "I" else f"{who} has"
    if rng.random() < 0.5:
        user, total = f"{who} {has} {a} {thing} and {gets} {b} more. How many {thing} {ask} now?", a + b
        answer, key = f"{a} + {b} = {total}. {whose} {total} {thing}.", f"add {a} {b}"
    else:
        a = a + b
        user, total = f"{who} {has} {a} {thing} and {gives} {b}. How many {thing} {ask} left?", a - b
        answer, key = f"{a} - {b} = {total}. {whose} {total} {thing}.", f"subtract {a} {b}"
    return Exchange(user, answer, key, f" {total} {thing}")


LARGE = [add_large, subtract_large, multiply_large, divide, add_three]
COMPARE = [larger, even, sort_numbers, sort_words, largest, neighbor, double, told_sum]
WRITTEN = [number_words, words_number, roman_number]
PRACTICED = [divide_more, multiples, subtract_close]  # in training only
