"""Conversations with functions: schemas made of nouns and verbs, requests that need one, two or none of them.

A schema is put together from a verb, a noun and typed parameters, so there are hundreds of thousands; the
nouns of the examination never occur in training.
"""

import json
import os.path
from dataclasses import dataclass

from .exchange import draw, held_out, one_of
from .facts import fact
from .strings import add, repeat
from .talk import refuse, small_talk
from .words import COLORS, DAYS, LANGUAGES, MONTHS, coined, invented, listing, person, phrase, place

# verb in the name, in the description, in requests
LOOK_UP = [("get", "Get", ["Get", "Show me", "I need", "Give me", "What is", "Tell me"]), ("find", "Find", ["Find", "Search for", "Look for", "I am looking for"]),
           ("lookup", "Look up", ["Look up", "Check", "Please check"]), ("search", "Search for", ["Search for", "Find", "Look for"]),
           ("check", "Check", ["Check", "Please check", "Look at"]), ("fetch", "Fetch", ["Fetch", "Get", "Load"])]
ACTIONS = [("create", "Create", ["Create", "Make", "Please create"]), ("add", "Add", ["Add", "Please add", "Put in"]), ("book", "Book", ["Book", "Please book", "Reserve"]),
           ("order", "Order", ["Order", "Please order", "Buy"]), ("delete", "Delete", ["Delete", "Remove", "Please delete"]), ("send", "Send", ["Send", "Please send"]),
           ("start", "Start", ["Start", "Please start", "Begin"]), ("stop", "Stop", ["Stop", "Please stop", "End"]), ("set", "Set", ["Set", "Please set", "Change"]),
           ("open", "Open", ["Open", "Please open"]), ("schedule", "Schedule", ["Schedule", "Plan", "Please plan"]), ("update", "Update", ["Update", "Change", "Please update"])]
NOUNS = """weather forecast temperature flight train hotel room table taxi ticket pizza meal recipe song playlist movie book newspaper article
email message letter reminder alarm timer meeting event appointment note task file folder report invoice payment order parcel package
price stock currency exchange score game match team player user account profile password photo picture video map route distance address
restaurant museum concert lesson course exam grade lamp light heater door window garage camera printer computer server backup database
record contact phone call doctor medicine prescription vaccine garden plant tree animal dog bike car bus boat ship plane bill budget loan
insurance contract license visa passport city country holiday trip tour guide menu drink coffee tea wine shop product discount coupon gift
flower cake party wedding guest seat desk office employee salary project issue ticket sensor robot machine engine battery filter""".split()
NOUNS = sorted(set(NOUNS))


@dataclass
class Parameter:
    """One parameter of a schema: names it may have, its JSON schema, a value, and how a request says it."""

    names: list[str]
    schema: dict
    value: object
    said: list[str]


def quoted(value) -> str:
    return f'"{value}"'


def make_parameter(rng, kind: str) -> Parameter:
    text = {"type": "string"}
    if kind == "place":
        v = place(rng)
        return Parameter(["city", "location", "place", "town"], {**text, "description": one_of(rng, ["The city", "Name of the place", "The location"])}, v, [f"in {v}", f"for {v}", f"near {v}"])
    if kind == "person":
        v = person(rng)
        return Parameter(["name", "person", "customer", "user", "recipient"], {**text, "description": one_of(rng, ["Name of the person", "The person", "Who it is for"])}, v, [f"for {v}", f"to {v}", f"of {v}"])
    if kind == "day":
        v = one_of(rng, [one_of(rng, DAYS), "today", "tomorrow", f"2025-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}", f"{one_of(rng, MONTHS)} {rng.randint(1, 28)}"])
        return Parameter(["date", "day", "when"], {**text, "description": one_of(rng, ["The date", "The day", "On which day"])}, v, [f"on {v}" if v[0] not in "t" else v])
    if kind == "time":
        v = f"{rng.randint(1, 23)}:{rng.choice((0, 15, 30, 45)):02}"
        return Parameter(["time", "hour", "start"], {**text, "description": one_of(rng, ["The time", "Time of day"])}, v, [f"at {v}"])
    if kind == "number":
        v = rng.randint(1, 99)
        return Parameter(["count", "amount", "quantity", "number", "limit"], {"type": "integer", "description": one_of(rng, ["How many", "The number", "The amount"])}, v, [f"with number {v}", f"{v} times", f"with {v} pieces"])
    if kind == "text":
        v = phrase(rng, rng.randint(1, 4))
        return Parameter(["text", "title", "message", "content", "query"], {**text, "description": one_of(rng, ["The text", "The title", "What it says"])}, v, [f"saying {quoted(v)}", f"with the text {quoted(v)}", f"titled {quoted(v)}"])
    if kind == "id":
        v = one_of(rng, [f"{one_of(rng, 'ABCDEFGHKLMNPRSTXYZ')}{rng.randint(10, 9999)}", f"{invented(rng, 1)}-{rng.randint(1, 99)}"])
        return Parameter(["id", "code", "key", "reference"], {**text, "description": one_of(rng, ["The id", "The code", "Its number"])}, v, [f"with id {v}", f"with code {v}", f"{v}"])
    if kind == "color":
        v = one_of(rng, COLORS)
        return Parameter(["color"], {**text, "description": "The color"}, v, [f"in {v}", f"in color {v}"])
    if kind == "language":
        v = one_of(rng, LANGUAGES)
        return Parameter(["language"], {**text, "description": "The language"}, v, [f"in {v}"])
    choices = one_of(rng, [["celsius", "fahrenheit"], ["small", "medium", "large"], ["low", "normal", "high"], ["fast", "slow"], ["public", "private"]])
    v = one_of(rng, choices)
    return Parameter([one_of(rng, ["unit", "size", "level", "mode"])], {**text, "enum": choices}, v, [f"as {v}", f"with {v} mode", f"and make it {v}"])


KINDS = ["place", "place", "person", "day", "time", "number", "text", "id", "color", "language", "choice"]


class Function:
    """A schema with what is needed to ask for it."""

    def __init__(self, rng, noun: str, rename: float = 0.0):
        """`rename` is the share of parameters with an invented name, which can only be read."""
        looks_up = rng.random() < 0.5
        verb, description, requests = one_of(rng, LOOK_UP if looks_up else ACTIONS)
        style = rng.randrange(3)
        self.name = [f"{verb}_{noun}", f"{verb}{noun.capitalize()}", f"{noun}_{verb}"][style]
        self.description = f"{description} {one_of(rng, ['the', 'a'])} {noun}"
        self.noun, self.requests, self.looks_up = noun, requests, looks_up
        kinds = rng.sample(sorted(set(KINDS)), 4)
        kinds = list(dict.fromkeys([one_of(rng, KINDS), *kinds]))[: rng.choice((1, 1, 2, 2, 3))]
        self.kinds, self.names, self.schemas = kinds, [], {}
        for kind in kinds:
            parameter = make_parameter(rng, kind)
            name = one_of(rng, [n for n in parameter.names if n not in self.schemas] or [kind])
            if rename and rng.random() < rename:
                name = coined(rng)
            self.names.append(name)
            self.schemas[name] = parameter.schema
        self.required = max(1, len(kinds) - rng.choice((0, 0, 1)))

    def tool(self) -> dict:
        """The function as `tools` lists it."""
        parameters = {"type": "object", "properties": self.schemas, "required": self.names[: self.required]}
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": parameters}}

    def parameter(self, rng, index: int) -> Parameter:
        """A value that the schema allows, with its words."""
        schema, parameter = self.schemas[self.names[index]], make_parameter(rng, self.kinds[index])
        while "enum" in schema and parameter.value not in schema["enum"]:
            parameter = make_parameter(rng, self.kinds[index])
        return parameter

    def ask(self, rng) -> tuple[str, dict]:
        """A request in words (no full stop), and the arguments it calls for."""
        said, arguments = [], {}
        for index, name in enumerate(self.names):
            if index >= self.required and rng.random() < 0.5:
                continue
            parameter = self.parameter(rng, index)
            arguments[name] = parameter.value
            said.append(one_of(rng, parameter.said))
        request = one_of(rng, self.requests)
        return f"{request} {one_of(rng, ['the', 'a', 'the'])} {self.noun} {' '.join(said)}", arguments

    def ask_several(self, rng, count: int) -> tuple[str, list[dict]]:
        """A request (no full stop) that differs in the first value for each of `count` calls, and the arguments of each."""
        if "enum" in self.schemas[self.names[0]]:
            text, arguments = self.ask(rng)
            return text, [arguments]
        drawn = [self.parameter(rng, 0) for _ in range(count)]
        shared = {name: self.parameter(rng, index) for index, name in enumerate(self.names[: self.required]) if index}
        way = rng.randrange(min(len(parameter.said) for parameter in drawn))
        said = [parameter.said[way] for parameter in drawn]
        if rng.random() < 0.6:  # the word before the value is said once
            begin = os.path.commonprefix(said)
            begin = begin[: begin.rfind(" ") + 1]
            said = [said[0]] + [text[len(begin) :] for text in said[1:]]
        words = [f"{one_of(rng, self.requests)} the {self.noun} {listing(said)}", *(one_of(rng, parameter.said) for parameter in shared.values())]
        same = {name: parameter.value for name, parameter in shared.items()}
        return " ".join(words), [{self.names[0]: parameter.value} | same for parameter in drawn]

    def result(self, rng) -> tuple[str, str]:
        """What the function gives back, and how the assistant tells it."""
        shape = rng.randrange(5)
        if shape == 0:
            return json.dumps({"error": "not found"}), f"I am sorry, the {self.noun} was not found."
        if not self.looks_up and shape < 3:
            return one_of(rng, ['{"status": "ok"}', '{"success": true}', "done", "ok"]), f"Done. The {self.noun} request went through."
        keys = rng.sample(["status", "name", "value", "price", "level", "total", "place", "result"], rng.choice((1, 1, 2)))
        values = {key: one_of(rng, [rng.randint(0, 999), invented(rng, 2), place(rng), one_of(rng, COLORS)]) for key in keys}
        if shape == 1:
            value = one_of(rng, list(values.values()))
            return str(value), f"The {self.noun}: {value}."
        return json.dumps(values), f"The {self.noun}: " + listing([f"{key} {value}" for key, value in values.items()]) + "."


def some_functions(rng, exam: bool, least: int, invent: float, rename: float = 0.0) -> list[Function]:
    """One to four functions about different nouns, a share of them and of their parameters invented: so that names have to be read."""
    pool = [noun for noun in NOUNS if held_out("noun " + noun) == exam]
    nouns = rng.sample(pool, max(least, rng.choice((1, 2, 2, 3, 4))))
    return [Function(rng, invented(rng) if invent and rng.random() < invent else noun, rename) for noun in nouns]


def sentence(text: str, rng) -> str:
    """A request as people end it."""
    if text.startswith("What") or text.endswith("?"):
        return text.removesuffix("?") + "?"
    return one_of(rng, ["", "", "Could you help? ", "Please help me. "]) + text + one_of(rng, [".", ".", "", ", please."])


def call(name: str, arguments: dict) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


@dataclass
class ToolExchange:
    """A conversation with tools; `calls` is what the first answer must call (none: it must answer in words)."""

    tools: list[dict]
    messages: list[dict]
    calls: list[dict]
    kind: str


def request(rng, chosen: list) -> tuple[list[dict], list[dict]]:
    """The turns of one request for the chosen functions, with their results and the reply; and the calls."""
    asked = [(function, *function.ask(rng), *function.result(rng)) for function in chosen]
    requests = [words for _, words, *_ in asked]
    if len(requests) > 1:
        joint = one_of(rng, [" and ", ". Also ", ", then ", " and also "])
        question, requests = requests[-1].endswith("?"), [words.removesuffix("?") for words in requests]
        end = one_of(rng, [".", "", ", please."])
        user = joint.join([requests[0], *(words[0].lower() + words[1:] for words in requests[1:])]) + ("?" if question else end)
    else:
        user = sentence(requests[0], rng)
    return answered(user, [(call(function.name, arguments), result, text) for function, _, arguments, result, text in asked])


def answered(user: str, done: list[tuple[dict, str, str]]) -> tuple[list[dict], list[dict]]:
    """The turns from a request to the reply: calls, results, and what is told of each; and the calls."""
    calls = [one for one, _, _ in done]
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": "", "tool_calls": calls}]
    turns += [{"role": "tool", "content": result} for _, result, _ in done]
    return [*turns, {"role": "assistant", "content": " ".join(text for _, _, text in done)}], calls


def several(rng, function) -> tuple[list[dict], list[dict]]:
    """The turns of one request for two to four calls of one function, and the calls."""
    words, arguments = function.ask_several(rng, rng.choice((2, 2, 3, 4)))
    return answered(sentence(words, rng), [(call(function.name, one), *function.result(rng)) for one in arguments])


def with_tools(rng, exam: bool, invent: float = 0.0) -> ToolExchange:
    """One request; now and then two at once, or one that needs no tool. `invent` is the share of invented nouns."""
    pick = rng.random()
    if pick < 0.18:
        functions = some_functions(rng, exam, 1, invent)
        other = draw(one_of(rng, [fact, fact, add, repeat, refuse] + ([] if exam else [small_talk])), rng, exam)
        return ToolExchange([f.tool() for f in functions], other.messages(), [], "none")
    if pick < 0.38:
        functions = some_functions(rng, exam, 2 if rng.random() < 0.7 else 1, invent)
        chosen = rng.sample(functions, 2) if len(functions) > 1 else functions * 2
        kind = "two"
    else:
        functions = some_functions(rng, exam, 1, invent)
        chosen, kind = [one_of(rng, functions)], "one"
    turns, calls = request(rng, chosen)
    return ToolExchange([f.tool() for f in functions], turns, calls, kind)


NO_TOOL = "I am sorry, none of my tools can do that."


def at_work(rng, functions: list, other_request) -> tuple[list[dict], list[dict]]:
    """A training conversation of several requests to the same functions, some that need none: the schemas are read once.
    `other_request(rng, functions)` asks for what none of them does."""
    turns = []
    for _ in range(rng.choice((1, 2, 4, 6, 8))):
        pick = rng.random()
        if pick < 0.10:
            turns += draw(one_of(rng, [fact, fact, add, repeat, refuse, small_talk]), rng, exam=False).messages()
        elif pick < 0.19:
            turns += [{"role": "user", "content": sentence(other_request(rng, functions), rng)}, {"role": "assistant", "content": NO_TOOL}]
        elif pick < 0.31:
            turns += several(rng, one_of(rng, functions))[0]
        elif pick < 0.50:
            count = min(len(functions), rng.choice((2, 2, 2, 3)))
            turns += request(rng, rng.sample(functions, count) if count > 1 and rng.random() < 0.8 else [one_of(rng, functions)] * 2)[0]
        else:
            turns += request(rng, [one_of(rng, functions)])[0]
    return turns, [f.tool() for f in functions]
