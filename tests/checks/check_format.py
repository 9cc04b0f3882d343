#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks every source file: formatted as .clang-format says, and marked with the licence.

Usage: check_format.py ROOT
"""

import pathlib
import re
import subprocess
import sys

DIRECTORIES = ["src", "include", "tests", "samples", "bench"]
FORMATTED = {".h", ".cc"}
LICENSED = FORMATTED | {".c", ".S", ".py", ".cmake"}
LICENCE = "SPDX-License-Identifier: Apache-2.0"


def sources(root):
    for directory in DIRECTORIES:
        yield from sorted(path for path in (root / directory).rglob("*") if path.is_file())


def unlicensed(path):
    with open(path, encoding="utf-8", errors="replace") as lines:
        return not any(LICENCE in line for _, line in zip(range(5), lines))


def check(root):
    paths = list(sources(root))
    found = [f"{path}: no '{LICENCE}' in the first lines"
             for path in paths
             if (path.suffix in LICENSED or path.name == "CMakeLists.txt") and unlicensed(path)]
    formatted = [str(path) for path in paths if path.suffix in FORMATTED]
    if not formatted:
        return [f"{root}: no sources found"]
    result = subprocess.run(["clang-format", "--dry-run", "--Werror", *formatted],
                            stderr=subprocess.PIPE, text=True, cwd=root, check=False)
    if result.returncode != 0:
        # One line a file: the fix is the same whatever is wrong in it.
        bad = sorted(set(re.findall(r"^(/[^:\n]+):\d+:\d+: error: ", result.stderr, re.MULTILINE)))
        found.extend(f"{path}: not formatted; run clang-format -i on it" for path in bad)
        if not bad:
            found.append(result.stderr.rstrip())
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = check(pathlib.Path(sys.argv[1]).resolve())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
