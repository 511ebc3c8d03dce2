#!/usr/bin/env python3
"""Draws the results of a race as an SVG picture.

    bench_plot.py results.json picture.svg

Bars in pairs, ours and llama.cpp's, tokens per second; a line above a pair is what the machine allows. The JSON file is
what `bench_report.py --json` wrote. Only the standard library is used.
"""

import argparse
import json
import sys
from xml.sax.saxutils import escape

OURS, THEIRS, LIMIT, TEXT, GRID = "#2463b0", "#b9bec6", "#c4472b", "#222222", "#dddddd"
PANEL_W, PANEL_H, TOP, LEFT, BOTTOM, GAP = 420, 210, 46, 16, 30, 24
# Title, kind, how a test's name begins and ends, what stands below a bar.
PANELS = [
    ("Generating, one sequence", "speed2", "tg", "", "model"),
    ("Reading a prompt", "speed2", "pp", "", "model"),
    ("Generating, many sequences at once", "batched", "tg", "", "count"),
    ("Server, many streams at once", "server", "", ": out", "streams"),
    ("Generating behind a long context", "depth", "tg", "", "depth"),
    ("One thread, generating", "speed1", "tg", "", "model"),
]


def label(row, kind):
    if kind == "model":
        family, _, of = row["model"].partition("b-")
        return f"{of.upper()}" + ("" if family.endswith("-0.5") else f" {family.rpartition('-')[2]}B")
    if kind == "count":
        return row["test"].rpartition("×")[2]
    if kind == "streams":
        return row["test"].split(" ")[0]
    return row["test"].partition("@")[2].strip() or "0"


def chosen(results, panel):
    _, kind, start, end, below = panel
    rows = [row for row in results if row["kind"] == kind and row["test"].startswith(start) and row["test"].endswith(end)]
    return [(label(row, below), row) for row in rows if "ours" in row and "llama.cpp" in row]


def text(x, y, content, size=12, anchor="middle", color=TEXT, weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}" font-weight="{weight}">{escape(str(content))}</text>'


def bar(x, width, base, height, color, value):
    number = f"{value:.0f}" if value >= 20 else f"{value:.1f}"
    return [
        f'<rect x="{x:.1f}" y="{base - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>',
        text(x + width / 2, base - height - 4, number, 10),
    ]


def panel(title, rows, left, top):
    """One chart; the highest bar or line fills it."""
    base, room = top + TOP + PANEL_H - BOTTOM, PANEL_H - BOTTOM - 18
    most = max(max(row["ours"]["median"], row["llama.cpp"]["median"], row.get("limit") or 0) for _, row in rows)
    parts = [text(left, top + 18, title + ", tokens/s", 14, "start", weight="bold")]
    parts.append(f'<line x1="{left}" x2="{left + PANEL_W}" y1="{base}" y2="{base}" stroke="{GRID}"/>')
    step = PANEL_W / len(rows)
    width = min(step * 0.36, 34)
    for at, (name, row) in enumerate(rows):
        middle = left + step * (at + 0.5)
        height = {who: room * row[who]["median"] / most for who in ("ours", "llama.cpp")}
        parts += bar(middle - width - 1, width, base, height["ours"], OURS, row["ours"]["median"])
        parts += bar(middle + 1, width, base, height["llama.cpp"], THEIRS, row["llama.cpp"]["median"])
        if row.get("limit"):
            y = base - room * row["limit"] / most
            parts.append(f'<line x1="{middle - width - 4:.1f}" x2="{middle + width + 4:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LIMIT}" stroke-width="1.5"/>')
        ratio = row["ours"]["median"] / row["llama.cpp"]["median"] if row["llama.cpp"]["median"] else 0
        parts += [text(middle, base + 14, name, 11), text(middle, base + 27, f"×{ratio:.2f}", 10, color=OURS)]
    return parts


def picture(results):
    panels = [(it[0], chosen(results, it)) for it in PANELS]
    panels = [(title, rows) for title, rows in panels if rows]
    if not panels:
        return None
    lines = (len(panels) + 1) // 2
    width, height = 2 * (PANEL_W + GAP) + LEFT, lines * (PANEL_H + TOP + GAP) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for at, (name, color) in enumerate((("mistralrs", OURS), ("llama.cpp", THEIRS), ("what the machine allows", LIMIT))):
        x = LEFT + at * 110
        parts += [f'<rect x="{x}" y="12" width="12" height="12" fill="{color}"/>', text(x + 17, 22, name, 12, "start")]
    for at, (title, rows) in enumerate(panels):
        parts += panel(title, rows, LEFT + at % 2 * (PANEL_W + GAP), 30 + at // 2 * (PANEL_H + TOP + GAP))
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("picture")
    args = parser.parse_args()
    with open(args.results, encoding="utf-8") as file:
        drawn = picture(json.load(file))
    if drawn is None:
        print(f"{args.results}: nothing that both have done", file=sys.stderr)
        return 2
    with open(args.picture, "w", encoding="utf-8") as file:
        file.write(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
