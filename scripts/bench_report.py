#!/usr/bin/env python3
"""Medians of a race: from what `bench_race.py` wrote to a small JSON file and to tables in Markdown.

    bench_report.py race.jsonl [--json results.json] [--into page.md]

Prints the tables, or puts them into a page between the lines `<!-- race -->` and `<!-- end of the race -->`. The JSON file
is what `bench_plot.py` draws. Only the standard library is used.
"""

import argparse
import collections
import json
import statistics
import sys

CONTESTANTS = ("ours", "llama.cpp")
TITLES = {
    "speed2": "Two threads", "batched": "Many sequences at once", "server": "Servers under load", "depth": "Behind a long context",
    "long": "A long prompt", "start": "Start and memory", "speed1": "One thread",
}
BEGIN, END = "<!-- race -->\n", "<!-- end of the race -->\n"
# Less is better.
COSTS = ("s", "ms", "MB")


def read(path):
    """Results: a list of {job, model, threads, clock, test, unit, WHO: {median, min, max, runs}, share, limit}."""
    figures = collections.OrderedDict()
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            kind = row["job"].split(" ")[0]
            key = (kind, row["model"], row["threads"], row["clock"], row["test"], row["unit"])
            figures.setdefault(key, collections.defaultdict(list))[row["who"]].append(row["value"])
            for name in ("share", "limit"):
                if row.get(name):
                    figures[key][name].append(row[name])
    return [result(key, values) for key, values in figures.items()]


def result(key, values):
    names = ("kind", "model", "threads", "clock", "test", "unit")
    found = dict(zip(names, key))
    for who, numbers in values.items():
        if who in ("share", "limit"):
            found[who] = rounded(statistics.median(numbers))
        else:
            found[who] = {"median": rounded(statistics.median(numbers)), "min": rounded(min(numbers)), "max": rounded(max(numbers)), "runs": len(numbers)}
    return found


def rounded(number):
    return float(f"{number:.4g}")


def ratio(row):
    """Ours by theirs, above 1 where ours is better; `None` if one is missing."""
    if not all(who in row for who in CONTESTANTS) or not row["unit"]:
        return None
    ours, theirs = (row[who]["median"] for who in CONTESTANTS)
    if not ours or not theirs:
        return None
    return theirs / ours if row["unit"] in COSTS else ours / theirs


def shown(numbers):
    if not numbers:
        return "–"
    median, low, high = (f"{numbers[name]:.4g}" for name in ("median", "min", "max"))
    return f"{median} ({low}–{high}; {numbers['runs']})" if numbers["runs"] > 1 else f"{median} (1)"


def tables(results):
    machine = [row for row in results if "machine" in row]
    text = []
    for kind, title in TITLES.items():
        rows = [row for row in results if row["kind"] == kind and any(who in row for who in CONTESTANTS)]
        if not rows:
            continue
        clock = ", per second of CPU time" if rows[0]["clock"] == "cpu" else ""
        text += [f"### {title}{clock}", "", "| file | test | ours | llama.cpp | better by | of the limit |", "|---|---|---:|---:|---:|---:|"]
        for row in rows:
            better = ratio(row)
            unit = f", {row['unit']}" if row["unit"] and row["unit"] != "tok/s" else ""
            share = f"{row['share']:.0%}" if row.get("share") else ""
            cells = [row["model"], row["test"] + unit, shown(row.get("ours")), shown(row.get("llama.cpp")), f"{better:.2f}" if better else "", share]
            text.append("| " + " | ".join(cells) + " |")
        text.append("")
    if machine:
        text += ["### What the machine gave beside each run", "", "| | threads | 10⁹ per second |", "|---|---:|---:|"]
        by_test = collections.OrderedDict()
        for row in machine:
            by_test.setdefault((row["test"], row["threads"]), []).append(row["machine"])
        for (test, threads), found in by_test.items():
            low, high = min(it["min"] for it in found), max(it["max"] for it in found)
            text.append(f"| {test} | {threads} | {statistics.median(it['median'] for it in found):.4g} ({low:.4g}–{high:.4g}) |")
    return "\n".join(text)


def into(page, text):
    """The page with the tables in their place."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + "\n" + text.rstrip() + "\n\n" + end + after


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("race")
    parser.add_argument("--json")
    parser.add_argument("--into")
    args = parser.parse_args()
    page = None
    try:
        results = read(args.race)
        if args.into:
            with open(args.into, encoding="utf-8") as file:
                page = into(file.read(), tables(results))
    except (OSError, ValueError, KeyError) as error:
        print(f"{args.race}: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in results) + "\n]\n")
    if page is None:
        print(tables(results))
        return 0
    with open(args.into, "w", encoding="utf-8") as file:
        file.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
