#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each room of the house includes, and links, only what stands below it.

Usage: check_includes.py ROOT

    base <- arch <- kernel <- engine <- cli;  base <- trace <- engine, cli;
    src/runtime and include/enclume see nothing but include/enclume; cli reads images by the runtime's code.
"""

import pathlib
import re
import sys

ALLOWED = {
    "base": {"base"},
    "arch": {"base", "arch"},
    "kernel": {"base", "arch", "kernel"},
    "trace": {"base", "trace"},
    "engine": {"base", "arch", "kernel", "trace", "engine"},
    "cli": {"base", "arch", "kernel", "trace", "engine", "cli", "runtime"},
    "runtime": {"runtime"},
    # Not a room: the headers that others may include.
    "enclume": {"enclume"},
}
PUBLIC = "enclume"

SOURCES = {".h", ".hh", ".hpp", ".cc", ".cpp", ".c", ".S", ".def", ".inc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
# Targets are named after their room: enclume_arch, enclume_kernel_device, enclume_engine.
TARGET = re.compile(r"\benclume_(" + "|".join(room for room in ALLOWED if room != PUBLIC) + r")(?:_\w+)?\b")


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def violations_in_file(path, room):
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        included = match.group(1)
        target = included.split("/", 1)[0]
        where = f"{path}:{line_of(text, match.start(1))}"
        if ".." in pathlib.PurePosixPath(included).parts:
            yield f"{where}: {included}: includes are rooted at src/, without .."
        elif target in ALLOWED and target != PUBLIC and target not in ALLOWED[room]:
            yield f"{where}: {room} may not include {included}"


def violations_in_cmake(path, room):
    # Comments name other rooms freely.
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    for match in TARGET.finditer(text):
        if match.group(1) not in ALLOWED[room]:
            yield f"{path}:{line_of(text, match.start())}: {room} may not link {match.group(0)}"


def rooms(root):
    """Pairs of a directory and the room that it belongs to; a directory nobody knows is an error."""
    for directory in sorted((root / "src").iterdir()):
        if directory.is_dir():
            yield directory, directory.name
    if (root / "include" / PUBLIC).is_dir():
        yield root / "include" / PUBLIC, PUBLIC


def check(root):
    found = []
    files = 0
    for directory, room in rooms(root):
        if room not in ALLOWED:
            found.append(f"{directory}: no rule says what this room may include")
            continue
        for path in sorted(directory.rglob("*")):
            if path.suffix in SOURCES:
                files += 1
                found.extend(violations_in_file(path, room))
            elif path.name == "CMakeLists.txt" or path.suffix == ".cmake":
                found.extend(violations_in_cmake(path, room))
    if files == 0:
        found.append(f"{root}: no sources found")
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = check(pathlib.Path(sys.argv[1]))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
