#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""finish.py HTML: what Doxygen cannot be asked for.

Wrong links are taken out. Two headers define malloc() and its like as macros, <mmalloc-compat.h> and <xmemory.h>. Doxygen links each
mention of these names, also of the C library's, to one of them. They are links only on the pages of the header that defines them.

Each cell of a table names its column, for narrow screens, on which mapalloc.css shows a table as a list.
"""

import html
import pathlib
import re
import sys

NAMES = "malloc|calloc|realloc|free|strdup|reallocarray|aligned_alloc|posix_memalign|memalign|valloc|malloc_usable_size"
LINK = re.compile(rf'<a (?:class="[^"]*" )?href="(mmalloc-compat_8h|xmemory_8h)\.html#\w+"[^>]*>((?:{NAMES})(?:\(\))?)</a>')


def unlinked(name, text):
    # Only in texts and fragments: an index has the names themselves.
    if name.startswith("globals"):
        return text
    home = name.split(".")[0].removesuffix("_source") if name.startswith(("mmalloc-compat_8h", "xmemory_8h")) else ""
    return LINK.sub(lambda m: m[0] if m[1] == home else m[2], text)


def labelled(found):
    table = found.group(0)
    labels = [" ".join(re.sub(r"<[^>]*>", "", cell).split()) for cell in re.findall(r"<th\b[^>]*>(.*?)</th>", table, flags=re.S)]

    def row(cells):
        columns = iter(labels)
        return re.sub(r"<td\b", lambda _: f'<td data-label="{html.escape(html.unescape(next(columns, "")))}"', cells.group(0))

    return re.sub(r"<tr\b.*?</tr>", row, table, flags=re.S)


def main(folder):
    for page in sorted(pathlib.Path(folder).glob("*.html")):
        text = page.read_text()
        done = re.sub(r'<table class="markdownTable">.*?</table>', labelled, unlinked(page.name, text), flags=re.S)
        if done != text:
            page.write_text(done)


main(sys.argv[1])
