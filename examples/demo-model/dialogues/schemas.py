"""Functions of any kind, for training only: names, descriptions, parameters and results that mean nothing.

`tools.py` makes the functions of the examination, from a table of nouns; here a function is made of words
nobody knows, in the forms that real tool servers use, so that names, choices and values have to be read.
Has the face of `tools.Function`: `name`, `tool()`, `ask()`, `result()`.
"""

import json
import string

from . import real
from .exchange import held_out, one_of
from .words import ADJECTIVES, COLORS, DAYS, THINGS, coined, listing, person, phrase, place, term

# verb: how people ask for it
VERBS = {
    "get": ["Get", "Give me", "Show me", "Tell me", "What is"], "read": ["Read", "Open"], "list": ["List", "Show me all of"], "search": ["Search", "Search for", "Look for"],
    "find": ["Find", "Look for"], "write": ["Write", "Save"], "create": ["Create", "Make", "Add"], "delete": ["Delete", "Remove"], "move": ["Move"], "copy": ["Copy"],
    "convert": ["Convert", "Turn"], "calculate": ["Calculate", "Work out"], "translate": ["Translate"], "play": ["Play"], "send": ["Send"], "start": ["Start", "Begin"],
    "stop": ["Stop", "End"], "set": ["Set", "Change"], "update": ["Update", "Change"], "check": ["Check", "Look at"], "fetch": ["Fetch", "Get", "Load"], "run": ["Run", "Start"],
    "open": ["Open"], "close": ["Close"], "book": ["Book", "Reserve"], "add": ["Add", "Put in"], "count": ["Count"], "print": ["Print"], "lookup": ["Look up", "Check"],
    "query": ["Query", "Ask"], "rename": ["Rename"], "schedule": ["Schedule", "Plan"], "order": ["Order", "Buy"], "edit": ["Edit", "Change"], "describe": ["Describe"],
    "merge": ["Merge"], "push": ["Push"], "show": ["Show", "Show me"], "save": ["Save"], "echo": ["Echo"], "download": ["Download"], "turn_on": ["Turn on"], "turn_off": ["Turn off"],
    "say": ["Say"], "repeat": ["Repeat"],
}
FILLERS = [
    "Returns the {a} as text.", "Only works within allowed {a} directories.", "Use this tool when you need to {v} the {a} of a single {b}.", "The {a} is given as {b}.",
    "Handles various {a} and provides detailed {b} messages if the {a} cannot be found.", "Use the '{a}' parameter to {v} only the first {b}.", "This is useful for {a} and {b}.",
    "Returns a list of {a}.", "Never {v} the {b} twice.", "Supports {a}, {b} and other types.", "The result contains {a} and {b}.", "Fails if there is no {a}.",
]
KEYS = """path file name title query url id key text message content source target location city zone unit limit count page size type mode format language user owner repo
branch head tail offset level color date time start end price amount value body subject recipient email label kind format table node entity number from to a b x y n address age angle answer author base body category channel cities class code color_name column
command comment company context country currency data days default degree department depth description destination device direction distance domain duration
element email_address event field filter first format_type frequency function genre group height hours include index input interval items keyword last latitude
length list location longitude mass max_results mean metric min minutes model month months numbers operation options order order_by output page_size password
people period phone place player points population position power precision pressure product project property quality quantity question radius range
rate rating ratio reason recipe region repository result rooms rows sample score season second sequence sex shape side sort sort_by speed state status step
stock street style symbol system tag target_unit task team temperature term test threshold timezone token total units values variable velocity version volume
weight width word words year years zip""".split()
MEASURES = [" meters", " m", " kg", " units", "%", " percent", " seconds", " hours", " days", " years", " degrees", " dollars", " miles", " liters", " people", " points", " cm", "m", " volts"]
UNTRAINED = {function[0] for function in real.ALL}
OPEN_THINGS = [word for word in THINGS if not held_out("noun " + word)]
KEYS = [word for word in KEYS if not held_out("noun " + word)]


def noun(rng) -> str:
    """A thing with a function of its own: one or two words, never a noun of the examination by itself."""
    words = [one_of(rng, OPEN_THINGS) if rng.random() < 0.2 else term(rng) for _ in range(rng.choice((1, 1, 2)))]
    return " ".join(words)


def joined(rng, words: list[str]) -> str:
    """Words as an identifier: snake, camel, Pascal or kebab case."""
    style = rng.random()
    if style < 0.6:
        return "_".join(words)
    camel = words[0] + "".join(word.capitalize() for word in words[1:])
    return camel if style < 0.85 else camel[:1].upper() + camel[1:] if style < 0.88 else "-".join(words)


def named(rng, words: list[str]) -> str:
    """Words as the name of a function: as `joined`, now and then with a dot, as members of a module."""
    if len(words) > 1 and rng.random() < 0.15:
        cut = rng.randint(1, len(words) - 1)
        return joined(rng, words[:cut]) + "." + joined(rng, words[cut:])
    return joined(rng, words)


def letters(rng, least: int = 4, most: int = 10) -> str:
    return "".join(one_of(rng, string.ascii_letters + string.digits) for _ in range(rng.randint(least, most)))


def some_path(rng, part) -> str:
    return "/" + "/".join(part(rng) for _ in range(rng.randint(1, 3))) + one_of(rng, ["", "", "/", ".txt", ".md", ".json", ".py", ".csv"])


def zone(rng) -> str:
    """A time zone by its name, mostly of towns that do not exist."""
    region = one_of(rng, ["Europe", "Asia", "America", "Africa", "Australia", "Pacific", "Atlantic", "Indian"]) if rng.random() < 0.7 else coined(rng).capitalize()
    return f"{region}/{place(rng).split()[0] if rng.random() < 0.5 else coined(rng).capitalize()}" + one_of(rng, ["", "", "", f"_{coined(rng).capitalize()}"])


def some_text(rng) -> str:
    """A value that is text, in one of the shapes that values have."""
    return one_of(rng, TEXTS)(rng)


TEXTS = [
    coined, coined, coined, person, person, place, place,
    lambda rng: phrase(rng, rng.randint(2, 4)),
    lambda rng: some_path(rng, lambda rng: one_of(rng, [coined(rng), letters(rng), "." + letters(rng)])),
    lambda rng: some_path(rng, lambda rng: one_of(rng, THINGS) if rng.random() < 0.4 else coined(rng)),
    lambda rng: some_path(rng, coined),
    lambda rng: coined(rng) + one_of(rng, [".txt", ".md", ".json", ".py", ".csv", ".png"]),
    lambda rng: f"http{one_of(rng, ['', 's'])}://{coined(rng)}.{one_of(rng, ['com', 'org', 'net'])}" + one_of(rng, ["", "/" + coined(rng), f":{rng.randint(80, 9999)}/{coined(rng)}"]),
    lambda rng: f"{coined(rng)}@{coined(rng)}.{one_of(rng, ['com', 'org'])}",
    lambda rng: f"{coined(rng).capitalize()}/{coined(rng).capitalize()}",
    lambda rng: zone(rng),
    letters,
    lambda rng: f"{rng.randint(2000, 2040)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    lambda rng: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
    lambda rng: one_of(rng, DAYS + COLORS),
    lambda rng: coined(rng).upper(),
]


class Parameter:
    """One parameter: its name, its schema, and how a value is chosen and said."""

    def __init__(self, rng, kind: str | None = None):
        words = [one_of(rng, KEYS)] if rng.random() < 0.5 else [coined(rng)]
        if rng.random() < 0.25:
            words.insert(0, one_of(rng, KEYS) if rng.random() < 0.5 else coined(rng))
        self.words, self.name = " ".join(words), joined(rng, words)
        self.kind = kind or one_of(rng, ["text"] * 6 + ["integer"] * 3 + ["number"] * 2 + ["boolean", "enum", "array"])
        kind = {"text": "string", "enum": "string"}.get(self.kind, self.kind)
        self.schema = {"type": kind}
        if self.kind == "enum":
            self.choices = [coined(rng) for _ in range(rng.randint(2, 4))]
            self.schema["enum"] = self.choices
        if self.kind == "array":
            self.schema["items"] = {"type": "string"}
        if rng.random() < 0.6:
            about = one_of(rng, [f"The {self.words}", f"{self.words} of the {coined(rng)}", f"Name of the {self.words}", f"The {coined(rng)} to use for the {self.words}"])
            self.schema["description"] = about
        if rng.random() < 0.15:
            self.schema["title"] = self.words.title()
        if rng.random() < 0.5:
            self.schema = dict(sorted(self.schema.items()))

    def value(self, rng):
        values = {"text": some_text, "integer": lambda rng: rng.randint(0, one_of(rng, [9, 99, 9999])) * (-1 if rng.random() < 0.1 else 1), "number": lambda rng: rng.randint(1, 999) / one_of(rng, [2, 10, 100]),
                  "boolean": lambda rng: rng.random() < 0.5, "enum": lambda rng: one_of(rng, self.choices), "array": lambda rng: [coined(rng) for _ in range(rng.randint(1, 3))]}
        return values[self.kind](rng)

    def spoken(self, rng, value, quoted: float) -> str:
        """The value by itself, at times in quotes."""
        text = listing(value) if self.kind == "array" else str(value).lower() if self.kind == "boolean" else str(value)
        if self.kind in ("integer", "number") and rng.random() < 0.12:
            return text + one_of(rng, MEASURES)
        if " " in text and self.kind == "text" and rng.random() < 0.8 or rng.random() < quoted:
            return one_of(rng, [f'"{text}"', f"'{text}'"])
        return text

    def said(self, rng, value, alone: bool) -> str:
        """The words of a request that give the value; a lone text needs no name."""
        if self.kind == "boolean":
            return one_of(rng, [f"with {self.words} {'on' if value else 'off'}", f"{self.words}: {str(value).lower()}"])
        text = self.spoken(rng, value, 0.25 if alone else 0.1)
        if alone and self.kind == "text" and rng.random() < 0.7:
            return one_of(rng, [f"for {text}", text, text, f"in {text}", f"of {text}", f"at {text}", f"called {text}", f": {text}"])
        return one_of(rng, [f"with {self.words} {text}", f"with {self.words} {text}", f"using {self.words} {text}", f"{self.words}: {text}", f"{self.name}={text}", f"and {self.words} {text}"])


def leaves(value, key: str = "") -> list[str]:
    """The values of a JSON text with their keys, in order: what the assistant tells of it."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, name)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, key)]
    return [f"{key} {value if isinstance(value, str) else json.dumps(value)}".strip()]


def some_json(rng, depth: int = 1):
    fields = {}
    for _ in range(rng.randint(1, 3)):
        roll = rng.random()
        leaf = some_text(rng) if roll < 0.6 else rng.randint(0, 9999) if roll < 0.85 else [phrase(rng, rng.randint(1, 3)) for _ in range(rng.randint(0, 2))]
        fields[one_of(rng, KEYS) if rng.random() < 0.6 else coined(rng)] = leaf
    if depth and rng.random() < 0.3:
        return {one_of(rng, KEYS): [some_json(rng, 0)], coined(rng): []} if rng.random() < 0.5 else {coined(rng): some_json(rng, 0)}
    return fields


def in_order(rng, values: list[tuple[str, str]]) -> str:
    """Two or three values (each with its name in words) said in the order of the parameters, mostly without the names."""
    (_, a), (name, b), *more = values
    if more:
        c = more[0][1]
        return one_of(rng, [f"from {a} the {name} {b} to {c}", f"{a}, {b} and {c}", f"{a} with {name} {b} to {c}", f"of {a}, {b} and {c}"])
    return one_of(rng, [f"{a} to {b}", f"from {a} to {b}", f"of {a} and {b}", f"{a} and {b}", f"{a} with {b}", f"{a} into {b}", f"{a} with {name} {b}", f"{a}, {b}"])


class AnyFunction:
    """A schema with what is needed to ask for it. `verbs` are free to use; `noun` may be shared with another function, or be missing."""

    def __init__(self, rng, about: str, verb: str, plain: bool, family: str = ""):
        """`family` is a word that the names of a server's functions begin with."""
        self.verb, self.plain, self.bare = verb, plain, not about
        self.noun = about or verb.replace("_", " ")
        words = [verb] + ([one_of(rng, [coined(rng), *ADJECTIVES, "current", "all"])] if rng.random() < 0.15 else []) + about.split()
        if rng.random() < 0.2:
            words = [*words[1:], verb]
        if family and about and rng.random() < 0.4:
            words = about.split()
        self.name = named(rng, ([family] if family else [coined(rng)] if rng.random() < 0.1 else []) + words)
        self.parameters: list[Parameter] = []
        for _ in range(rng.choice((1, 1, 2) if self.bare else (0, 1, 1, 1, 2, 2, 3))):
            parameter = Parameter(rng, one_of(rng, ["text", "text", "integer"]) if self.bare else None)
            if parameter.name not in [p.name for p in self.parameters]:
                self.parameters.append(parameter)
        self.sorted = rng.random() < 0.5
        if self.sorted:
            self.parameters.sort(key=lambda p: p.name)
        self.required = [p for p in self.parameters if rng.random() < 0.75] or self.parameters[:1]
        said = verb.replace("_", " ")
        head = one_of(rng, [f"{said} the {about}", f"{said} a {about}", f"{said}s the {about}", f"{said} {about}", f"tool to {said} the {about}", f"use this to {said} a {about}"])
        self.description = head[0].upper() + head[1:]
        for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 1, 3))):
            filler = one_of(rng, FILLERS).format(a=coined(rng), b=coined(rng), v=one_of(rng, list(VERBS)).replace("_", " "))
            self.description = self.description.removesuffix(".") + ". " + filler
        self.extra = {"additionalProperties": False} if rng.random() < 0.15 else {"$schema": "http://json-schema.org/draft-07/schema#"} if rng.random() < 0.15 else {}

    def tool(self) -> dict:
        """The function as `tools` lists it."""
        parameters = {"type": "object", "properties": {p.name: p.schema for p in self.parameters}, **self.extra}
        if self.required:
            parameters["required"] = [p.name for p in self.required]
        if self.sorted:
            parameters = dict(sorted(parameters.items()))
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": parameters}}

    def ask(self, rng) -> tuple[str, dict]:
        """A request in words (no full stop), and the arguments it calls for."""
        said, arguments = [], {}
        for parameter in self.parameters:
            if parameter not in self.required and rng.random() < 0.6:
                continue
            arguments[parameter.name] = parameter.value(rng)
            said.append((parameter, arguments[parameter.name]))
        words = self.spoken(rng, said)
        verb = self.verb.replace("_", " ")
        ways = [verb.capitalize()] if self.plain else VERBS[self.verb]
        begin = one_of(rng, ways)
        if rng.random() < 0.25:
            begin = one_of(rng, ["I want to ", "Can you ", "Could you please ", "I need to ", "Please "]) + begin[0].lower() + begin[1:]
        about = [] if self.bare else [one_of(rng, ["the", "the", "a", "my", "your"]), self.noun]
        request = " ".join([begin, *about, *words]).replace(" :", ":")
        if rng.random() < 0.15:
            request += one_of(rng, [" and tell me the ", " and give me the ", ": what is the ", ": which "]) + noun(rng)
        return request, arguments

    def spoken(self, rng, said: list[tuple]) -> list[str]:
        """How the values of a request are given: each with its name, one after the other without, or as a list."""
        pick = rng.random()
        if len(said) in (2, 3) and all(p.kind in ("text", "integer", "number") for p, _ in said) and pick < 0.35:
            return [in_order(rng, [(p.words, p.spoken(rng, value, 0.1)) for p, value in said])]
        if len(said) > 1 and pick < 0.5:
            begin, is_ = one_of(rng, ["with ", "where ", "given ", "for ", "using "]), one_of(rng, ["=", " = ", " of ", " is ", " equal to "])
            return [begin + listing([f"{one_of(rng, [p.words, p.words, 'the ' + p.words, 'a ' + p.words])}{is_}{p.spoken(rng, value, 0.05)}" for p, value in said])]
        if len(said) > 1 and pick < 0.6:
            return ["with " + listing([f"{p.words} {p.spoken(rng, value, 0.1)}" for p, value in said])]
        if self.bare and len(said) == 1:
            (parameter, value), = said
            text = parameter.spoken(rng, value, 0.35)
            return [one_of(rng, [text, text, f"the {parameter.words} {text}"])]
        return [parameter.said(rng, value, len(said) == 1) for parameter, value in said]

    def ask_several(self, rng, count: int) -> tuple[str, list[dict]]:
        """A request (no full stop) that differs in one text for each of `count` calls, and the arguments of each."""
        many = next((p for p in self.parameters if p.kind == "text" and p in self.required), None)
        if many is None:
            text, arguments = self.ask(rng)
            return text, [arguments]
        shared = {p.name: (p, p.value(rng)) for p in self.required if p is not many}
        drawn = [many.value(rng) for _ in range(count)]
        values = listing([many.spoken(rng, value, 0.1) for value in drawn])
        words = [one_of(rng, [f"for {values}", values, f"of {values}", f"with {many.words} {values}", f"in {values}"])]
        words += [f"with {p.words} {p.spoken(rng, value, 0.1)}" for p, value in shared.values()]
        rng.shuffle(words)
        about = [] if self.bare else ["the", self.noun]
        arguments = [{p.name: drawn[index] if p is many else shared[p.name][1] for p in self.parameters if p is many or p.name in shared} for index in range(count)]
        return " ".join([one_of(rng, [self.verb.replace("_", " ").capitalize()] if self.plain else VERBS[self.verb]), *about, *words]), arguments

    def result(self, rng) -> tuple[str, str]:
        """What the function gives back, and how the assistant tells it."""
        return some_result(rng, self.noun)


def some_result(rng, about: str) -> tuple[str, str]:
    """What a function about something gives back, and how the assistant tells it."""
    shape = rng.random()
    if shape < 0.1:
        return one_of(rng, ['{"status": "ok"}', '{"success": true}', "done", "ok"]), f"Done. The {about} request went through."
    if shape < 0.2:
        reason = one_of(rng, ["not found", f"no such {coined(rng)}", "access denied", phrase(rng, 2)])
        told = f"I am sorry, the {about} was not found." if reason == "not found" else f"I am sorry, that failed: {reason}."
        return one_of(rng, [json.dumps({"error": reason}), f"Error: {reason}"]), told
    if shape < 0.5:
        text = one_of(rng, [lambda: some_text(rng), lambda: phrase(rng, rng.randint(2, 8)), lambda: f"The {noun(rng)} is {some_text(rng)}", lambda: f"{person(rng)} {coined(rng)} in {place(rng)}"])()
        return one_of(rng, [text, text + "."]), f"The {about}: {text}."
    value = some_json(rng)
    told = leaves(value)
    if not told:
        return some_result(rng, about)
    return json.dumps(value, indent=2 if rng.random() < 0.2 else None), f"The {about}: {listing(told)}."


def any_functions(rng, least: int, bare: float) -> list[AnyFunction]:
    """One to six functions, now and then with a word that all names begin with; two of them may share what they are about, and only
    the verb tells which is meant, or share the verb. `bare` is the share of functions about nothing, whose name is a verb."""
    count = max(least, rng.choice((1, 2, 2, 2, 3, 3, 4, 4, 6)))
    verbs = rng.sample(list(VERBS), count)
    nouns = [noun(rng) if rng.random() > bare else "" for _ in range(count)]
    alike = rng.random()
    if alike < 0.3 and count > 1:
        nouns[1] = nouns[0]
    elif alike < 0.45 and count > 1:
        verbs[1], nouns[:2] = verbs[0], [noun(rng), noun(rng)]
    plain = alike < 0.3 or rng.random() < 0.3
    family = coined(rng) if rng.random() < 0.2 else ""
    functions = [AnyFunction(rng, about, verb, plain, family) for about, verb in zip(nouns, verbs)]
    names = {function.name for function in functions}
    return functions if len(names) == count and not names & UNTRAINED else any_functions(rng, least, bare)
