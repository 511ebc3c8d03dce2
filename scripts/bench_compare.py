#!/usr/bin/env python3
"""Compares two files of `mistralrs-server bench --json`.

    bench_compare.py BASE.json NEW.json [--tolerance 0.1] [--ratios]

Prints one line per measurement. Exit code 0 = nothing is slower than the tolerance allows, 1 = something is
(fewer tokens per second, or a longer time to the first token, by the medians) or was not measured any more,
2 = a file cannot be used.

With --ratios it is not the speeds that are compared but their shares of what the machine allowed, measured beside
them: these can be stored and held against another machine. BASE may then be a list of several reports; the one of the
same model, instruction set and number of threads is taken, and 0 is the exit code if there is none. Only what both
have measured is compared.
"""

import argparse
import json
import math
import sys

KEY = ("test", "tokens", "depth", "concurrency")
SPEED, WAIT = "tokens_per_second", "time_to_first_token_ms"
# Of a report: what has to be the same for shares to be compared.
SAME = ("architecture", "num_parameters", "weight_types", "instruction_set", "threads")


class Unusable(Exception):
    pass


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {type(error).__name__}: {error}") from error


def speeds(report):
    """Measurement -> {what: median}; rows of the engine, and of a server under load."""
    table = {}
    for row in report["rows"]:
        table[tuple(row[name] for name in KEY)] = {"tok/s": row[SPEED]["median"], "TTFT": row[WAIT]["median"]}
    for row in report.get("served") or []:
        key = ("serve", row["answer_tokens"], 0, row["streams"])
        table[key] = {"tok/s": row[SPEED]["median"], "TTFT": row[WAIT]["p50"]}
    return table


def shares(report):
    """Measurement -> {"share": of what the machine allowed}."""
    rows = [row for row in report["rows"] if row.get("roofline")]
    return {tuple(row[name] for name in KEY): {"share": row["roofline"]["share"]} for row in rows}


def read(path, report, of):
    """The measurements of a report, checked."""
    try:
        table = {key: {what: float(value) for what, value in row.items()} for key, row in of(report).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unusable(f"{path}: {type(error).__name__}: {error}") from error
    if not table:
        raise Unusable(f"{path}: no measurements")
    for key, values in table.items():
        if not all(math.isfinite(value) and value > 0 for value in values.values()):
            raise Unusable(f"{path}: {name_of(key)} has a median that is no positive number")
    return table


def same_as(new, path, bases):
    """The report among stored ones that ratios can be held against; `None` if there is none."""
    reports = bases if isinstance(bases, list) else [bases]
    if not all(isinstance(report, dict) for report in [new, *reports]):
        raise Unusable(f"{path}: no report, and no list of reports")
    return next((report for report in reports if all(report.get(key) == new.get(key) for key in SAME)), None)


def name_of(key):
    test, tokens, depth, concurrency = key
    return f"{test}{tokens}" + (f" @ d{depth}" if depth else "") + (f" x{concurrency}" if concurrency > 1 else "")


def compare(base, new, tolerance, complete):
    """Lines to print, and whether something got slower; or, if all has to be `complete`, is not measured any more."""
    lines, slower = [], False
    for key, before in base.items():
        if key not in new and not complete:
            continue
        if key not in new:
            lines.append(f"{name_of(key):<24} not measured any more  SLOWER")
            slower = True
            continue
        # All as a factor of speed: below 1 is slower.
        factors = {what: now / before[what] for what, now in new[key].items()}
        if "TTFT" in factors:
            factors["TTFT"] = 1 / factors["TTFT"]
        marks = [what for what, factor in factors.items() if factor < 1 - tolerance]
        slower = slower or bool(marks)
        told = ", ".join(f"{what} {before[what]:.3g} -> {now:.3g} ({factors[what] - 1:+.1%})" for what, now in new[key].items())
        lines.append(f"{name_of(key):<24} {told}" + (f"  SLOWER: {', '.join(marks)}" if marks else ""))
    lines += [f"{name_of(key):<24} new" for key in new if key not in base]
    return lines, slower


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("new")
    parser.add_argument("--ratios", action="store_true", help="compare shares of what the machine allowed")
    parser.add_argument("--tolerance", type=float, default=0.1, help="share that may be lost (default 0.1)")
    arguments = parser.parse_args()
    if not 0 <= arguments.tolerance < 1:
        parser.error("--tolerance must be at least 0 and below 1")
    try:
        base, new = load(arguments.base), load(arguments.new)
        if arguments.ratios:
            base = same_as(new, arguments.base, base)
            if base is None:
                facts = ", ".join(str(new.get(key)) for key in SAME)
                print(f"{arguments.base} has no figures of such a run: {facts}")
                return 0
        of = shares if arguments.ratios else speeds
        tables = [read(path, report, of) for path, report in ((arguments.base, base), (arguments.new, new))]
        lines, slower = compare(*tables, arguments.tolerance, complete=not arguments.ratios)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines))
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
