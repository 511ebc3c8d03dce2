"""Skills on letters, words, lists and numbers. Each returns one exchange whose answer is computed."""

from .exchange import Exchange, one_of
from .words import ANIMALS, COLORS, FOODS, THINGS, invented, known, phrase


def a_word(rng) -> str:
    return one_of(rng, THINGS + ANIMALS) if known(rng, 0.6) else invented(rng, rng.choice((1, 2)))


def some_words(rng, least=3, most=5) -> list[str]:
    pool = one_of(rng, [THINGS, ANIMALS, COLORS, FOODS])
    return rng.sample(pool, rng.randint(least, most))


TOPS = (10, 20, 50)  # small numbers: sums and differences of numbers below one of these


def exact(user: str, answer: str, key: str) -> Exchange:
    return Exchange(user, answer, key, answer)


def add(rng) -> Exchange:
    top = rng.choice(TOPS)
    a, b = rng.randrange(top), rng.randrange(top)
    ways = [f"What is {a} + {b}?", f"What is {a} plus {b}?", f"{a} + {b}", f"{a}+{b}=?", f"Add {a} and {b}.", f"How much is {a} plus {b}?", f"Calculate {a} + {b}."]
    return Exchange(one_of(rng, ways), f"{a} + {b} = {a + b}", f"add {a} {b}", f"= {a + b}")


def subtract(rng) -> Exchange:
    top = rng.choice(TOPS)
    a, b = sorted((rng.randrange(top), rng.randrange(top)), reverse=True)
    ways = [f"What is {a} - {b}?", f"What is {a} minus {b}?", f"{a} - {b}", f"{a}-{b}=?", f"Subtract {b} from {a}.", f"How much is {a} minus {b}?"]
    return Exchange(one_of(rng, ways), f"{a} - {b} = {a - b}", f"subtract {a} {b}", f"= {a - b}")


def multiply(rng) -> Exchange:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    ways = [f"What is {a} times {b}?", f"What is {a} * {b}?", f"{a} * {b}", f"Multiply {a} by {b}."]
    user = one_of(rng, ways)
    return Exchange(user, f"{a} * {b} = {a * b}", "multiply " + user, f"= {a * b}")


def count(rng) -> Exchange:
    start = rng.choice((1, 1, rng.randint(1, 20)))
    end = start + rng.randint(2, 14)
    ways = [f"Count from {start} to {end}.", f"Please count from {start} to {end}.", f"Can you count from {start} to {end}?"]
    ways += [f"Count to {end}.", f"Please count to {end}."] if start == 1 else []
    return exact(one_of(rng, ways), ", ".join(map(str, range(start, end + 1))), f"count {start} {end}")


def count_down(rng) -> Exchange:
    start = rng.randint(3, 15)
    ways = [f"Count down from {start}.", f"Count backwards from {start} to 1.", f"Please count down from {start} to 1."]
    user = one_of(rng, ways)
    return exact(user, ", ".join(map(str, range(start, 0, -1))), "down " + user)


def spell(rng) -> Exchange:
    word = a_word(rng)
    ways = [f"Spell {word}.", f"Spell the word {word}.", f"How do you spell {word}?", f'Please spell "{word}".']
    return exact(one_of(rng, ways), "-".join(word), f"spell {word}")


def reverse_word(rng) -> Exchange:
    word = a_word(rng)
    ways = [f"Reverse the word {word}.", f"Write {word} backwards.", f"What is {word} backwards?"]
    return exact(one_of(rng, ways), "-".join(word) + " backwards is " + "-".join(word[::-1]), f"reverse {word}")


def count_letters(rng) -> Exchange:
    word = a_word(rng)
    ways = [f"How many letters are in {word}?", f"How many letters does {word} have?", f"Count the letters in {word}."]
    return exact(one_of(rng, ways), f"{'-'.join(word)}: {len(word)} letters.", f"letters {word}")


def repeat(rng) -> Exchange:
    text = phrase(rng, rng.randint(1, 6) if rng.random() < 0.7 else rng.randint(7, 16))
    ways = [f"Repeat after me: {text}", f"Say: {text}", f"Repeat this: {text}", f'Please repeat "{text}".', f"Echo: {text}"]
    return exact(one_of(rng, ways), text, f"repeat {text}")


def repeat_times(rng) -> Exchange:
    word, times = a_word(rng), rng.randint(2, 6)
    number = one_of(rng, [str(times), ["two", "three", "four", "five", "six"][times - 2]])
    ways = [f"Say {word} {number} times.", f"Repeat the word {word} {number} times.", f"Write {word} {number} times."]
    return exact(one_of(rng, ways), " ".join([word] * times), f"times {word} {times}")


def upper(rng) -> Exchange:
    text = phrase(rng, rng.randint(1, 4))
    ways = [f"Write in capital letters: {text}", f"Make this uppercase: {text}", f"Uppercase: {text}", f'Convert "{text}" to uppercase.']
    return exact(one_of(rng, ways), text.upper(), f"upper {text}")


def lower(rng) -> Exchange:
    text = phrase(rng, rng.randint(1, 4))
    ways = [f"Write in small letters: {text.upper()}", f"Make this lowercase: {text.upper()}", f"Lowercase: {text.upper()}", f'Convert "{text.upper()}" to lowercase.']
    return exact(one_of(rng, ways), text, f"lower {text}")


def reverse_list(rng) -> Exchange:
    words = some_words(rng)
    ways = [f"Reverse this list: {', '.join(words)}", f"Write this list backwards: {', '.join(words)}", f"Reverse the order: {', '.join(words)}"]
    return exact(one_of(rng, ways), ", ".join(reversed(words)), "reverse " + " ".join(words))


def bullets(rng) -> Exchange:
    words = some_words(rng)
    text = ", ".join(words)
    ways = [f"Make a list of {text}.", f"Write as a list: {text}", f"Turn this into a bullet list: {text}"]
    return exact(one_of(rng, ways), "\n".join(f"- {word}" for word in words), "bullets " + text)


def numbered(rng) -> Exchange:
    words = some_words(rng)
    text = ", ".join(words)
    ways = [f"Make a numbered list of {text}.", f"Number these: {text}", f"Write as a numbered list: {text}"]
    return exact(one_of(rng, ways), "\n".join(f"{index}. {word}" for index, word in enumerate(words, 1)), "numbered " + text)


def pick_word(rng) -> Exchange:
    words = some_words(rng)
    text, place = ", ".join(words), one_of(rng, ["first", "last", "second"])
    word = {"first": words[0], "last": words[-1], "second": words[1]}[place]
    ways = [f"What is the {place} word in this list: {text}?", f"Which is the {place} of these: {text}?", f"Give me the {place} item of {text}."]
    return exact(one_of(rng, ways), f"The {place} one is {word}.", f"pick {place} {text}")


COPYING = [repeat, repeat_times, upper, lower, reverse_list, bullets, numbered, pick_word]
ARITHMETIC = [add, subtract, multiply]
COUNTING = [count, count_down]
LETTERS = [spell, reverse_word, count_letters]
