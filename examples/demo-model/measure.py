#!/usr/bin/env python3
"""The demo model's examination: questions it never saw, asked over HTTP, as any client asks.

Run: mistralrs-server --port 1234 &   python measure.py --url http://127.0.0.1:1234
Every question comes from the held-out side of `dialogues.exchange.held_out`. Answers are greedy.
An answer is right if it is, or where the table says so contains, what is expected; a tool call is right
if the names and all arguments are. Only the standard library is used.
"""

import argparse
import concurrent.futures
import json
import random
import re
import urllib.request

from dialogues import numbers, strings, talk
from dialogues.everyday_functions import unseen_function
from dialogues.exchange import draw
from dialogues.facts import explain, fact, translate
from dialogues.real import real_function
from dialogues.tools import with_tools

WHOLE, PART = "whole answer", "contains"
SECTIONS = [
    ("facts", fact, PART), ("memory over turns", talk.memory, PART), ("repeat a text", strings.repeat, WHOLE), ("repeat n times", strings.repeat_times, WHOLE),
    ("upper case", strings.upper, WHOLE), ("lower case", strings.lower, WHOLE), ("reverse a list", strings.reverse_list, WHOLE), ("bullet list", strings.bullets, WHOLE),
    ("numbered list", strings.numbered, WHOLE), ("pick a word", strings.pick_word, WHOLE), ("JSON object", talk.json_object, WHOLE), ("system styles", talk.styled, PART),
    ("this server", talk.server, WHOLE), ("polite refusal", talk.refuse, PART), ("count", strings.count, WHOLE), ("spell", strings.spell, WHOLE),
    ("reverse a word", strings.reverse_word, WHOLE), ("count letters", strings.count_letters, WHOLE), ("addition", strings.add, PART), ("subtraction", strings.subtract, PART),
    ("multiplication", strings.multiply, PART), ("sums below 1000", numbers.add_large, PART), ("differences below 1000", numbers.subtract_large, PART), ("division", numbers.divide, PART),
    ("sort numbers", numbers.sort_numbers, WHOLE), ("numbers in words", numbers.number_words, WHOLE), ("sums in a story", numbers.told_sum, PART),
    ("translate a word", translate, PART), ("explain a thing", explain, WHOLE), ("story on a subject", talk.story, PART),
]


class Server:
    def __init__(self, url: str):
        self.url = url

    def ask(self, messages: list[dict], tools: list[dict] | None = None) -> dict:
        body = {"model": "default", "messages": messages, "temperature": 0, "max_tokens": 160}
        if tools:
            body["tools"] = tools
        request = urllib.request.Request(self.url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["choices"][0]["message"]


def right(exchange, rule: str, answer: str) -> bool:
    """A number must not go on after what is expected: 4 is not in 42."""
    if rule == WHOLE:
        return answer.strip() == exchange.assistant
    return re.search(re.escape(exchange.expect.lower()) + (r"(?!\d)" if exchange.expect[-1:].isdigit() else ""), answer.lower()) is not None


def section(server: Server, pool, skill, rule: str, count: int) -> tuple[float, list]:
    rng = random.Random(f"exam {skill.__name__}")
    exchanges = [draw(skill, rng, exam=True) for _ in range(count)]

    def one(exchange):
        system = [{"role": "system", "content": exchange.system}] if exchange.system else []
        return server.ask(system + exchange.messages()[:-1]).get("content") or ""

    answers = list(pool.map(one, exchanges))
    graded = [(right(e, rule, a), e.user, a, e.assistant) for e, a in zip(exchanges, answers)]
    return sum(good for good, *_ in graded) / count, graded


def as_wire(message: dict) -> dict:
    """Arguments as a string, ids added: what a client sends back."""
    if not message.get("tool_calls"):
        return message
    calls = [{"id": f"call_{index}", "type": "function", "function": {"name": c["function"]["name"], "arguments": json.dumps(c["function"]["arguments"])}}
             for index, c in enumerate(message["tool_calls"])]
    return {**message, "tool_calls": calls}


def arguments_of(call: dict):
    """The arguments of a call; the bare text if the answer was cut off in them."""
    try:
        return json.loads(call["function"]["arguments"])
    except ValueError:
        return call["function"]["arguments"]


def calls_of(server: Server, pool, count: int, make, name: str) -> tuple[dict, list]:
    """Choice and arguments of functions that are never trained."""
    rng = random.Random(f"exam {name} tools")
    exchanges = [make(rng) for _ in range(count)]
    answers = pool.map(lambda exchange: server.ask(exchange.messages[:1], exchange.tools), exchanges)
    choice, whole, graded = 0, 0, []
    for exchange, answer in zip(exchanges, answers):
        called, wanted = called_in(answer), wanted_in(exchange)
        choice += [name for name, _ in called] == [name for name, _ in wanted]
        whole += called == wanted
        graded.append((called == wanted, exchange.messages[0]["content"], called, wanted))
    return {f"{name} functions: choice": (choice / count, count), f"{name} functions: arguments too": (whole / count, count)}, graded


def real_tools(server: Server, pool, count: int) -> tuple[dict, list]:
    """Functions that MCP servers offer."""
    return calls_of(server, pool, count, real_function, "real")


def everyday_tools(server: Server, pool, count: int) -> tuple[dict, list]:
    """Functions of everyday kinds, several calls of one at times."""
    return calls_of(server, pool, count, unseen_function, "everyday")


def called_in(answer: dict) -> list[tuple]:
    return [(call["function"]["name"], arguments_of(call)) for call in answer.get("tool_calls") or []]


def wanted_in(exchange) -> list[tuple]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in exchange.calls]


def tools(server: Server, pool, count: int) -> tuple[dict, list]:
    """Choice and arguments of unseen functions, and the use of their results."""
    rng = random.Random("exam tools")
    exchanges = [with_tools(rng, exam=True) for _ in range(count)]

    def one(exchange):
        first = server.ask(exchange.messages[:1], exchange.tools)
        history = [as_wire(message) for message in exchange.messages[:-1]]
        ids = iter(range(9))
        history = [{**m, "tool_call_id": f"call_{next(ids)}"} if m["role"] == "tool" else m for m in history]
        last = server.ask(history, exchange.tools) if exchange.calls else {}
        return first, last

    scores = {name: [] for name in ("tool choice", "no tool when none fits", "arguments, all right", "two calls at once", "reply from the result")}
    graded = []
    for exchange, (first, last) in zip(exchanges, pool.map(one, exchanges)):
        called, wanted = called_in(first), wanted_in(exchange)
        if exchange.kind == "none":
            scores["no tool when none fits"].append(not called)
        else:
            scores["tool choice"].append([name for name, _ in called] == [name for name, _ in wanted])
            scores["arguments, all right" if exchange.kind == "one" else "two calls at once"].append(called == wanted)
            scores["reply from the result"].append((last.get("content") or "").strip() == exchange.messages[-1]["content"])
        graded.append((called == wanted, exchange.messages[0]["content"], called, wanted))
    return {name: (sum(values) / max(1, len(values)), len(values)) for name, values in scores.items()}, graded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:1234")
    parser.add_argument("--count", type=int, default=100, help="questions per line")
    parser.add_argument("--errors", type=int, default=0, help="wrong answers to show per line")
    a = parser.parse_args()
    server = Server(a.url)
    print("| what | right | asked | counted as right |\n|---|---:|---:|---|")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name, skill, rule in SECTIONS:
            share, graded = section(server, pool, skill, rule, a.count)
            print(f"| {name} | {share:.0%} | {a.count} | {rule} |", flush=True)
            for _, *wrong in [g for g in graded if not g[0]][: a.errors]:
                print("    asked, answered, wanted:", wrong)
        for examine, asked in ((tools, 3 * a.count), (real_tools, a.count), (everyday_tools, a.count)):
            scores, graded = examine(server, pool, asked)
            for name, (share, of) in scores.items():
                print(f"| {name} | {share:.0%} | {of} | {'whole answer' if name.startswith('reply') else 'names and arguments' if 'arg' in name or 'two' in name else 'names'} |", flush=True)
            for _, *wrong in [g for g in graded if not g[0]][: a.errors]:
                print("    asked, called, wanted:", wrong)


if __name__ == "__main__":
    main()
