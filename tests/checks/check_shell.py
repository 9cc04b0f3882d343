#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs shellcheck over every bash script of the tree, whatever its name ends with.

Usage: check_shell.py ROOT
"""

import pathlib
import subprocess
import sys

DIRECTORIES = ["scripts", ".ci", "tests", "samples", "bench"]


def is_shell_script(path):
    with open(path, "rb") as file:
        first = file.readline(100)
    return first.startswith(b"#!") and first.rstrip().endswith((b"bash", b"/sh"))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    scripts = [str(path)
               for directory in DIRECTORIES
               for path in sorted((root / directory).rglob("*"))
               if path.is_file() and is_shell_script(path)]
    if not scripts:
        print(f"{root}: no scripts found")
        return 1
    return subprocess.run(["shellcheck", *scripts], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
