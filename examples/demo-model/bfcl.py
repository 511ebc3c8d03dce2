#!/usr/bin/env python3
"""How the served model does on files of the Berkeley function calling leaderboard, with `tool_choice` left to it.

Run: mistralrs-server --port 1234 &   python bfcl.py FOLDER --url http://127.0.0.1:1234
FOLDER holds `BFCL_v4_NAME.jsonl` and `possible_answer_NAME.jsonl`. A case counts as called rightly if as many calls
of the right functions come as are wanted, and as right if every argument is one of the possible ones. A case of
`irrelevance` is right if nothing is called. Answers are greedy. Only the standard library is used.
"""

import argparse
import json
import pathlib

from measure import Server

NAMES = ("simple_python", "multiple", "parallel", "parallel_multiple")
TYPES = {"dict": "object", "float": "number", "tuple": "array"}


def lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def json_types(value):
    """The types are Python's; those of JSON schemas have other names."""
    if isinstance(value, list):
        return [json_types(one) for one in value]
    if not isinstance(value, dict):
        return value
    value = {key: json_types(one) for key, one in value.items()}
    if isinstance(value.get("type"), str):
        value["type"] = TYPES.get(value["type"], value["type"])
        if value["type"] == "any":
            del value["type"]
    return value


def calls(server: Server, case: dict) -> list[tuple[str, dict]]:
    tools = [{"type": "function", "function": {**function, "parameters": json_types(function["parameters"])}} for function in case["function"]]
    said = [call["function"] for call in server.ask(case["question"][0], tools).get("tool_calls") or []]
    return [(call["name"], arguments(call["arguments"])) for call in said]


def arguments(text: str) -> dict:
    """Of a call that was cut off, something that fits nowhere."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"": text}


def fits(arguments: dict, possible: dict) -> bool:
    """An empty text among the possible values means that the argument may be missing."""
    known = all(key in possible and value in possible[key] for key, value in arguments.items())
    return known and all(key in arguments or "" in values for key, values in possible.items())


def grade(said: list[tuple[str, dict]], truth: list[dict]) -> tuple[bool, bool]:
    wanted = [(name, possible) for one in truth for name, possible in one.items()]
    if sorted(name for name, _ in said) != sorted(name for name, _ in wanted):
        return False, False
    for name, arguments in said:
        found = next((one for one in wanted if one[0] == name and fits(arguments, one[1])), None)
        if found is None:
            return True, False
        wanted.remove(found)
    return True, True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--url", default="http://127.0.0.1:1234")
    a = parser.parse_args()
    server = Server(a.url)
    print("| cases | asked | functions right | arguments too |\n|---|---:|---:|---:|")
    for name in NAMES:
        cases = lines(a.folder / f"BFCL_v4_{name}.jsonl")
        truths = {one["id"]: one["ground_truth"] for one in lines(a.folder / f"possible_answer_{name}.jsonl")}
        grades = [grade(calls(server, case), truths[case["id"]]) for case in cases]
        print(f"| {name} | {len(grades)} | {sum(called for called, _ in grades)} | {sum(right for _, right in grades)} |", flush=True)
    cases = lines(a.folder / "BFCL_v4_irrelevance.jsonl")
    print(f"| irrelevance | {len(cases)} | {sum(not calls(server, case) for case in cases)} | |")


if __name__ == "__main__":
    main()
