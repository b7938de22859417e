#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""sentences.py WORDS FILE...: print each sentence of these pages and headers that has more words.

Code, tables, tags and links do not count. In a list of errors each error is a sentence. An index entry or a heading is none.
"""

import re
import sys

ERROR = re.compile(r"\bE[A-Z0-9]{2,}\b")


def page(text):
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.M | re.S)
    text = re.sub(r"^(?: {4}|\t|\||#|\\).*$", "", text, flags=re.M)
    return re.split(r"\n\s*\n|\n\s*(?=[-*] |\d+\. )", re.sub(r"\]\([^)]*\)", "]", text))


def header(text):
    paragraphs = []
    for comment in re.findall(r"^/\*\*\n(.*?)^ \*/$", text, flags=re.M | re.S):
        comment = re.sub(r"@code.*?@endcode", "", re.sub(r"^ \*", "", comment, flags=re.M), flags=re.S)
        comment = re.sub(r"^ *\|.*$", "", comment, flags=re.M)
        paragraphs += re.split(r"\n\s*\n|\n\s*(?=[-*] |@(?:param|return|retval|par|note|file|brief)\b)", comment)
    return paragraphs


def sentences(paragraph):
    text = " ".join(paragraph.split())
    for sentence in re.split(r"(?<=[.!?])[)\"*]*\s+(?!\w\.)|(?<=:)\s+(?=[A-Z`@])", text):
        yield from re.split(r";\s+", sentence) if len(ERROR.findall(sentence)) > 1 else [sentence]


def main():
    most = int(sys.argv[1])
    for name in sys.argv[2:]:
        with open(name) as file:
            text = file.read()
        for paragraph in (page if name.endswith(".md") else header)(text):
            for sentence in sentences(paragraph):
                if len(sentence.split()) > most:
                    print(f"{name}: {len(sentence.split())} words: {sentence}")


main()
