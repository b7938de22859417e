# SPDX-License-Identifier: BSD-3-Clause
"""The bench's JSON (bench --json FILE) as a drawing: a row per metric, a mark per adapter, left is better.

plot.py FILE prints the drawing. What is drawn is time or memory as a multiple of the baseline's, on a logarithmic axis. In the page it takes the page's colours.
"""

import html
import json
import math
import pathlib
import sys

LABELS, AXIS, STRIP, ROW, TOP = 290, 500, 130, 30, 96
LEAST, MOST = 0.03, 100.0
TICKS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]

CIRCLE = "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z"
SQUARE = "M-4.5-4.5h9v9h-9z"
DIAMOND = "M0-6L6 0L0 6L-6 0z"
UP = "M0-5.5L5.5 4.5H-5.5z"
DOWN = "M0 5.5L5.5-4.5H-5.5z"

# Adapter: its name for people, its family, its mark. Ours are drawn last and largest.
STYLES = {
    "qalloc": ("libqalloc, dynamic map", "ours", CIRCLE),
    "qalloc-static": ("libqalloc, static map", "ours", DIAMOND),
    "mmalloc": ("libmmalloc, in a file", "ours", SQUARE),
    "mmalloc-anon": ("libmmalloc, in memory", "ours", UP),
    "shmbuddy": ("libshmbuddy, 32 B to 1 KiB", "ours", DOWN),
    "shmbuddy-wide": ("libshmbuddy, 16 B to 256 KiB", "file", DOWN),
    "xmemory": ("libxmemory, in RAM", "memory", DOWN),
    "glibc": ("glibc", "memory", CIRCLE),
    "jemalloc": ("jemalloc", "memory", SQUARE),
    "tcmalloc": ("tcmalloc", "memory", UP),
    "boost": ("Boost, file", "boost", CIRCLE),
    "boost-shm": ("Boost, shared memory", "boost", SQUARE),
    "boost-node": ("Boost node_allocator", "boost", UP),
    "boost-cached": ("Boost cached_node", "boost", DOWN),
    "pmemobj": ("libpmemobj", "file", CIRCLE),
    "memkind": ("memkind, file", "file", SQUARE),
    "apr": ("APR rmm", "file", UP),
}

CSS = """\
.bench .mark { stroke-width: 1.5; fill-opacity: .35 }
.bench .ours { fill: #e8590c; stroke: #b8420a; fill-opacity: 1 }
.bench .memory { fill: #3b82d6; stroke: #3b82d6 } .bench .boost { fill: #2f9e5b; stroke: #2f9e5b }
.bench .file { fill: #a06bd6; stroke: #a06bd6 }
.bench .band, .bench .strip { fill: currentColor; fill-opacity: .05 }
.bench .grid { stroke: currentColor; stroke-opacity: .2 } .bench .one { stroke: currentColor; stroke-width: 1.5 }
"""


def place(ratio):
    return LABELS + AXIS * math.log(max(ratio, LEAST) / LEAST) / math.log(MOST / LEAST)


def text(x, y, what, anchor="start", size=13):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{html.escape(what)}</text>'


def line(kind, x, y, end):
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{end:.1f}"/>'


def mark(adapter, x, y, says=""):
    name, family, path = STYLES[adapter]
    scale = 1.25 if family == "ours" else 0.9
    title = html.escape(name + says)
    return (
        f'<path class="mark {family}" transform="translate({x:.1f} {y:.1f}) scale({scale})" d="{path}">'
        f"<title>{title}</title></path>"
    )


def rows_of(results):
    """By metric, in the order of the file: what is to be drawn of each adapter."""
    rows = {}
    for result in results:
        if result["adapter"] in STYLES and result["metric"] is not None:
            rows.setdefault((result["workload"], result["metric"], result["title"]), []).append(result)
    return {key: row for key, row in rows.items() if any(r["ratio"] for r in row)}


def draw_row(key, row, y, parts):
    parts.append(text(14, y + 4.5, f"{key[0]}  {key[2]}"))
    beyond = LABELS + AXIS + 24
    for result in sorted(row, key=lambda r: STYLES[r["adapter"]][1] == "ours"):
        ratio = result["ratio"]
        if result["outcome"] != "fine" or (ratio and ratio > MOST):
            says = f": {ratio:.0f} times" if ratio else f": {result['outcome']}"
            parts.append(mark(result["adapter"], beyond, y, says))
            beyond += 15
        elif ratio:
            parts.append(mark(result["adapter"], place(ratio), y, f": {ratio:.2f}"))


def draw_legend(adapters, parts):
    for n, adapter in enumerate(adapters):
        x, y = 22 + n % 5 * 182, 18 + n // 5 * 19
        parts += [mark(adapter, x, y - 4.5), text(x + 12, y, STYLES[adapter][0], size=12)]


def draw_axis(bottom, parts):
    parts.append(f'<rect class="strip" x="{LABELS + AXIS + 12}" y="{TOP}" width="{STRIP}" height="{bottom - TOP}"/>')
    parts.append(text(LABELS + AXIS + 12 + STRIP / 2, TOP - 6, "beyond; too slow", "middle", 11))
    for tick in TICKS:
        parts.append(line("one" if tick == 1 else "grid", place(tick), TOP, bottom))
        for y in (TOP - 6, bottom + 15):
            parts.append(text(place(tick), y, f"{tick:g}", "middle", 11))


def svg(path):
    data = json.loads(path.read_text())
    rows = rows_of(data["results"])
    known = {result["adapter"] for row in rows.values() for result in row}
    width, bottom = LABELS + AXIS + STRIP + 24, TOP + ROW * len(rows)
    parts = []
    draw_legend([adapter for adapter in STYLES if adapter in known], parts)
    for n in range(0, len(rows), 2):
        parts.append(f'<rect class="band" x="4" y="{TOP + n * ROW}" width="{LABELS + AXIS + 8}" height="{ROW}"/>')
    draw_axis(bottom, parts)
    for n, (key, row) in enumerate(rows.items()):
        draw_row(key, row, TOP + (n + 0.5) * ROW, parts)
    below = f"time or memory as a multiple of {data['baseline']}'s; left is better"
    parts.append(text(LABELS + AXIS / 2, bottom + 34, below, "middle"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bench wide" viewBox="0 0 {width} {bottom + 44}" width="{width}" '
        f'height="{bottom + 44}" role="img">\n<title>The benchmark\'s ratios</title>\n<style>\n{CSS}</style>\n' + "\n".join(parts) + "\n</svg>"
    )


if __name__ == "__main__":
    print(svg(pathlib.Path(sys.argv[1])))
