# SPDX-License-Identifier: BSD-3-Clause
"""Drawings for pages, as SVG in the page itself, so that they have its colours, light or dark.

A line <!-- bytes ... -->, <!-- bits ... --> or <!-- stack ... --> before a table has the table drawn; <!-- dot FILE --> has
doc/FILE drawn by graphviz, <!-- plot FILE --> the bench's JSON; <!-- text FILE --> is the text of
doc/FILE, and <!-- picture FILE WHAT --> that picture of doc/pictures. What stands between <!-- then --> and <!-- now --> is shown beside what
stands between that and <!-- both -->. tests/install/format holds the same tables against the sources.
"""

import html
import re
import subprocess

import plot

BYTES = 8  # In a row.
WIDE = 88  # Pixels a byte.
HIGH = 26
LEFT = 64


def block(svg):
    """Doxygen takes the lines as they are."""
    return f'\\htmlonly[block]\n<div class="drawing">{svg}</div>\n\\endhtmlonly\n'


def element(width, height, title, parts):
    wide = ' class="wide"' if width > 600 else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg"{wide} viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-size="13"><title>{html.escape(title)}</title>\n' + "\n".join(parts) + "\n</svg>"
    )


def box(x, y, width, height, faint=False):
    fill = ".03" if faint else ".10"
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="currentColor" fill-opacity="{fill}" stroke="currentColor"/>'


def text(x, y, what, anchor="middle", size=None, faint=False):
    more = f' font-size="{size}"' if size else ""
    more += ' opacity=".65"' if faint else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{html.escape(what)}</text>'


def is_zero(field):
    return field.startswith("zero")


def draw_bytes(title, rows):
    """Eight bytes a row; what is longer than two rows is two rows high, with its length."""
    parts, y = [], 4
    for offset, size, field, _ in rows:
        offset, size = int(offset), int(size)
        column = offset % BYTES
        name = "0" if is_zero(field) else field
        if column == 0:
            parts.append(text(LEFT - 8, y + 18, str(offset), "end", 11, True))
        if column + size <= BYTES:
            high = HIGH
        else:
            high = HIGH * min(2, (size + BYTES - 1) // BYTES)
            name += f" ({size} bytes)"
        width = min(size, BYTES - column) * WIDE
        parts.append(box(LEFT + column * WIDE, y, width, high, is_zero(field)))
        parts.append(text(LEFT + column * WIDE + width / 2, y + high / 2 + 4.5, name, faint=is_zero(field)))
        if column + size >= BYTES:
            y += high
    end = int(rows[-1][0]) + int(rows[-1][1])
    parts.append(text(LEFT - 8, y + 12, str(end), "end", 11, True))
    return element(LEFT + BYTES * WIDE + 4, y + 18, title, parts)


def draw_bits(title, rows):
    """The highest bit at the left, each field as wide as its name needs and its bits suggest."""
    fields = []
    for bits, name, *_ in rows:
        low, _, high = bits.partition("-")
        low, high = int(low), int(high or low)
        fields.append((low, high, max(9 * len(name) + 16, 6 * (high - low + 1), 44), name))
    fields.sort(reverse=True)
    parts, x = [], 4
    for low, high, width, name in fields:
        parts.append(box(x, 20, width, HIGH, is_zero(name)))
        parts.append(text(x + width / 2, 20 + HIGH / 2 + 4.5, name, faint=is_zero(name)))
        if low == high:
            parts.append(text(x + width / 2, 13, str(low), "middle", 11, True))
        else:
            parts.append(text(x + 3, 13, str(high), "start", 11, True))
            parts.append(text(x + width - 3, 13, str(low), "end", 11, True))
        x += width
    return element(x + 4, HIGH + 26, title, parts)


def draw_stack(title, rows):
    """A file from its first byte to its last."""
    parts, y = [], 4
    for at, what, *_ in rows:
        parts.append(box(170, y, 430, HIGH + 6))
        parts.append(text(160, y + 13, at, "end", 12, True))
        parts.append(text(385, y + HIGH / 2 + 8, what))
        y += HIGH + 6
    return element(604, y + 4, title, parts)


DRAW = {"bytes": draw_bytes, "bits": draw_bits, "stack": draw_stack}


def table_after(lines, at):
    """The cells of the table's rows, without its head; code and links as plain text."""
    rows = []
    while at < len(lines) and not lines[at].startswith("|"):
        at += 1
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows.append([re.sub(r"[`*]", "", cell) for cell in cells])
    return rows


def dot(source, name):
    """graphviz's drawing, in the page's colours, and without what differs between its versions."""
    svg = subprocess.run(["dot", "-Tsvg", str(source / "doc" / name)], capture_output=True, text=True, check=True).stdout
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.S)
    svg = svg.replace('"black"', '"currentColor"').replace('fill="white" stroke="transparent"', 'fill="none" stroke="none"')
    return svg.replace("xlink:href", "href").replace("<svg ", '<svg class="wide" role="img" ', 1)


SIDES = {
    "<!-- then -->": '<div class="sides"><div>',
    "<!-- now -->": "</div><div>",
    "<!-- both -->": "</div></div>",
}


def fill_in(source, page):
    lines = page.split("\n")
    out = []
    for at, line in enumerate(lines):
        order = re.fullmatch(r"<!-- (bytes|bits|stack|dot|plot|text|picture) (.*) -->", line)
        if line in SIDES:
            out.append(f"\\htmlonly[block]\n{SIDES[line]}\n\\endhtmlonly\n")
        elif not order:
            out.append(line)
        elif order.group(1) == "dot":
            out.append(block(dot(source, order.group(2))))
        elif order.group(1) == "text":
            out += ["```{.txt}"] + (source / "doc" / order.group(2)).read_text().rstrip("\n").split("\n") + ["```"]
        elif order.group(1) == "picture":
            name, what = order.group(2).split(" ", 1)
            out.append(block(f'<img class="wide" src="{name}" alt="{html.escape(what)}">'))
        elif order.group(1) == "plot":
            out.append(block(plot.svg(source / "doc" / order.group(2))))
        else:
            title = " ".join(order.group(2).split()[:2]).strip()
            out.append(block(DRAW[order.group(1)](title, table_after(lines, at))))
    return "\n".join(out)
