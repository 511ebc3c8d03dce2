#!/usr/bin/env python3
"""Compares two files of `mistralrs-server bench --json`.

    bench_compare.py BASE.json NEW.json [--tolerance 0.1]

Prints one line per measurement. Exit code 0 = nothing is slower than the tolerance allows, 1 = something is
(fewer tokens per second, or a longer time to the first token, by the medians) or was not measured any more,
2 = a file cannot be used.
"""

import argparse
import json
import math
import sys

KEY = ("test", "tokens", "depth", "concurrency")
SPEED, WAIT = "tokens_per_second", "time_to_first_token_ms"


class Unusable(Exception):
    pass


def read(path):
    """Measurement -> (median speed, median wait)."""
    try:
        with open(path, encoding="utf-8") as file:
            rows = json.load(file)["rows"]
        table = {tuple(row[name] for name in KEY): tuple(float(row[of]["median"]) for of in (SPEED, WAIT)) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{path}: {type(error).__name__}: {error}") from error
    if not table:
        raise Unusable(f"{path}: no measurements")
    for key, values in table.items():
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise Unusable(f"{path}: {name_of(key)} has a median that is no positive number")
    return table


def name_of(key):
    test, tokens, depth, concurrency = key
    return f"{test}{tokens}" + (f" @ d{depth}" if depth else "") + (f" x{concurrency}" if concurrency > 1 else "")


def compare(base, new, tolerance):
    """Lines to print, and whether something got slower."""
    lines, slower = [], False
    for key, (base_speed, base_wait) in base.items():
        if key not in new:
            lines.append(f"{name_of(key):<24} not measured any more  SLOWER")
            slower = True
            continue
        speed, wait = new[key]
        # Both as a factor of speed: below 1 is slower.
        factors = {"tok/s": speed / base_speed, "TTFT": base_wait / wait}
        marks = [name for name, factor in factors.items() if factor < 1 - tolerance]
        slower = slower or bool(marks)
        lines.append(
            f"{name_of(key):<24} {base_speed:>10.1f} -> {speed:>10.1f} tok/s ({factors['tok/s'] - 1:+.1%}), "
            f"TTFT {base_wait:.1f} -> {wait:.1f} ms" + (f"  SLOWER: {', '.join(marks)}" if marks else "")
        )
    lines += [f"{name_of(key):<24} new" for key in new if key not in base]
    return lines, slower


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("new")
    parser.add_argument("--tolerance", type=float, default=0.1, help="share that may be lost (default 0.1)")
    arguments = parser.parse_args()
    if not 0 <= arguments.tolerance < 1:
        parser.error("--tolerance must be at least 0 and below 1")
    try:
        lines, slower = compare(read(arguments.base), read(arguments.new), arguments.tolerance)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines))
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
