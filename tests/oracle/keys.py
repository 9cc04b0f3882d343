#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""EGETKEY's keys and EREPORT's MAC from the SDM's table of inputs and the layout in src/arch/identity/keys.h.

Input: one case a line, "KIND field=value ...", numbers decimal, byte strings in hexadecimal.
    egetkey  secret cpusvn, the SECS (secs_*), the request (req_*)
    report   secret cpusvn, the target (target_*), keyid, body (the 384 bytes that the MAC covers)
Output: for each line the key (egetkey) or the MAC (report) in hexadecimal.
"""

import hashlib
import struct
import sys

import aes

EINITTOKEN, PROVISION, PROVISION_SEAL, REPORT, SEAL = range(5)
INIT_AND_DEBUG = 3
DER = bytes.fromhex("3031300d060960864801650304020105000420")
PADDING = (b"\x00\x01" + b"\xff" * 330 + b"\x00" + DER)[::-1]


def root(secret, purpose):
    return hashlib.sha256(b"enclume key root" + purpose + secret).digest()[:16]


def derive(secret, **inputs):
    """Every input that is not named is zero."""
    number = lambda name: inputs.pop(name, 0)
    data = lambda name, size: inputs.pop(name, bytes(size))
    block = struct.pack(
        "<HHHHHHIII", number("keyname"), number("keypolicy"), number("isvprodid"), number("isvsvn"),
        number("configsvn"), 0, number("miscselect"), number("miscmask"), 0)
    block += struct.pack("<QQ", *inputs.pop("attributes", (0, 0)))
    block += struct.pack("<QQ", *inputs.pop("attributemask", (0, 0)))
    block += bytes(8)
    block += bytes(16)  # OWNEREPOCH
    block += data("fuses", 16) + data("cpusvn", 16)
    block += data("mrenclave", 32) + data("mrsigner", 32) + data("keyid", 32)
    block += data("configid", 64) + data("familyid", 16) + data("extprodid", 16)
    block += bytes(112) + PADDING
    assert len(block) == 768 and not inputs, inputs
    return aes.cmac(root(secret, b"enclave keys"), block)


def egetkey(f):
    name = f["req_keyname"]
    fuses = root(f["secret"], b"fuses")
    masked = dict(
        keyname=name,
        isvsvn=f["req_isvsvn"],
        cpusvn=f["req_cpusvn"],
        attributes=(f["secs_flags"] & (f["req_maskflags"] | INIT_AND_DEBUG), f["secs_xfrm"] & f["req_maskxfrm"]),
        miscselect=f["secs_miscselect"] & f["req_miscmask"],
    )
    masks = dict(attributemask=(f["req_maskflags"], f["req_maskxfrm"]), miscmask=f["req_miscmask"] ^ 0xFFFFFFFF)
    policy = f["req_policy"]
    chosen = dict(keypolicy=policy)
    if not policy & 4:
        chosen["isvprodid"] = f["secs_isvprodid"]
    if policy & 8:
        chosen.update(configid=f["secs_configid"], configsvn=f["req_configsvn"])
    if policy & 0x10:
        chosen["familyid"] = f["secs_familyid"]
    if policy & 0x20:
        chosen["extprodid"] = f["secs_extprodid"]

    if name == EINITTOKEN:
        inputs = masked | dict(fuses=fuses, isvprodid=f["secs_isvprodid"], mrsigner=f["secs_mrsigner"],
                               keyid=f["req_keyid"])
    elif name == PROVISION:
        inputs = masked | masks | dict(isvprodid=f["secs_isvprodid"], mrsigner=f["secs_mrsigner"])
    elif name == PROVISION_SEAL:
        inputs = masked | masks | chosen | dict(fuses=fuses, mrsigner=f["secs_mrsigner"])
    elif name == SEAL:
        inputs = masked | masks | chosen | dict(fuses=fuses, keyid=f["req_keyid"])
        if policy & 1:
            inputs["mrenclave"] = f["secs_mrenclave"]
        if policy & 2:
            inputs["mrsigner"] = f["secs_mrsigner"]
    else:
        return report_key(f, f["req_keyid"], (f["secs_flags"], f["secs_xfrm"]), f["secs_miscselect"],
                          f["secs_mrenclave"], f["secs_configid"], f["secs_configsvn"])
    return derive(f["secret"], **inputs)


def report_key(f, keyid, attributes, miscselect, mrenclave, configid, configsvn):
    return derive(f["secret"], keyname=REPORT, fuses=root(f["secret"], b"fuses"), cpusvn=f["cpusvn"],
                  attributes=attributes, miscselect=miscselect, mrenclave=mrenclave, keyid=keyid,
                  configid=configid, configsvn=configsvn)


def report(f):
    key = report_key(f, f["keyid"], (f["target_flags"], f["target_xfrm"]), f["target_miscselect"],
                     f["target_mrenclave"], f["target_configid"], f["target_configsvn"])
    assert len(f["body"]) == 384
    return aes.cmac(key, f["body"])


def parse(line):
    kind, *pairs = line.split()
    fields = {}
    for pair in pairs:
        name, value = pair.split("=")
        fields[name] = bytes.fromhex(value[2:]) if value.startswith("0x") else int(value)
    return kind, fields


if __name__ == "__main__":
    with open(sys.argv[1], encoding="ascii") as cases:
        for case in cases:
            kind, fields = parse(case)
            print({"egetkey": egetkey, "report": report}[kind](fields).hex())
