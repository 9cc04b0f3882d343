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


def sigstruct(mrenclave=MRENCLAVE):
    """A signed one: MODE64BIT and KSS, XFRM x87 SSE AVX, EXINFO, product 5, version 7."""
    first = (HEADER + struct.pack("<II", 0, 0x20261122) + HEADER2 + struct.pack("<I", 0x1234)).ljust(128, b"\0")
    body = struct.pack("<IIBB2x16sQQQQ32s16x16sHH", 1, 0xffffffff, 0, 0, b"family".ljust(16, b"\0"), 0x84, 7,
                       0xfffffffffffffffd, 0xfffffffffffffff8, mrenclave, b"product".ljust(16, b"\0"), 5, 7)
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


PAGE = 4096


def measure(size, pages):
    """MRENCLAVE of (offset, SECINFO.FLAGS, bytes or None if the contents are not measured)."""
    digest = hashlib.sha256((b"ECREATE\0" + struct.pack("<IQ", 1, size)).ljust(64, b"\0"))
    for offset, flags, content in pages:
        digest.update((b"EADD\0\0\0\0" + struct.pack("<QQ", offset, flags)).ljust(64, b"\0"))
        for at in range(0, PAGE if content is not None else 0, 256):
            digest.update((b"EEXTEND\0" + struct.pack("<Q", offset + at)).ljust(64, b"\0"))
            digest.update(content.ljust(PAGE, b"\0")[at:at + 256])
    return digest.digest()


class SdkEnclave:
    """A shared object as Intel's sgx_sign leaves it: two segments, a patch, and a layout of heap, guard pages and two
    threads, the second by way of a group. `pages` is what the SDK's loader makes of it, written down by hand."""
    SIZE = 0x100000
    CODE = b"\x90" * 0x1800
    DATA = b"data" * 0x80
    DATA_AT = 0x3e00
    HEAP, GUARD, STACK, TCS_AT, SSA, STEP = 0x10000, 0x12000, 0x20000, 0x22000, 0x23000, 0x10000
    TCS_TEMPLATE = struct.pack("<QQQIIQQQQII", 0, 0, 0x1000, 0, 2, 0x40, 0, 0x4000, 0x5000, 0xfff, 0xfff)
    PATCH_AT, PATCH = 0x1400, b"patched!"

    def entries(self, template_at):
        add, extend = 1, 2
        entry = "<HHIQIIQ"
        return [struct.pack(entry, 1, add | extend, 2, self.HEAP, 0, 0, 0x203),
                struct.pack(entry, 7, 0, 16, self.GUARD, 0, 0, 0),
                struct.pack(entry, 5, add | extend, 2, self.STACK, 0xcccccccc, 0, 0x203),
                struct.pack(entry, 2, add | extend, 1, self.TCS_AT, len(self.TCS_TEMPLATE), template_at, 0x100),
                struct.pack(entry, 4, add, 1, self.SSA, 0, 0, 0x203),
                struct.pack("<HHIQ4I", 1 << 12 | 6, 3, 1, self.STEP, 0, 0, 0, 0)]

    def pages(self):
        code = with_bytes(self.CODE, self.PATCH_AT, self.PATCH)
        yield 0, 0x205, code[:PAGE]
        yield 0x1000, 0x205, code[PAGE:]
        yield 0x3000, 0x203, bytes(0xe00) + self.DATA  # begins in the middle of its page
        yield 0x4000, 0x203, b""  # the rest of the memory of that segment
        yield 0x5000, 0x203, b""  # its size rounded up, from where it begins, reaches here (CLoader::build_sections())
        yield self.HEAP, 0x203, b""
        yield self.HEAP + PAGE, 0x203, b""
        for step in 0, self.STEP:
            yield self.STACK + step, 0x203, b"\xcc" * PAGE
            yield self.STACK + step + PAGE, 0x203, b"\xcc" * PAGE
            tcs = bytearray(self.TCS_TEMPLATE)
            for at in 16, 48, 56:  # OSSA, OFSBASE, OGSBASE
                offset = struct.unpack_from("<Q", tcs, at)[0] + self.TCS_AT + step
                struct.pack_into("<Q", tcs, at, offset)
            yield self.TCS_AT + step, 0x100, bytes(tcs)
            yield self.SSA + step, 0x203, None

    def mrenclave(self):
        return measure(self.SIZE, self.pages())

    def metadata(self, mrenclave):
        body = 64 + SIZE + 16  # header, SIGSTRUCT, directories
        layout_at = body + 32
        template_at = layout_at + 6 * 32
        patch_from = template_at + len(self.TCS_TEMPLATE)
        patches = struct.pack("<QII4I", 64 + 2 * 56 + self.PATCH_AT, patch_from, len(self.PATCH), 0, 0, 0, 0)
        data = patches + b"".join(self.entries(template_at)) + self.TCS_TEMPLATE + self.PATCH
        header = struct.pack("<QQIIIIIIQQQ", 0x86a80294635d0e4c, 2 << 32 | 4, body + len(data), 1, 1, 2632, 0, 0, self.SIZE,
                             4, 3)
        directories = struct.pack("<IIII", body, len(patches), layout_at, 6 * 32)
        return header + sigstruct(mrenclave) + directories + data

    def file(self, mrenclave=None):
        metadata = self.metadata(mrenclave or self.mrenclave())
        note = struct.pack("<III", 13, len(metadata), 1) + b"sgx_metadata\0" + metadata
        code_at = 64 + 2 * 56
        data_at = code_at + len(self.CODE)
        note_at = data_at + len(self.DATA)
        names = b"\0.note.sgxmeta\0.shstrtab\0"
        names_at = note_at + len(note)
        segment = "<IIQQQQQQ"
        segments = struct.pack(segment, 1, 5, code_at, 0, 0, len(self.CODE), len(self.CODE), PAGE)
        segments += struct.pack(segment, 1, 6, data_at, self.DATA_AT, 0, len(self.DATA), 0x1100, PAGE)
        section = "<IIQQQQIIQQ"
        sections = bytes(64) + struct.pack(section, 1, 7, 0, 0, note_at, len(note), 0, 0, 1, 0)
        sections += struct.pack(section, 15, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
        start = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 64, names_at + len(names), 0, 64, 56, 2,
                            64, 3, 2)
        return start + segments + self.CODE + self.DATA + note + names + sections
