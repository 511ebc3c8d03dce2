"""Makes functions and requests of the rows in the tables of everyday functions. Has the face of `tools.Function`: `name`, `tool()`, `ask()`, `result()`, `ask_several()`.

One row in twelve is kept for the examination, and so is every row whose name has a noun of it. A row is trained in many wordings: other names,
descriptions and words for the same, or with some words veiled, so that it is not enough to know it by heart.
"""

import re

from . import catalog, everyday, everyday_home, everyday_leisure, everyday_study, everyday_town, everyday_travel, everyday_work
from .everyday_values import ALONE, KINDS, LISTS, WHOLE
from .exchange import held_out, one_of
from .schemas import UNTRAINED, joined, named, noun, some_result
from .tools import NOUNS, ToolExchange, request, several
from .wordings import NAME_WORDS, ORDERS, SMALL, Swap, framed, lowered, reworded, veiled
from .words import TOPICS, article, coined, listing

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
OTHER_NAMES = {"city": ["location", "place", "town"], "location": ["city", "where"], "place": ["location", "address"], "date": ["day", "when"], "time": ["hour", "at"], "person": ["name", "contact"],
               "path": ["file_path", "filename", "file"], "source": ["src", "old_path"], "destination": ["dest", "target", "new_path"], "text": ["content", "message"], "content": ["data", "text"],
               "query": ["q", "search_term", "keyword"], "days": ["duration", "num_days"], "count": ["limit", "max_results"], "start": ["origin", "from"], "end": ["destination", "to"],
               "amount": ["value", "sum"], "title": ["name", "subject"], "people": ["guests", "party_size"], "to": ["recipient", "target"], "a": ["x", "first"], "b": ["y", "second"],
               "zone": ["timezone", "tz"], "url": ["link", "address"], "directory": ["folder", "path"], "language": ["lang"], "person_name": ["name"], "minutes": ["duration"], "color": ["colour"],
               "country": ["nation", "country_name"], "street": ["address"], "address": ["street", "location"], "limit": ["max_results", "count"], "file": ["path", "filename"], "year": ["yr", "in_year"],
               "quantity": ["amount", "count"], "price": ["cost", "amount"], "subject": ["topic"], "topic": ["subject"], "month": ["period"], "day": ["date", "weekday"], "hours": ["duration", "num_hours"]}
MODULES = (everyday, everyday_home, everyday_travel, everyday_work, everyday_study, everyday_leisure, everyday_town)
# Domains that have little to do with each other: a request of one is nothing for the functions of another.
AREAS = [{"home", "food", "health", "family", "making"}, {"travel", "places", "weather", "town", "land"}, {"office", "money", "shops", "trade"}, {"programs", "devices"}, {"numbers", "science", "school"}, {"media", "games", "sport", "people", "notes"}]


def plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def kept(row: tuple) -> bool:
    """Whether a row is kept for the examination."""
    return held_out("everyday " + row[0]) or any(word in NOUNS and held_out("noun " + word) for word in row[0].split())


DOMAINS: dict[str, list] = {}
for module in MODULES:
    for domain, some in module.ROWS.items():
        DOMAINS.setdefault(domain, []).extend(some)
ROWS = [row for some in DOMAINS.values() for row in some]
EXAMINED = [row for row in ROWS if kept(row)]
TRAINED_IN = {domain: [row for row in some if not kept(row)] for domain, some in DOMAINS.items()}
TRAINED = [row for some in TRAINED_IN.values() for row in some]
DOMAIN_OF = {row[0]: domain for domain, some in DOMAINS.items() for row in some}
AREA_OF = {domain: index for index, area in enumerate(AREAS) for domain in area}
CATALOG = catalog.open_things({word for row in EXAMINED for word in f"{row[0]} {row[1]}".split()})
BY_DEED = catalog.by_deed(CATALOG)
VOCABULARY = sorted({word for row in TRAINED for word in re.findall(r"\b[a-z]{3,}\b", " ".join([row[0], row[1], row[2].lower(), *(re.sub(r"\{[^}]*\}", " ", way.lower()) for way in row[4])])) if word not in SMALL}
                    | set(TOPICS))
VOCABULARY = [word for word in VOCABULARY if not held_out("noun " + word)]


class Parameter:
    """One parameter: its key in the row, its name, its kind, its schema. With a `swap`, its words and choices are other ones."""

    def __init__(self, rng, spec: str, about: str, vary: bool, swap: Swap | None = None):
        key, kind = spec.split(":")
        self.key, self.kind, self.optional = key, kind.removesuffix("?"), kind.endswith("?")
        self.choices = self.kind.split("|") if "|" in self.kind else []
        words = key.split("_")
        if vary and rng.random() < 0.3:
            words = one_of(rng, OTHER_NAMES.get(key, [key])).split("_")
        if swap:
            words = [swap.word(word) for word in words]
            self.choices = [swap.word(word) for word in self.choices]
        if vary and rng.random() < 0.06:
            words = [coined(rng)]
        self.name, said = joined(rng, words), swap.text(key.replace("_", " ")) if swap else key.replace("_", " ")
        self.schema: dict = {"type": "array" if self.kind in LISTS else "boolean" if self.kind == "flag" else "string"}
        if self.kind in WHOLE:
            self.schema["type"] = "integer"
        elif self.kind in ("small", "percent", "price", "number", "decimal", "latitude", "longitude"):
            self.schema["type"] = "number"
        if self.schema["type"] == "array":
            self.schema["items"] = {"type": "integer" if self.kind == "numbers" else "string"}
        if rng.random() < 0.75:
            self.schema["description"] = one_of(rng, [f"The {said}", f"The {said} of the {about}", f"{said.capitalize()} for the {about}", f"Which {said}", f"{said.capitalize()}."])
        if self.choices:
            self.schema["enum"] = self.choices
        if self.optional and rng.random() < 0.2:
            self.schema["description"] = self.schema.get("description", said) + one_of(rng, [" (optional)", ". Optional", ", if it matters"])
        if vary:
            self.elaborate(rng, said)
        self.words = said

    def elaborate(self, rng, said: str) -> None:
        """Examples, units and defaults in the schema: none of them is an argument."""
        pick = rng.random()
        if pick < 0.06:
            self.schema["description"] = f"{self.schema.get('description', said).removesuffix('.')}, {one_of(rng, ['e.g.', 'for example', 'such as'])} {self.said(rng, self.value(rng)) or 'true'}"
        elif pick < 0.12 and self.optional:
            default = False if self.kind == "flag" else self.value(rng)
            self.schema["description"] = f"{self.schema.get('description', said).removesuffix('.')}. {one_of(rng, ['Default is', 'Defaults to', 'The default is'])} {default}"
            if rng.random() < 0.5:
                self.schema["default"] = default
        elif pick < 0.15 and self.choices:
            del self.schema["enum"]
            self.schema["description"] = f"{self.schema.get('description', said).removesuffix('.')}: {' or '.join(self.choices)}"

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
    """A function of a row. With `vary`, names and words differ from the row's now and then; with `swapped`, that share of its words are others,
    so that nobody knows the function: it has to be read."""

    def __init__(self, rng, row: tuple, vary: bool = True, swapped: float = 0.0):
        name, self.noun, description, parameters, self.requests = row
        self.vary, self.row_name, self.veil = vary, name, 0.06
        name = name if isinstance(name, str) else one_of(rng, name)
        self.description = description if isinstance(description, str) else one_of(rng, description)
        self.swap = Swap(rng, VOCABULARY, swapped) if swapped else None
        if self.swap:
            name, self.noun, self.description = (self.swap.text(text) for text in (name, self.noun, self.description))
        self.parameters: list[Parameter] = []
        for spec in parameters.split():
            parameter = Parameter(rng, spec, self.noun, vary, self.swap)
            if parameter.name in [p.name for p in self.parameters]:
                parameter.name = parameter.key
            self.parameters.append(parameter)
        words = name.split()
        if vary:
            words = self.varied(rng, words)
        self.name = named(rng, words)
        if plain(self.name) in UNTRAINED_PLAIN:
            self.name = "my_" + self.name

    def varied(self, rng, words: list[str]) -> list[str]:
        """Other words for the name, and a description in other words; at times only one of the two says what it is, or none: it is what the others are not."""
        if rng.random() < 0.3:
            words = [one_of(rng, NAME_WORDS[word]) if word in NAME_WORDS and rng.random() < 0.6 else word for word in words]
        pick = rng.random()
        if pick < 0.15:
            words = one_of(rng, [[*words[1:], words[0]], [coined(rng), *words], ["api", *words], [self.noun.split()[0], *words], [*words, "tool"]])
        if pick > 0.91:
            words = [coined(rng) for _ in range(rng.randint(1, 2))]
        if 0.88 < pick < 0.94:
            self.description = veiled(rng, self.description, 0.6)
        if rng.random() < 0.5:
            self.description = reworded(rng, self.description, 0.4)
        if rng.random() < 0.4:
            self.description = self.told(rng)
        return words

    def told(self, rng) -> str:
        """The description in a longer form."""
        first, text = self.description.split(" ", 1)[0], self.description
        if first in ORDERS:
            start = one_of(rng, ["Use this to ", "This function helps to ", "A tool to ", "Can be used to ", "Lets you ", "", ""])
        else:
            start = one_of(rng, ["Tells you: ", "Returns: ", "Find out: ", "Get this: ", "", ""])
        names = listing([p.words for p in self.parameters]) if self.parameters else ""
        end = one_of(rng, ["", ".", f", given {names}.", f" based on the {names}.", f". Needs the {names}.", f" for a given {self.parameters[0].words}." if self.parameters else "."])
        return (start + lowered(text) if start else text) + (end if names else ".")

    def tool(self) -> dict:
        """The function as `tools` lists it."""
        required = [p.name for p in self.parameters if not p.optional]
        body = {"type": "object", "properties": {p.name: p.schema for p in self.parameters}, "required": required}
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": body}}

    def template(self, rng) -> str:
        """A request with places for the values."""
        text = re.sub(r"\[([^\]]*)\]", lambda part: part[1] if rng.random() < 0.5 else "", one_of(rng, self.requests))
        if not self.vary:
            return text
        pick = rng.random()
        if self.swap:
            first, rest = (text.split(" ", 1) + [""])[:2]
            text = first + " " + self.swap.text(rest) if rest and rng.random() < 0.5 else self.swap.text(text)
        elif pick < 0.4:
            text = reworded(rng, text, 0.4)
        elif pick > 1 - self.veil:
            text = veiled(rng, text, 0.5)
        return framed(rng, text)

    def ask_several(self, rng, count: int) -> tuple[str, list[dict]]:
        """A request (no full stop) that differs in one or two values for each of `count` calls, and the arguments of each. With one call: any request."""
        text = template = self.template(rng)
        used = [p for p in self.parameters if "{" + p.key + "}" in text or "{a_" + p.key + "}" in text]
        free = [p for p in used if p.kind in ALONE and "{" + p.key + "}" in text]
        many = rng.sample(free, min(len(free), 2 if rng.random() < 0.15 else 1)) if count > 1 else []
        values, arguments = {}, [{} for _ in range(count if many else 1)]
        for parameter in used:
            drawn = [parameter.value(rng) for _ in arguments] if parameter in many else [parameter.value(rng)] * len(arguments)
            values[parameter.key] = listing([parameter.said(rng, value) for value in drawn]) if parameter in many else parameter.said(rng, drawn[0])
            values["a_" + parameter.key] = article(str(drawn[0]))
            for one, value in zip(arguments, drawn):
                one[parameter.name] = value
        text = text.format(**values)
        if len(many) > 1:
            text = text.removesuffix("?") + one_of(rng, [", respectively", " respectively", ""]) + ("?" if text.endswith("?") else "")
        if not self.vary and rng.random() < 0.15:
            start = text if text[:2] in ("I ", "I'") or template[0] == "{" else text[0].lower() + text[1:]
            text = one_of(rng, ["Please ", "Please ", "Can you ", "Now "] if text.split()[0] in ORDERS and not text.endswith("?") else ["Hey, ", "Hello, ", "Next: "]) + start
        return text, arguments

    def ask(self, rng) -> tuple[str, dict]:
        """A request in words (no full stop), and the arguments it calls for."""
        text, arguments = self.ask_several(rng, 1)
        if self.vary and rng.random() < 0.05 and not text.endswith("?"):
            text += one_of(rng, [" and tell me the ", " and give me the ", ", then tell me the ", " and look for the "]) + noun(rng)
        return text, arguments[0]

    def result(self, rng) -> tuple[str, str]:
        """What the function gives back, and how the assistant tells it."""
        return some_result(rng, self.noun)


UNTRAINED_PLAIN = {plain(name) for name in UNTRAINED}
KEPT_NAMES = {plain(row[0]) for row in EXAMINED}


def has_kept_name(function) -> bool:
    """Whether a function is called by chance what one of the examination is called."""
    return plain(function.name) in KEPT_NAMES


def rows_on_offer(rng, count: int) -> list[tuple]:
    """Some rows: of the tables or the catalog, anywhere or close to each other."""
    pick = rng.random()
    if pick < 0.4:
        return rng.sample(TRAINED, count)
    if pick < 0.7:
        some = TRAINED_IN[DOMAIN_OF[one_of(rng, TRAINED)[0]]]
    elif pick < 0.85:
        some = one_of(rng, list(CATALOG.values()))
    else:
        some = one_of(rng, BY_DEED)
    return rng.sample(some, min(count, len(some)))


def everyday_functions(rng, least: int) -> list[Everyday]:
    """Some functions of different rows."""
    count = rng.choice((1, 2, 2, 3, 3, 4, 5, 7)) if rng.random() < 0.95 else 10
    unknown = one_of(rng, [0.0, 0.0, 0.5, 0.5, 1.0])  # the share of functions with swapped words
    return [Everyday(rng, row, swapped=swapping(rng) if rng.random() < unknown else 0.0) for row in rows_on_offer(rng, max(least, count))]


def swapping(rng) -> float:
    return one_of(rng, [0.4, 0.7, 1.0])


def unseen_function(rng, exam: bool = True) -> ToolExchange:
    """Examination: one request for a function of a row that is kept; one in four for several calls of it."""
    functions = [Everyday(rng, row, vary=False) for row in rng.sample(EXAMINED, 1) + rng.sample(TRAINED, rng.randint(0, 3))]
    turns, calls = several(rng, functions[0]) if rng.random() < 0.25 else request(rng, functions[:1])
    rng.shuffle(functions)
    return ToolExchange([function.tool() for function in functions], turns, calls, "one")


def area_of(function) -> int | None:
    """To which area a function of the tables belongs."""
    name = getattr(function, "row_name", None)
    return AREA_OF.get(DOMAIN_OF.get(name)) if isinstance(name, str) else None


def other_request(rng, functions: list) -> str:
    """A request that none of `functions` can do: about something of another area, that shares no word with them. Words are veiled only
    if its values are of other kinds too: else an unknown request is to be tried."""
    areas = {area_of(function) for function in functions}
    kinds = {parameter.kind for function in functions for parameter in getattr(function, "parameters", [])}
    taken = {word for function in functions for word in re.findall("[a-z]{3,}", f"{function.noun} {function.description}".lower()) if word not in SMALL}
    for _ in range(20):
        row = one_of(rng, TRAINED)
        words = set(re.findall("[a-z]{3,}", f"{row[0]} {row[1]} {row[2]}".lower()))
        if AREA_OF[DOMAIN_OF[row[0]]] not in areas and not taken & words:
            other = Everyday(rng, row, swapped=swapping(rng) if rng.random() < 0.5 else 0.0)
            other.veil = 0.3 if not kinds & {parameter.kind for parameter in other.parameters} else 0.0
            return other.ask(rng)[0]
    return f"{one_of(rng, ['Get', 'Show me', 'Change', 'Send'])} the {noun(rng)}"


def toolless(rng) -> str:
    """A request that needs a tool, where there is none."""
    return Everyday(rng, one_of(rng, TRAINED_IN[one_of(rng, TOOLLESS)])).ask(rng)[0]


TOOLLESS = ["home", "devices", "travel", "office", "money", "shops", "programs", "programs", "programs"]
