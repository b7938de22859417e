#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""check_links.py FOLDER: every link and source in its HTML leads to a file, and to a place in it, that is there.

Links to other sites are counted, not followed: a page must not depend on them. Prints what is dead; status 1 when something is.
"""

import html.parser
import pathlib
import re
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src", "data", "xlink:href") and value:
                self.links.append(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.places.add(value)


def tree_links(folder):
    """The side bar's links are in scripts."""
    for path in sorted(folder.glob("*.js")) + sorted(folder.glob("search/*.js")):
        for link in re.findall(r'"((?:\.\./)?[\w.-]+\.html(?:#[\w.-]+)?)"', path.read_text(errors="replace")):
            yield path, link
        for link in re.findall(r"'((?:\.\./)?[\w.-]+\.html(?:#[\w.-]+)?)'", path.read_text(errors="replace")):
            yield path, link


def target_of(path, link, folder):
    """The file and the place that a link names; the file is None when it is on another site."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme in ("http", "https", "mailto", "javascript", "data") or link.startswith("//"):
        return None, ""
    name = urllib.parse.unquote(parts.path)
    base = path.parent if path.suffix == ".html" or path.parent != folder else folder
    return ((base / name).resolve() if name else path.resolve()), urllib.parse.unquote(parts.fragment)


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    pages = {path: Page(path.read_text(errors="replace")) for path in sorted(folder.rglob("*.html"))}
    links = [(path, link) for path, page in pages.items() for link in page.links] + list(tree_links(folder))
    dead, outside = [], 0
    for path, link in links:
        target, place = target_of(path, link, folder)
        if target is None:
            outside += not link.startswith(("javascript:", "data:"))
        elif folder not in target.parents or not target.exists():
            dead.append(f"{path.relative_to(folder)}: {link}: no such file")
        elif place and target in pages and place not in pages[target].places and place != "top":
            dead.append(f"{path.relative_to(folder)}: {link}: no such place")
    print("\n".join(sorted(set(dead)) + [f"{len(pages)} pages, {len(links)} links ({outside} to other sites), {len(set(dead))} dead"]))
    return 1 if dead or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
