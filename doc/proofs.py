# SPDX-License-Identifier: BSD-3-Clause
"""Links from what the texts promise to the tests that prove it.

A test's name in a table is looked up in tests/; the source that has it becomes a page of its own, with a line for the link to
go to. In doc/crash.md a name that leads nowhere is an error: so a test that is renamed or removed is noticed.
"""

import re
import shutil
import sys

# Names that stand for something else than a file or a string in it.
ELSEWHERE = {
    "check-model": "tests/model/check",
    "fuzz/qalloc": "tests/fuzz/fuzz_qalloc.c",
    "fuzz/mmalloc": "tests/fuzz/fuzz_mmalloc.c",
    "fuzz/shmbuddy": "tests/fuzz/fuzz_shmbuddy.c",
    "golden/refuses": "tests/common/golden.c",
}
ENDINGS = ["", ".c", ".cpp", ".sh"]


def slug(path):
    return "proof_" + re.sub(r"[^A-Za-z0-9]+", "_", path)


class Proofs:
    def __init__(self, source):
        self.source = source
        self.texts = {}
        for pattern in ("tests/*/*.c", "tests/*/*.cpp"):
            for path in sorted(source.glob(pattern)):
                # The kill sweep's STATIC() puts this before the scenario's name.
                self.texts[str(path.relative_to(source))] = path.read_text().replace('\tSTATIC("', '\t"static-')
        self.used = set()
        self.unknown = []

    def file(self, name, beside=""):
        """The file of this name, as the texts shorten it: without tests/, and without a folder when it lies beside the one before."""
        if name in ELSEWHERE:
            return ELSEWHERE[name]
        folders = ("tests/", "") if "/" in name else (f"tests/{beside}/",)
        for path in (folder + name + ending for folder in folders for ending in ENDINGS):
            if (self.source / path).is_file():
                return path
        return None

    def line(self, path, text):
        """Of the first string in this file that begins so, or whose last part does; 0: none does. "-x": that ends so."""
        source = self.texts.get(path, "")
        for before in ("",) if text.startswith("-") else ('"', "/"):
            at = source.find(before + text)
            if at >= 0:
                return source.count("\n", 0, at) + 1
        return 0

    def find(self, name, before):
        """File and line of a test. before: the file of the name before this one, which short names belong to."""
        begin = name.split("*")[0].rstrip("/")
        path = self.file(begin.strip("/"), before.split("/")[1] if before else "")
        if path:
            return path, 0
        for path in self.texts:
            if begin.startswith("/") and f'"{begin}' in self.texts[path]:
                return path, self.line(path, begin)
        parts = begin.strip("/").split("/")
        for n in range(len(parts) - 1, 0, -1):
            path = self.file("/".join(parts[:n]))
            number = self.line(path, parts[n]) if path else 0
            if number or path and (self.source / "tests/fuzz/corpus" / "/".join(parts[1:])).is_file():
                return path, number
        number = self.line(before, begin) if before else 0
        return (before, number) if number else (None, 0)

    def target(self, name, before):
        path, number = self.find(name, before)
        if path is None:
            return None, before
        self.used.add(path)
        return f"{slug(path)}.html" + (f"#l{number:05d}" if number else ""), path

    def link_cell(self, cell, strict):
        before = None

        def link(match):
            nonlocal before
            name = match.group(1)
            target, before = self.target(name, before)
            if target is None:
                self.unknown += [name] if strict else []
                return match.group(0)
            return f'<a href="{target}"><code>{name}</code></a>'

        return re.sub(r"`([^` ]+)`", link, cell)

    def link(self, text, strict):
        """Link the names in the columns that name tests."""
        column = None
        lines = []
        for row in text.split("\n"):
            cells = row.split("|")
            if not row.startswith("|"):
                column = None
            elif "proved by" in row:
                column = len(cells) - 2
            elif row.startswith("| program | proves"):
                column = 1
            elif column is not None and not row.startswith("|---"):
                cells[column] = self.link_cell(cells[column], strict)
                row = "|".join(cells)
            lines.append(row)
        return "\n".join(lines)

    def write(self, out):
        """A page for each source that a link leads to, and one that has them all."""
        if self.unknown:
            sys.exit("doc/proofs.py: doc/crash.md names tests that are not there: " + ", ".join(self.unknown))
        index = ["# Tests that prove it {#proofs}", "", "The sources that the crash contract and the table of tests lead to.", ""]
        for path in sorted(self.used):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.source / path, out / path)
            index.append(f"- \\subpage {slug(path)}")
            page = f"# {path} {{#{slug(path)}}}\n\n\\includelineno {path}\n"
            (out / "pages" / f"{slug(path)}.md").write_text(page)
        (out / "pages/proofs.md").write_text("\n".join(index) + "\n")
