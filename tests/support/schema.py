#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""schema.py SCHEMA [FILE...]: is the JSON in the files, or on standard input, what the schema allows? Of JSON Schema, what
doc/mapalloc.schema.json uses, and nothing is passed over: a word that is not known here is an error. Of several files, each
line of the output begins with the name."""
import json
import re
import sys

ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description"}
TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
}


def of_object(root, schema, value, at):
    known = schema.get("properties", {})
    for key in schema.get("required", []):
        if key not in value:
            yield f"{at}: {key} is missing"
    for key, part in value.items():
        if key in known:
            yield from errors(root, known[key], part, f"{at}/{key}")
        elif schema.get("additionalProperties", True) is False:
            yield f"{at}: {key} is not in the schema"


def one_of(root, schemas, value, at):
    found = [list(errors(root, s, value, at)) for s in schemas]
    if sum(not f for f in found) != 1:
        # The one that fits best is the one that was meant.
        yield from min(found, key=len) or [f"{at}: fits several"]


def errors(root, schema, value, at):
    for word, wanted in schema.items():
        if word == "$ref":
            yield from errors(root, root["$defs"][wanted.rsplit("/", 1)[1]], value, at)
        elif word == "oneOf":
            yield from one_of(root, wanted, value, at)
        elif word == "type":
            if not TYPES[wanted](value):
                yield f"{at}: {value!r} is no {wanted}"
                return
        elif word == "const" and value != wanted:
            yield f"{at}: {value!r} is not {wanted!r}"
        elif word == "enum" and value not in wanted:
            yield f"{at}: {value!r} is none of {wanted}"
        elif word == "minimum" and value < wanted or word == "maximum" and value > wanted:
            yield f"{at}: {value!r} is beyond {wanted}"
        elif word == "pattern" and not re.search(wanted, value):
            yield f"{at}: {value!r} does not match {wanted}"
        elif word == "items":
            for i, part in enumerate(value):
                yield from errors(root, wanted, part, f"{at}/{i}")
        elif word == "properties":
            yield from of_object(root, schema, value, at)
        elif word not in ANNOTATIONS | {"const", "enum", "minimum", "maximum", "pattern", "required", "additionalProperties"}:
            sys.exit(f"the schema has a word that is not known here: {word}")


def documents(text):
    decoder, text = json.JSONDecoder(), text.lstrip()
    while text:
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:].lstrip()


def check(schema, text):
    """The number of documents, and what is wrong with them."""
    count, bad = 0, []
    try:
        for value in documents(text):
            bad += errors(schema, schema, value, f"#{count}")
            count += 1
    except json.JSONDecodeError as error:
        bad.append(f"#{count}: {error}")
    if not count and not bad:
        bad.append("there is no document")
    return count, bad


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        schema = json.load(f)
    total, wrong = 0, []
    for name in sys.argv[2:] or [None]:
        text = open(name, encoding="utf-8").read() if name else sys.stdin.read()
        count, bad = check(schema, text)
        total += count
        wrong += [f"{name}: {line}" if name else line for line in bad]
    print("\n".join(wrong) if wrong else f"{total} documents are as the schema says")
    return bool(wrong)


sys.exit(main())
