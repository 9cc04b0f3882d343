#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that what the documents point to is there: relative links, and the tests named in docs/fidelity.md.

Usage: check_links.py ROOT [CTEST_BUILD_DIRECTORY]
"""

import json
import pathlib
import re
import subprocess
import sys

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def broken_links(root):
    documents = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    if not documents:
        yield f"{root}: no documents found"
    for document in sorted(documents):
        for target in LINK.findall(document.read_text(encoding="utf-8")):
            path = target.split("#")[0]
            if path and "://" not in path and not (document.parent / path).exists():
                yield f"{document}: {target} is not there"


def table_rows(text):
    """The cells of each row of each table, without the heading."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tests_named_in(fidelity):
    """Names in the third column, in backquotes; * stands for anything."""
    for row in table_rows(fidelity.read_text(encoding="utf-8")):
        if len(row) == 4:
            yield from re.findall(r"`([^`]+)`", row[2])


def known_tests(build):
    output = subprocess.run(["ctest", "--test-dir", str(build), "--show-only=json-v1"],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    return [test["name"] for test in json.loads(output)["tests"]]


def missing_tests(root, known):
    fidelity = root / "docs" / "fidelity.md"
    for name in sorted(set(tests_named_in(fidelity))):
        pattern = re.compile(re.escape(name).replace(r"\*", ".*"))
        if not any(pattern.fullmatch(test) for test in known):
            yield f"{fidelity}: there is no test {name}"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    found = list(broken_links(root))
    if len(sys.argv) == 3:
        found.extend(missing_tests(root, known_tests(pathlib.Path(sys.argv[2]))))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
