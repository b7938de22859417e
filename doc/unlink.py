#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""unlink.py HTML: take wrong links out of the site.

Two headers define malloc() and its like as macros, <mmalloc-compat.h> and <xmemory.h>. Doxygen links each mention of these names, also
of the C library's, to one of them. They are links only on the pages of the header that defines them.
"""

import pathlib
import re
import sys

NAMES = "malloc|calloc|realloc|free|strdup|reallocarray|aligned_alloc|posix_memalign|memalign|valloc|malloc_usable_size"


def main(folder):
    link = re.compile(rf'<a (?:class="[^"]*" )?href="(mmalloc-compat_8h|xmemory_8h)\.html#\w+"[^>]*>((?:{NAMES})(?:\(\))?)</a>')
    for page in sorted(pathlib.Path(folder).glob("*.html")):
        # Only in texts and fragments: an index has the names themselves.
        if page.name.startswith(("globals", "mmalloc-compat_8h", "xmemory_8h")):
            home = page.name.split(".")[0].removesuffix("_source")
        else:
            home = ""
        text = page.read_text()
        kept = link.sub(lambda m: m[0] if home.startswith("globals") or m[1] == home else m[2], text)
        if kept != text:
            page.write_text(kept)


main(sys.argv[1])
