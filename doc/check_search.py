#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""check_search.py HTML: the site's search finds, among its first results, what readers look for.

With python3-lunr, which gives the results of lunr.js. The weights are those of search.js.
"""

import json
import pathlib
import re
import sys

import lunr

# A word, and an address that begins like one of the first ten results.
WANTED = {
    "EADDRINUSE": "troubleshooting.html",
    "EUCLEAN": "troubleshooting.html",
    "lock": "sharing.html",
    "qalloc_lock": "qalloc-roots_8h.html",
    "locks": "sharing.html",
    "snapshot": "qalloc-durable_8h.html",
    "fork": "troubleshooting.html",
    "limits": "limits.html",
    "boost": "migrate_boost.html",
    "pmdk": "migrate_pmdk.html",
    "plot": "tool.html",
    "xmemory-run": "runners.html",
    "qalloc_makedynmap": "qalloc_8h.html",
    "checkpoint": "durable.html",
}


def words_of(text):
    return re.sub(r"['’]s\b", "", text) + " " + " ".join(re.findall(r"\w+_\w+", text)).replace("_", " ")


def main(folder):
    text = (folder / "search-text.js").read_text()
    sections = json.loads(text[text.index("["):text.rindex("]") + 1])
    weights = dict(re.findall(r'this\.field\("(\w+)"(?:, \{ boost: (\d+) \})?\)', (folder / "search.js").read_text()))
    fields = [{"field_name": name, "boost": int(boost or 1)} for name, boost in weights.items()]
    documents = [{"id": i, "page": words_of(s[1]), "heading": words_of(s[2]), "text": re.sub(r"['’]s\b", "", s[3])} for i, s in enumerate(sections)]
    index = lunr.lunr(ref="id", fields=fields, documents=documents)
    missed = 0
    for word, address in WANTED.items():
        found = [sections[int(hit["ref"])][0] for hit in index.search(" ".join(f"+{part}" for part in word.split("-")))[:10]]
        if not any(result.startswith(address) for result in found):
            print(f'the search for "{word}" does not find {address}: {" ".join(found) or "nothing"}')
            missed += 1
    print(f"{len(sections)} sections, {len(WANTED)} searches, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
