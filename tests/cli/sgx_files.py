# SPDX-License-Identifier: Apache-2.0
"""Makes SIGSTRUCTs, SGXS streams and ELF files for tests, sharing no code with what they test."""

import hashlib
import struct

# A key for tests; it protects nothing.
P = int("cc7cbc8236c285b8f7116ecf04f4634f7a2bdb20f47e7ea97349edcc99575fe86bc89be5f2b02fd3ae895f6858ad816e4d7d43c4d8d42906"
        "06380314caf467a2f26bb3ffd62e990f97c6cd67ae5de77eb62df19c0844b73ba24154d6b7e380850f057580ce8547c42ea3f7ec528473da"
        "b06aedb6c6204e0c0f0aee62d58f3b14d99e3663474b38d7fed9f58b87c8ac38375f601b2cecc0ad208f9aded52ad176f31f84c252da7854"
        "3d713ef76dfd00fa5ecb099be30f1c5315769c4270d990bb", 16)
Q = int("ec0364abeb204646330de939bf591e384be0b8464cd6d44842c592e51f805fbc86702a8da76bfd342918a3662eeabdd0b84db49c34bbf692"
        "5a5a2c973ea9877612f3a7ee503878c98f8f4a2965484b151dbb6ef240c83f26548febf991236adf5a8b082421ad14a10ed51f52978a6805"
        "f066f2dfde9009add600690a9ccea2c21ec71fcdd799628c2a292ae2c805f6bedef743c1b1af575afff2c086a86d51e78f9283e4318e6307"
        "4acc386e0321cfe5102f36c1772bada52ed173ffbf8b479f", 16)
MODULUS = P * Q
PRIVATE_EXPONENT = pow(3, -1, (P - 1) * (Q - 1))
MRSIGNER = hashlib.sha256(MODULUS.to_bytes(384, "little")).hexdigest()
MRENCLAVE = hashlib.sha256(b"an enclave").digest()

HEADER = bytes.fromhex("06000000e10000000000010000000000")
HEADER2 = bytes.fromhex("01010000600000006000000001000000")
SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
SIZE = 1808

# Offsets in SIGSTRUCT.
VENDOR, RESERVED1, MODULUS_AT, EXPONENT, SIGNATURE, ISVSVN, Q1, Q2 = 16, 44, 128, 512, 516, 1026, 1040, 1424


def sigstruct():
    """A signed one: MODE64BIT and KSS, XFRM x87 SSE AVX, EXINFO, product 5, version 7."""
    first = (HEADER + struct.pack("<II", 0, 0x20261122) + HEADER2 + struct.pack("<I", 0x1234)).ljust(128, b"\0")
    body = struct.pack("<IIBB2x16sQQQQ32s16x16sHH", 1, 0xffffffff, 0, 0, b"family".ljust(16, b"\0"), 0x84, 7,
                       0xfffffffffffffffd, 0xfffffffffffffff8, MRENCLAVE, b"product".ljust(16, b"\0"), 5, 7)
    assert len(body) == 128
    digest = hashlib.sha256(first + body).digest()
    padding = b"\0\1" + b"\xff" * (384 - 3 - len(SHA256_DIGEST_INFO) - 32) + b"\0"
    s = pow(int.from_bytes(padding + SHA256_DIGEST_INFO + digest, "big"), PRIVATE_EXPONENT, MODULUS)
    q1, rest = divmod(s * s, MODULUS)
    q2 = rest * s // MODULUS
    key = b"".join(n.to_bytes(size, "little") for n, size in ((MODULUS, 384), (3, 4), (s, 384)))
    whole = first + key + body + bytes(12) + q1.to_bytes(384, "little") + q2.to_bytes(384, "little")
    assert len(whole) == SIZE
    return whole


def with_bytes(data, offset, replacement):
    return data[:offset] + replacement + data[offset + len(replacement):]


def intel_metadata(signature):
    return struct.pack("<QQIIIIIIQQQ", 0x86a80294635d0e4c, 2 << 32 | 4, 0x5000, 1, 1, 2632, 0, 0, 0x400000, 4, 3) + signature


def elf(sections):
    """A shared object with nothing but named sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in [*sections, ".shstrtab"])
    content, headers = b"", [bytes(64)]
    for name, data in [*sections.items(), (".shstrtab", names)]:
        headers.append(struct.pack("<IIQQQQIIQQ", names.index(name.encode() + b"\0"), 1, 0, 0, 64 + len(content),
                                   len(data), 0, 0, 1, 0))
        content += data
    start = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, 64 + len(content), 0, 64, 56, 0, 64,
                        len(headers), len(headers) - 1)
    return start + content + b"".join(headers)


TCS, REG = 0x100, 0x203


def sgxs(pages, size=0x10000, tag=b"ECREATE\0"):
    """`pages`: (offset, SECINFO.FLAGS, {chunk number: (data, measured)}). Returns the stream and MRENCLAVE."""
    stream = measured = (tag + struct.pack("<IQ", 1, size)).ljust(64, b"\0")
    for offset, flags, chunks in pages:
        record = (b"EADD\0\0\0\0" + struct.pack("<QQ", offset, flags)).ljust(64, b"\0")
        stream += record
        measured += record
        for number, (data, is_measured) in chunks.items():
            name = b"EEXTEND\0" if is_measured else b"UNMEASRD"
            chunk = (name + struct.pack("<Q", offset + 256 * number)).ljust(64, b"\0") + data
            stream += chunk
            measured += chunk if is_measured else b""
    return stream, hashlib.sha256(measured).hexdigest()
