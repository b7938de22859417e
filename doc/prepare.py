#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Lay out a folder for Doxygen: prepare.py SOURCE BUILD THEME LUNR OUT.

OUT/input/include   the public headers, as they are installed
OUT/input/pages     pages: doc/*.md, texts of the tree that are pages too, the sources that prove the crash contract
OUT/input/examples  what tutorials and guides take their fragments from
OUT/theme           stylesheets, scripts, pictures, header and footer

Everything is relative to OUT, so the result is the same wherever it is made.
"""

import html
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import draw
import proofs

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "man"))
import errors

THEME = [
    "doxygen-awesome.css",
    "doxygen-awesome-sidebar-only.css",
    "doxygen-awesome-sidebar-only-darkmode-toggle.css",
    "doxygen-awesome-darkmode-toggle.js",
    "doxygen-awesome-fragment-copy-button.js",
    "doxygen-awesome-paragraph-link.js",
]

# Texts of the tree that are pages too, and their labels. Whatever is in doc/ has its label in its first line.
TEXTS = {
    "doc/architecture.md": "architecture",
    "doc/concurrency.md": "concurrency",
    "doc/crash.md": "crash",
    "doc/decisions.md": "decisions",
    "doc/glossary.md": "glossary",
    "doc/performance.md": "performance",
    "tests/README.md": "tests",
    "CONTRIBUTING.md": "contributing",
    "common/README.md": "rooms_common",
    "libqalloc/README.md": "rooms_qalloc",
    "libmmalloc/README.md": "rooms_mmalloc",
    "libshmbuddy/README.md": "rooms_shmbuddy",
    "libxmemory/README.md": "rooms_xmemory",
}

SCRIPTS = """\
<script type="text/javascript" src="$relpath^doxygen-awesome-darkmode-toggle.js"></script>
<script type="text/javascript" src="$relpath^doxygen-awesome-fragment-copy-button.js"></script>
<script type="text/javascript" src="$relpath^doxygen-awesome-paragraph-link.js"></script>
<script type="text/javascript">
DoxygenAwesomeDarkModeToggle.init();
DoxygenAwesomeFragmentCopyButton.init();
DoxygenAwesomeParagraphLink.init();
</script>
</head>"""

# The theme looks for MSearchBox, and puts the switch for the dark colours beside it.
SEARCH = """\
<div id="search">
<form id="MSearchBox" action="$relpath^search.html" role="search">
<input type="search" name="q" placeholder="Search" aria-label="Search" />
</form>
</div>
"""


def titled(header):
    """Doxygen takes all of a @par line for the title; ours say "@par Threads  Safe." """
    return re.sub(r"^( \* @par [A-Z]\w+(?:, [A-Z]\w+)*)  +(?=\S)", r"\1\n * ", header, flags=re.M)


def listed_paragraph(lines):
    """The errors of a paragraph, or of @return and @retval, become a list: an errno and its reason per line."""
    text = " ".join(line.removeprefix(" * ").strip() for line in lines)
    start = errors.START.search(text)
    if not start:
        return lines
    rest = text[start.end():]
    end = errors.list_end(rest)
    after = rest[end:].lstrip(". ")
    before = re.sub(r"[ ;,]+(?:or )?$", "", text[:start.start()])
    before += " on failure" if re.match(r",? with", start.group(0)) else ""
    before += "." if re.search(r"[\w)]$", before) and not start.group("value") else ""
    when = f" {start.group('when')}" if start.group("when") else ""
    title = "The error:" if start.group("value") else f"errno{when}:"
    clauses = list(errors.clauses(rest[:end]))
    if len(clauses) == 1:
        return lines
    out = [f" * {part}" for part in (before, after, title) if part]
    for clause in clauses:
        clause = re.sub(r"^(?:and|also)\s+", "", clause.strip())
        group = re.match(rf"({errors.GROUP})[,:]?\s*(.*)$", clause)
        codes, reason = (group.group(1), re.sub(r"^(?:when|for) ", "", group.group(2))) if group else ("", clause)
        out.append(" * - " + (f"`{codes}`" + (f"{' ' if reason.startswith('(') else ': '}{reason}" if reason else "") if codes else reason))
    return out


def listed(header):
    """Errors as lists in each comment. The manual pages have them by the same rules (man/errors.py)."""

    def comment(found):
        out, paragraph, code = [], [], False
        for line in found.group(0).split("\n"):
            code ^= "@code" in line or "@endcode" in line
            bare = line.removeprefix(" *").strip()
            if code or not line.startswith(" * ") or re.match(r"@\w\w|-|\|", bare):
                out += listed_paragraph(paragraph)
                paragraph = []
            if code or not line.startswith(" * ") or re.match(r"(?!@return|@retval)@\w\w|-|\|", bare):
                out.append(line)
            else:
                paragraph.append(line)
        return "\n".join(out + paragraph)

    return re.sub(r"^/\*\*\n.*?^ \*/$", comment, header, flags=re.M | re.S)


def copy_headers(source, build, out):
    """The generated ones lie in the build folder."""
    for library in sorted(source.glob("lib*/include")):
        for root in (library, build / library.relative_to(source)):
            for header in sorted(root.rglob("*.h")):
                target = out / header.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(titled(listed(header.read_text())))


def make_theme(source, theme, lunr, out):
    """Doxygen's own header and footer, of the version at hand, with the theme's scripts and the search."""
    out.mkdir()
    for name in THEME:
        shutil.copyfile(theme / name, out / name)
    shutil.copyfile(source / "doc/mapalloc.css", out / "mapalloc.css")
    shutil.copyfile(source / "doc/layout.xml", out / "layout.xml")
    shutil.copyfile(source / "doc/search.js", out / "search.js")
    shutil.copyfile(lunr, out / "lunr.min.js")
    for picture in sorted((source / "doc/pictures").glob("*.svg")):
        shutil.copyfile(picture, out / picture.name)
    subprocess.run(["doxygen", "-w", "html", "header.html", "footer.html", "unused.css"], cwd=out, check=True)
    header = (out / "header.html").read_text()
    title = header.index("<!--END TITLEAREA-->")
    title = header.rindex("</div>", 0, title)
    (out / "header.html").write_text((header[:title] + SEARCH + header[title:]).replace("</head>", SCRIPTS))


def link_texts(text):
    """[doc/crash.md](crash.md), `doc/crash.md` or doc/crash.md, wherever a text says so, is a link to the page."""
    for path, label in TEXTS.items():
        text = re.sub(r"\]\((\.\./)*" + re.escape(path) + r"\)", f"](@ref {label})", text)
        text = re.sub(r"(?<![\w/(\[`-])`?" + re.escape(path) + r"`?(?![\w/`\]])", f"[{path}](@ref {label})", text)
    return text


def link_qalloc(text):
    """Doxygen does not link this name by itself, for <qthread/qalloc.h> has it too. (Nor would it in code, in which nothing is changed.)"""
    out, code = [], False
    for line in text.split("\n"):
        code ^= line.startswith("```")
        if not (code or line.startswith("    ")):
            line = re.sub(r"(?<![\w/`<.\"-])qalloc\.h(?![\w`>])", '<a href="qalloc_8h.html">qalloc.h</a>', line)
        out.append(line)
    return "\n".join(out)


def guard_code(text):
    """Doxygen takes the % of `%D%` for a sign of its own, and the ( of `$(NAME)` for a variable."""
    return re.sub(
        r"`([^`\n]*(?:%|\$\()[^`\n]*)`",
        lambda span: "<code>" + html.escape(span.group(1)).replace("%", "\\%").replace("$(", "\\$(") + "</code>",
        text,
    )


def labelled(text, label):
    """The first heading gets the page's label."""
    return re.sub(r"\A# (.*)$", rf"# \1 {{#{label}}}", text, count=1, flags=re.M)


def make_pages(source, out, tests):
    out.mkdir()
    for page in sorted((source / "doc").glob("*.md")):
        name = f"doc/{page.name}"
        text = page.read_text()
        if name in TEXTS:
            continue
        (out / page.name).write_text(draw.fill_in(source, link_qalloc(link_texts(text))))
    for name, label in TEXTS.items():
        text = labelled(guard_code(link_qalloc(link_texts((source / name).read_text()))), label)
        if label in ("crash", "tests"):
            text = tests.link(text, strict=label == "crash")
        (out / f"{label}.md").write_text(draw.fill_in(source, text))


def copy_examples(source, out):
    """A fragment between two comments /* [name] */ begins at the left."""
    out.mkdir()
    for example in sorted([*source.glob("*.[ch]"), *source.glob("*.cpp")]):
        text = re.sub(
            r"(^\t+/\* \[([\w-]+)\] \*/\n)(.*?)(?=^\t+/\* \[\2\] \*/$)",
            lambda found: found.group(1) + textwrap.dedent(found.group(3)),
            example.read_text(),
            flags=re.M | re.S,
        )
        (out / example.name).write_text(text)


def main():
    source, build, theme, lunr, out = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    shutil.rmtree(out / "input", ignore_errors=True)
    shutil.rmtree(out / "theme", ignore_errors=True)
    (out / "input").mkdir(parents=True)
    copy_headers(source, build, out / "input/include")
    make_theme(source, theme, lunr, out / "theme")
    tests = proofs.Proofs(source)
    make_pages(source, out / "input/pages", tests)
    tests.write(out / "input")
    copy_examples(source / "examples", out / "input/examples")


if __name__ == "__main__":
    main()
