#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""search_text.py HTML: write HTML/search-text.js, what the site's search looks through: a section each.

A section begins at a heading, or is the text of one call, type or macro. Lists of names, and the sources of tests, are not searched.
"""

import html.parser
import json
import pathlib
import re
import sys

LEFT_OUT = re.compile(r"(_source|-members|^(annotated|classes|files|functions.*|globals.*|pages|index_.*|dir_.*|search|proof.*))$")
SILENT = {"script", "style", "svg", "noscript"}
HEADINGS = {"h1", "h2", "h3"}
BREAKS = {"p", "li", "td", "th", "tr", "div", "dt", "dd", "pre", "br"}
SUMMARY = re.compile(r"-members$|^nested-classes$")  # One line per call: its own section says more.


class Page(html.parser.HTMLParser):
    """The sections of a page: [place in it, heading, texts]."""

    def __init__(self, text):
        super().__init__()
        self.title, self.sections = "", [["", "", []]]
        self.depth = self.silent = 0  # In div.contents; in what is not text.
        self.into = None  # "title", "heading"; None: the text.
        self.last = ""  # The place that was named last: the one before a call's heading is its own.
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        classes = (values.get("class") or "").split()
        if tag == "div" and (self.depth or "contents" in classes):
            self.depth += 1
        elif tag == "div" and "title" in classes:
            self.into = "title"
        self.silent += tag in SILENT
        if tag in HEADINGS and self.depth:
            self.sections.append([self.last if "memtitle" in classes else "", "", []])
            self.into = "heading"
        if tag == "a" and values.get("id"):
            self.last = values["id"]
            if self.into == "heading":
                self.sections[-1][0] = self.last
        self.handle_break(tag)

    def handle_endtag(self, tag):
        if tag == "div":
            self.depth = max(0, self.depth - 1)
            self.into = None
        elif tag in HEADINGS:
            self.into = None
        self.silent -= tag in SILENT
        self.handle_break(tag)

    def handle_break(self, tag):
        if tag in BREAKS:
            self.handle_data(" ")

    def handle_data(self, data):
        if self.silent:
            return
        if self.into == "title":
            self.title += data
        elif self.into == "heading":
            self.sections[-1][1] += data
        elif self.depth:
            self.sections[-1][2].append(data)


def clean(text):
    return " ".join(text.replace("◆", "").replace("\xa0", " ").split())


def sections_of(path):
    page = Page(path.read_text(errors="replace"))
    title = re.sub(r" (File|Struct|Union) Reference$", "", clean(page.title))
    for place, heading, texts in page.sections:
        heading, text = clean(heading) or title, clean("".join(texts))
        if text and title and heading != "Table of Contents" and not SUMMARY.search(place):
            yield [path.name + (f"#{place}" if place else ""), title, heading, text]


def main(folder):
    sections = []
    for path in sorted(folder.glob("*.html")):
        if not LEFT_OUT.search(path.stem):
            sections += sections_of(path)
    lines = ",\n".join(json.dumps(section, ensure_ascii=False) for section in sections)
    (folder / "search-text.js").write_text(f"const searchText = [\n{lines}\n];\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
