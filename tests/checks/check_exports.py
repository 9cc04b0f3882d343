#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the engine exports front doors and nothing else.

Usage: check_exports.py ENGINE

The engine stands before every library of a program, so each name that it exports is the program's. It may have those
that libc exports, and its own: enclume_* and the vDSO's.
"""

import fnmatch
import subprocess
import sys

OWN = ["enclume_*", "__vdso_sgx_*", "LINUX_2.6"]


def exported(path):
    output = subprocess.run(["readelf", "--wide", "--dyn-syms", path], check=True, stdout=subprocess.PIPE, text=True,
                            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}).stdout
    fields = [line.split() for line in output.splitlines()]
    return {f[7].split("@")[0] for f in fields if len(f) >= 8 and f[0].endswith(":") and f[0][:-1].isdigit()
            and f[4] != "LOCAL" and f[6] != "UND"}


def libc():
    """The one that this process has."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[5:]
            if path and "/libc.so" in path[0] or path and "/libc-2" in path[0]:
                return path[0].strip()
    raise RuntimeError("no libc in /proc/self/maps")


def check(engine, libc_names):
    return [f"{engine}: exports {name}, which is none of libc's and not called enclume_*"
            for name in sorted(exported(engine) - libc_names)
            if not any(fnmatch.fnmatch(name, own) for own in OWN)]


def main():
    errors = check(sys.argv[1], exported(libc()))
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
