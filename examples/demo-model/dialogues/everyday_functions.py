"""Makes functions and requests of the rows in `everyday.py`. Has the face of `tools.Function`: `name`, `tool()`, `ask()`, `result()`, `ask_several()`.

One row in twelve is kept for the examination, and so is every row whose name has a noun of it.
"""

import re

from .everyday import ROWS
from .exchange import held_out, one_of
from .facts import TABLES
from .schemas import UNTRAINED, joined, letters, named, noun, some_path, some_result, zone
from .strings import a_word
from .tools import NOUNS, ToolExchange, request, several
from .words import ANIMALS, COLORS, DAYS, FOODS, HOBBIES, JOBS, LANGUAGES, MONTHS, THINGS, article, coined, invented, listing, person, phrase, place

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
ORDERS = set("""Find Book Reserve Show Plan Rent Get Give Order Put Add Set Turn Switch Clean Vacuum Water Wake Count Remind Start Send Write Tell Text Call Create
Schedule Cancel Delete Take Save Ask Read Open List Move Rename Copy Remove Search Pack Compress Run Execute Describe Make Load Download Summarize Look Ping Check Scale Restart Resize
Convert Generate Pick Multiply Raise Calculate Sort Split Divide Change Buy Transfer Pay Translate Define Enroll Sign Play Log Note Borrow Mix Track Apply Review Bill Invoice Assign
Report Remember Keep Store Say Speak""".split())
OTHER_NAMES = {"city": ["location", "place", "town"], "location": ["city", "where"], "place": ["location", "address"], "date": ["day", "when"], "time": ["hour", "at"], "person": ["name", "contact"],
               "path": ["file_path", "filename", "file"], "source": ["src", "old_path"], "destination": ["dest", "target", "new_path"], "text": ["content", "message"], "content": ["data", "text"],
               "query": ["q", "search_term", "keyword"], "days": ["duration", "num_days"], "count": ["limit", "max_results"], "start": ["origin", "from"], "end": ["destination", "to"],
               "amount": ["value", "sum"], "title": ["name", "subject"], "people": ["guests", "party_size"], "to": ["recipient", "target"], "a": ["x", "first"], "b": ["y", "second"],
               "zone": ["timezone", "tz"], "url": ["link", "address"], "directory": ["folder", "path"], "language": ["lang"], "person_name": ["name"], "minutes": ["duration"], "color": ["colour"]}


def numbers(low: int, high: int, decimals: float = 0.0):
    """A source of numbers, a share of them with decimals."""
    return lambda rng: rng.randint(low * 10, high * 10) / one_of(rng, [4, 10, 100]) if rng.random() < decimals else rng.randint(low, high)


def date(rng) -> str:
    day, month = rng.randint(1, 28), rng.randint(1, 12)
    return one_of(rng, [f"{rng.randint(2019, 2032)}-{month:02}-{day:02}", f"{MONTHS[month - 1]} {day}", f"{day} {MONTHS[month - 1]}", f"{day:02}.{month:02}.2025", f"{month}/{day}/2024",
                        "tomorrow", "today", one_of(rng, DAYS), one_of(rng, DAYS), "next " + one_of(rng, DAYS)])


def time(rng) -> str:
    return one_of(rng, [f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}", f"{rng.randint(1, 12)}:{rng.choice((0, 15, 30, 45)):02}", f"{rng.randint(1, 12)} {one_of(rng, ['am', 'pm'])}"])


def file(rng) -> str:
    ending = one_of(rng, [".txt", ".md", ".json", ".py", ".csv", ".log", ".pdf", ".toml", ".html"])
    name = one_of(rng, [a_word, coined, lambda rng: letters(rng)])(rng)
    return one_of(rng, [name + ending, f"/{a_word(rng)}/{name}{ending}", f"/{a_word(rng)}/{name}{ending}", f"./{name}{ending}", f"{a_word(rng)}/{name}{ending}", f"/{coined(rng)}/{a_word(rng)}/{name}{ending}"])


def path(rng) -> str:
    return one_of(rng, [some_path(rng, a_word), some_path(rng, coined), f"{a_word(rng)}/{coined(rng)}", "~/" + a_word(rng), "/" + a_word(rng), "/" + coined(rng)])


def title(rng) -> str:
    return phrase(rng, rng.randint(1, 3)).title()


def some_id(rng) -> str:
    return one_of(rng, [letters(rng, 5, 9).upper(), f"{letters(rng, 2, 3).upper()}-{rng.randint(10, 9999)}", str(rng.randint(1000, 999999)), f"#{rng.randint(1, 9999)}", f"{coined(rng)}-{rng.randint(1, 99)}"])


CITIES = [row[1] for row in TABLES["capital"][0]] + "London Paris Munich Milan Barcelona Boston Chicago Seattle Denver Mumbai Shanghai Osaka Sydney Toronto Hamburg Geneva Naples Porto Lyon".split()
COUNTRIES = [row[0] for row in TABLES["capital"][0]]
WORDS = {"room": "kitchen bedroom bathroom garage hall cellar office garden nursery attic".split(), "planet": "Mercury Venus Mars Jupiter Saturn Uranus Neptune".split(),
         "sport": "football tennis hockey golf rugby boxing chess baseball basketball".split(), "genre": "jazz rock folk pop horror comedy drama classical crime".split(),
         "subject": "math physics history chemistry biology art music geography".split(), "instrument": "guitar violin cello harp banjo bass".split(), "tree": "oak pine birch maple elm apple".split(),
         "doctor": "dentist surgeon cardiologist dermatologist".split(), "money": "USD EUR GBP JPY CHF SEK INR CNY dollars euros".split(), "command": ["ls -la", "git status", "make test", "cargo build", "df -h", "uname -a", "npm install"],
         "color": COLORS, "language": LANGUAGES, "food": FOODS, "job": JOBS, "hobby": HOBBIES, "element": [row[0] for row in TABLES["symbol"][0]], "country": COUNTRIES}
KINDS = {
    **{kind: (lambda rng, words=words: one_of(rng, words)) for kind, words in WORDS.items()},
    "city": lambda rng: one_of(rng, CITIES) if rng.random() < 0.5 else place(rng), "person": lambda rng: person(rng) + (" " + invented(rng, 2).capitalize() if rng.random() < 0.2 else ""),
    "few": numbers(2, 12), "small": numbers(1, 30, 0.15), "minutes": numbers(1, 90), "hundreds": numbers(10, 999), "thousands": lambda rng: rng.randint(10, 999) * one_of(rng, [100, 1000]),
    "percent": numbers(1, 30, 0.2), "teens": numbers(6, 32), "warm": numbers(15, 28), "large": numbers(100, 4000), "year": numbers(1500, 2030), "price": numbers(1, 900, 0.3), "number": numbers(0, 999, 0.25),
    "height": numbers(140, 205), "weight": numbers(40, 120), "stars": numbers(1, 5), "age": numbers(1, 95), "date": date, "time": time, "zone": zone, "path": path, "file": file,
    "image": lambda rng: (a_word(rng) if rng.random() < 0.5 else coined(rng)) + one_of(rng, [".png", ".jpg", ".webp"]),
    "url": lambda rng: f"http{one_of(rng, ['', 's', 's'])}://" + one_of(rng, ["", "www."]) + f"{coined(rng)}.{one_of(rng, ['com', 'org', 'net', 'io'])}" + one_of(rng, ["", f"/{coined(rng)}", f":{rng.randint(80, 9999)}/{a_word(rng)}"]),
    "host": lambda rng: one_of(rng, [f"{coined(rng)}.{one_of(rng, ['com', 'org', 'net'])}", "localhost", f"10.0.{rng.randint(0, 255)}.{rng.randint(1, 254)}"]),
    "email": lambda rng: f"{one_of(rng, [coined(rng), person(rng).lower()])}@{coined(rng)}.{one_of(rng, ['com', 'org', 'net'])}", "phone": lambda rng: f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}",
    "id": some_id, "ticker": lambda rng: letters(rng, 3, 4).upper(), "sql": lambda rng: f"SELECT {one_of(rng, ['*', a_word(rng), 'count(*)'])} FROM {coined(rng)}", "word": lambda rng: a_word(rng) if rng.random() < 0.5 else coined(rng),
    "phrase": lambda rng: phrase(rng, rng.randint(1, 4)), "quote": lambda rng: phrase(rng, rng.randint(1, 5)), "title": title, "name": lambda rng: invented(rng, 2).capitalize(),
    "people": lambda rng: [person(rng) for _ in range(rng.randint(2, 4))], "numbers": lambda rng: [rng.randint(0, 99) for _ in range(rng.randint(3, 6))],
    "thing": lambda rng: one_of(rng, THINGS), "animal": lambda rng: one_of(rng, ANIMALS), "flag": lambda rng: True,
}
WHOLE = {"few", "minutes", "hundreds", "thousands", "teens", "warm", "large", "year", "height", "weight", "stars", "age"}
ALONE = {"city", "person", "date", "time", "zone", "file", "path", "id", "ticker", "word", "food", "country", "room", "animal", "element", "planet", "title", "language", "color", "name", "url"}


def plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def kept(row: tuple) -> bool:
    """Whether a row is kept for the examination."""
    return held_out("everyday " + row[0]) or any(word in NOUNS and held_out("noun " + word) for word in row[0].split())


TRAINED = [row for row in ROWS if not kept(row)]
EXAMINED = [row for row in ROWS if kept(row)]


class Parameter:
    """One parameter: its key in the row, its name, its kind, its schema."""

    def __init__(self, rng, spec: str, about: str, vary: bool):
        key, kind = spec.split(":")
        self.key, self.kind, self.optional = key, kind.removesuffix("?"), kind.endswith("?")
        self.choices = self.kind.split("|") if "|" in self.kind else []
        words = key.split("_")
        if vary and rng.random() < 0.3:
            words = one_of(rng, OTHER_NAMES.get(key, [key])).split("_")
        if vary and rng.random() < 0.08:
            words = [coined(rng)]
        self.name, said = joined(rng, words), key.replace("_", " ")
        self.schema: dict = {"type": "array" if self.kind in ("people", "numbers") else "boolean" if self.kind == "flag" else "string"}
        if self.kind in WHOLE:
            self.schema["type"] = "integer"
        elif self.kind in ("small", "percent", "price", "number"):
            self.schema["type"] = "number"
        if self.schema["type"] == "array":
            self.schema["items"] = {"type": "integer" if self.kind == "numbers" else "string"}
        if rng.random() < 0.75:
            self.schema["description"] = one_of(rng, [f"The {said}", f"The {said} of the {about}", f"{said.capitalize()} for the {about}", f"Which {said}", f"{said.capitalize()}."])
        if self.choices:
            self.schema["enum"] = self.choices
        if self.optional and rng.random() < 0.2:
            self.schema["description"] = self.schema.get("description", said) + one_of(rng, [" (optional)", ". Optional", ", if it matters"])

    def value(self, rng):
        return one_of(rng, self.choices) if self.choices else KINDS[self.kind](rng)

    def said(self, rng, value) -> str:
        if self.kind == "flag":
            return ""
        if self.kind == "quote" or self.kind in ("title", "file", "word", "sql", "command") and rng.random() < 0.15:
            return one_of(rng, [f'"{value}"', f'"{value}"', f"'{value}'"])
        if self.kind == "few" and rng.random() < 0.2:
            return NUMBERS[value]
        return listing([str(one) for one in value]) if isinstance(value, list) else str(value)


class Everyday:
    """A function of a row. With `vary`, names differ from the row's now and then."""

    def __init__(self, rng, row: tuple, vary: bool = True):
        name, self.noun, self.description, parameters, self.requests = row
        self.parameters: list[Parameter] = []
        for spec in parameters.split():
            parameter = Parameter(rng, spec, self.noun, vary)
            if parameter.name in [p.name for p in self.parameters]:
                parameter.name = parameter.key
            self.parameters.append(parameter)
        words = name.split()
        if vary and rng.random() < 0.15:
            words = one_of(rng, [[*words[1:], words[0]], [coined(rng), *words], ["api", *words]])
        self.name = named(rng, words)
        if plain(self.name) in {plain(name) for name in UNTRAINED}:
            self.name = "my_" + self.name

    def tool(self) -> dict:
        """The function as `tools` lists it."""
        required = [p.name for p in self.parameters if not p.optional]
        body = {"type": "object", "properties": {p.name: p.schema for p in self.parameters}, "required": required}
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": body}}

    def ask_several(self, rng, count: int) -> tuple[str, list[dict]]:
        """A request (no full stop) that differs in one value for each of `count` calls, and the arguments of each. With one call: any request."""
        text = re.sub(r"\[([^\]]*)\]", lambda part: part[1] if rng.random() < 0.5 else "", one_of(rng, self.requests))
        used = [p for p in self.parameters if "{" + p.key + "}" in text or "{a_" + p.key + "}" in text]
        free = [p for p in used if p.kind in ALONE and "{" + p.key + "}" in text]
        many = one_of(rng, free) if count > 1 and free else None
        values, arguments = {}, [{} for _ in range(count if many else 1)]
        for parameter in used:
            drawn = [parameter.value(rng) for _ in arguments] if parameter is many else [parameter.value(rng)] * len(arguments)
            values[parameter.key] = listing([parameter.said(rng, value) for value in drawn]) if parameter is many else parameter.said(rng, drawn[0])
            values["a_" + parameter.key] = article(str(drawn[0]))
            for one, value in zip(arguments, drawn):
                one[parameter.name] = value
        text = text.format(**values)
        if rng.random() < 0.15:
            start = text if text[0] == "I" and text[1] in " '" else text[0].lower() + text[1:]
            text = one_of(rng, ["Please ", "Please ", "Can you ", "Now "] if text.split()[0] in ORDERS and not text.endswith("?") else ["Hey, ", "Hello, ", "Next: "]) + start
        return text, arguments

    def ask(self, rng) -> tuple[str, dict]:
        """A request in words (no full stop), and the arguments it calls for."""
        text, arguments = self.ask_several(rng, 1)
        return text, arguments[0]

    def result(self, rng) -> tuple[str, str]:
        """What the function gives back, and how the assistant tells it."""
        return some_result(rng, self.noun)


def everyday_functions(rng, least: int, rows: list = TRAINED, vary: bool = True) -> list[Everyday]:
    """Some functions of different rows."""
    return [Everyday(rng, row, vary) for row in rng.sample(rows, max(least, rng.choice((1, 2, 2, 3, 3, 4, 5, 7))))]


def unseen_function(rng, exam: bool = True) -> ToolExchange:
    """Examination: one request for a function of a row that is kept; one in four for several calls of it."""
    functions = [Everyday(rng, row, vary=False) for row in rng.sample(EXAMINED, 1) + rng.sample(TRAINED, rng.randint(0, 3))]
    turns, calls = several(rng, functions[0]) if rng.random() < 0.25 else request(rng, functions[:1])
    rng.shuffle(functions)
    return ToolExchange([function.tool() for function in functions], turns, calls, "one")


def other_request(rng, functions: list) -> str:
    """A request that none of `functions` can do: about something else."""
    if rng.random() < 0.3:
        return f"{one_of(rng, ['Get', 'Show me', 'Change', 'Send'])} the {noun(rng)}"
    row = one_of(rng, TRAINED)
    taken = {function.noun for function in functions}
    return other_request(rng, functions) if taken & {row[1], *row[0].split()} else Everyday(rng, row).ask(rng)[0]
