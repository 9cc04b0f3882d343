#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MRENCLAVE from a description of how an enclave is built, by the byte layout of the SDM.

Input, one event a line, numbers decimal:
    create SSAFRAMESIZE SIZE
    add OFFSET SECINFO_FLAGS          (permissions of a TCS already 0)
    extend OFFSET HEX                 (256 bytes)
Output: the hash in hexadecimal.
"""

import hashlib
import struct
import sys


def block(name, payload):
    data = name.encode().ljust(8, b"\0") + payload
    assert len(data) <= 64
    return data.ljust(64, b"\0")


def measure(lines):
    digest = hashlib.sha256()
    for line in lines:
        event, *operands = line.split()
        if event == "create":
            frame, size = map(int, operands)
            digest.update(block("ECREATE", struct.pack("<IQ", frame, size)))
        elif event == "add":
            offset, flags = map(int, operands)
            digest.update(block("EADD", struct.pack("<QQ", offset, flags)))
        elif event == "extend":
            chunk = bytes.fromhex(operands[1])
            assert len(chunk) == 256
            digest.update(block("EEXTEND", struct.pack("<Q", int(operands[0]))) + chunk)
        else:
            raise ValueError(f"unknown event: {line!r}")
    return digest.hexdigest()


if __name__ == "__main__":
    with open(sys.argv[1], encoding="ascii") as description:
        print(measure(description))
