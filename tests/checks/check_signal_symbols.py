#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that code which runs on the signal path uses only the symbols that it may.

Usage: check_signal_symbols.py --allow FILE OBJECT_OR_ARCHIVE...

The objects are taken together: what one defines, another may use. Everything else must be on the list. Refused
whatever the list says: thread-local storage, since FS can be the enclave's; errno, the stack protector and
exceptions, which need it; and constructors, which run when the loader likes.
"""

import argparse
import collections
import fnmatch
import re
import subprocess
import sys

REFUSED = ["__stack_chk_*", "__cxa_*", "_Unwind_*", "__errno_location", "errno", "__tls_get_addr"]
TLS_RELOCATION = re.compile(r"R_X86_64_(TLS\w*|GOTTPOFF|TPOFF\w*|DTPOFF\w*|DTPMOD\w*|GOTPC32_TLSDESC)")

Symbol = collections.namedtuple("Symbol", "name kind section")


class Object:
    def __init__(self, name):
        self.name = name
        self.symbols = []
        self.tls_relocations = []
        self.constructors = []

    def defined(self):
        return {s.name for s in self.symbols if s.section != "UND"}

    def undefined(self):
        return {s.name for s in self.symbols if s.section == "UND" and s.name}


def read_objects(path):
    """What readelf says about one object, or about each member of an archive."""
    output = subprocess.run(
        ["readelf", "--wide", "--file-header", "--symbols", "--relocs", "--sections", path],
        check=True, stdout=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}).stdout
    objects = []
    for line in output.splitlines():
        if line.startswith("File: "):
            objects.append(Object(line[len("File: "):]))
        elif line.startswith("ELF Header:") and "(" not in (objects[-1].name if objects else ""):
            objects.append(Object(path))
        elif match := re.match(r"\s+\d+: [0-9a-f]+\s+\S+\s+(\S+)\s+\S+\s+\S+\s+(\S+)(?:\s+(\S+))?", line):
            objects[-1].symbols.append(Symbol((match.group(3) or "").split("@")[0], match.group(1), match.group(2)))
        elif match := TLS_RELOCATION.search(line):
            objects[-1].tls_relocations.append(line.split()[4] if len(line.split()) > 4 else match.group(0))
        elif match := re.match(r"\s+\[\s*\d+\]\s+(\.(?:init_array|ctors|preinit_array)\S*)", line):
            objects[-1].constructors.append(match.group(1))
    return objects


def read_allow_list(path):
    with open(path, encoding="utf-8") as lines:
        return [words[0] for words in (line.split("#")[0].split() for line in lines) if words]


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def check(paths, allowed):
    objects = [o for path in paths for o in read_objects(path)]
    if not objects:
        return ["no objects to check"]
    defined = set().union(*(o.defined() for o in objects))
    found = []
    for o in objects:
        for name in sorted(o.undefined()):
            if matches(name, REFUSED):
                found.append(f"{o.name}: uses {name}, which the signal path may never use")
            elif name not in defined and not matches(name, allowed):
                found.append(f"{o.name}: uses {name}, which is not on the list")
        for symbol in o.symbols:
            if symbol.kind == "TLS":
                found.append(f"{o.name}: has the thread-local variable {symbol.name}")
        for name in sorted(set(o.tls_relocations)):
            found.append(f"{o.name}: reaches {name} through thread-local storage")
        for section in sorted(set(o.constructors)):
            found.append(f"{o.name}: has a constructor ({section}): something is initialised at run time")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--allow", required=True, metavar="FILE")
    parser.add_argument("objects", nargs="+")
    arguments = parser.parse_args()
    found = check(arguments.objects, read_allow_list(arguments.allow))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
