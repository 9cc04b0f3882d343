# SPDX-License-Identifier: Apache-2.0
"""`enclume inspect` from the outside. ENCLUME_BINARY is the program under test."""

import json
import os
import pathlib
import random
import subprocess
import tempfile
import unittest

import sgx_files
from sgx_files import REG, TCS, with_bytes

ENCLUME = os.environ["ENCLUME_BINARY"]


class InspectTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = pathlib.Path(temporary.name) / "file"

    def enclume(self, *arguments):
        return subprocess.run([ENCLUME, "inspect", *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    def inspect(self, data, status=0):
        self.path.write_bytes(data)
        result = self.enclume("--json", self.path)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        self.assertEqual(result.stderr, "")
        return json.loads(result.stdout)

    def text(self, data, status=0):
        self.path.write_bytes(data)
        result = self.enclume(self.path)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout


class Sigstruct(InspectTest):
    def test_every_field(self):
        data = sgx_files.sigstruct()
        report = self.inspect(data)
        self.assertEqual(report["format"], "SIGSTRUCT")
        self.assertTrue(report["sound"])
        (found,) = report["sigstructs"]
        modulus = sgx_files.MODULUS.to_bytes(384, "little").hex()
        expected = {
            "offset": 0, "section": "", "well_formed": True, "signature_state": "valid",
            "mrenclave": sgx_files.MRENCLAVE.hex(), "mrsigner": sgx_files.MRSIGNER, "vendor": 0, "date": "2026-11-22",
            "header": sgx_files.HEADER.hex(), "header2": sgx_files.HEADER2.hex(), "swdefined": 0x1234,
            "modulus": modulus, "exponent": 3, "miscselect": "0x1", "miscmask": "0xffffffff", "cet_attributes": 0,
            "cet_attributes_mask": 0, "isvfamilyid": b"family".hex().ljust(32, "0"),
            "isvextprodid": b"product".hex().ljust(32, "0"), "isvprodid": 5, "isvsvn": 7,
            "signature": data[516:900].hex(), "q1": data[1040:1424].hex(), "q2": data[1424:1808].hex()}
        self.assertEqual({key: found[key] for key in expected}, expected)
        self.assertEqual(found["attributes"], {"flags": "0x84", "flag_names": ["MODE64BIT", "KSS"], "xfrm": "0x7",
                                               "xfrm_names": ["x87", "SSE", "AVX"]})
        self.assertEqual(found["attributemask"]["flags"], "0xfffffffffffffffd")
        self.assertEqual(found["attributemask"]["xfrm"], "0xfffffffffffffff8")

    def test_text_shows_the_same(self):
        text = self.text(sgx_files.sigstruct())
        for words in (sgx_files.MRENCLAVE.hex(), sgx_files.MRSIGNER, "valid, and so are Q1 and Q2", "MODE64BIT KSS",
                      "x87 SSE AVX", "EXINFO", "2026-11-22", "0x1234", "all zero"):
            self.assertIn(words, text)

    def test_padded_to_a_page(self):
        report = self.inspect(sgx_files.sigstruct().ljust(4096, b"\0"))
        self.assertEqual(report["format"], "SIGSTRUCT")

    def test_a_flipped_bit_anywhere_that_is_signed_or_helps(self):
        data = sgx_files.sigstruct()
        for offset, state in ((sgx_files.MODULUS_AT + 5, "invalid"), (sgx_files.SIGNATURE, "invalid"),
                              (sgx_files.ISVSVN, "invalid"), (960, "invalid"), (40, "invalid"),
                              (sgx_files.Q1, "wrong-q1-q2"), (sgx_files.Q2 + 383, "wrong-q1-q2")):
            with self.subTest(offset=offset):
                (found,) = self.inspect(with_bytes(data, offset, bytes([data[offset] ^ 1])), 1)["sigstructs"]
                self.assertEqual(found["signature_state"], state)

    def test_form(self):
        data = sgx_files.sigstruct()
        for offset, value in ((sgx_files.VENDOR, b"\1"), (sgx_files.EXPONENT, b"\5"), (sgx_files.RESERVED1, b"\1"),
                              (1028, b"\1"), (15, b"\x80")):
            with self.subTest(offset=offset):
                (found,) = self.inspect(with_bytes(data, offset, value), 1)["sigstructs"]
                self.assertFalse(found["well_formed"])
        self.assertIn("INVALID_SIG_STRUCT", self.text(with_bytes(data, sgx_files.VENDOR, b"\1"), 1))

    def test_numbers_that_break_arithmetic(self):
        data = sgx_files.sigstruct()
        for number in bytes(384), b"\1" + bytes(383), b"\xff" * 384:
            for offset in sgx_files.MODULUS_AT, sgx_files.SIGNATURE, sgx_files.Q1:
                self.inspect(with_bytes(data, offset, number), 1)
        self.inspect(with_bytes(with_bytes(data, sgx_files.MODULUS_AT, bytes(384)), sgx_files.SIGNATURE, bytes(384)), 1)


class Files(InspectTest):
    def test_intel_sdk(self):
        enclave = sgx_files.SdkEnclave()
        data = enclave.file()
        report = self.inspect(data)
        self.assertIn("Intel SGX SDK", report["format"])
        (found,) = report["sigstructs"]
        self.assertEqual(found["section"], ".note.sgxmeta")
        self.assertEqual(found["intel_metadata"],
                         {"version": "2.4", "tcs_policy": 1, "ssa_frame_size": 1, "enclave_size": 0x100000, "pages": 15,
                          "measured_pages": 13, "tcs_pages": 2, "mrenclave": enclave.mrenclave().hex(), "problem": ""})
        self.assertIn("section .note.sgxmeta", self.text(data))
        self.assertIn("the signed one", self.text(data))

    def test_intel_sdk_image_that_is_not_the_signed_one(self):
        enclave = sgx_files.SdkEnclave()
        other = enclave.file(mrenclave=sgx_files.MRENCLAVE)
        (found,) = self.inspect(other, 1)["sigstructs"]
        self.assertEqual(found["intel_metadata"]["mrenclave"], enclave.mrenclave().hex())
        self.assertIn("INVALID_MEASUREMENT", self.text(other, 1))
        changed = with_bytes(enclave.file(), 64 + 2 * 56 + 5, b"\xcc")  # a byte of code
        (found,) = self.inspect(changed, 1)["sigstructs"]
        self.assertNotEqual(found["intel_metadata"]["mrenclave"], found["mrenclave"])

    def test_intel_sdk_without_an_image(self):
        metadata = sgx_files.intel_metadata(sgx_files.sigstruct())
        report = self.inspect(sgx_files.elf({".note.sgxmeta": metadata}), 1)
        self.assertIsNone(report["sigstructs"][0]["intel_metadata"]["mrenclave"])
        self.assertNotEqual(report["sigstructs"][0]["intel_metadata"]["problem"], "")

    def test_damaged_intel_sdk_images(self):
        data = sgx_files.SdkEnclave().file()
        chance = random.Random(2)
        tables = data.index(b"sgx_metadata")
        for _ in range(150):
            broken = bytearray(data)
            for _ in range(3):
                where = chance.choice([chance.randrange(64, 64 + 2 * 56), chance.randrange(tables + 13, tables + 13 + 64),
                                       chance.randrange(tables + 13 + 64 + 1808, tables + 13 + 64 + 1808 + 260)])
                broken[where] = chance.choice([0, 1, 0x10, 0x7f, 0xff])
            self.path.write_bytes(broken)
            self.assertIn(self.enclume("--json", self.path).returncode, (0, 1))

    def test_open_enclave(self):
        report = self.inspect(sgx_files.elf({".oeinfo": bytes(208) + sgx_files.sigstruct() + bytes(64)}))
        self.assertIn("Open Enclave", report["format"])
        self.assertEqual(report["sigstructs"][0]["section"], ".oeinfo")

    def test_two_in_one_file(self):
        data = sgx_files.sigstruct()
        bad = with_bytes(data, sgx_files.ISVSVN, b"\x09")
        report = self.inspect(b"x" * 7 + data + b"y" * 3 + bad, 1)
        self.assertEqual([(s["offset"], s["signature_state"]) for s in report["sigstructs"]],
                         [(7, "valid"), (7 + 1808 + 3, "invalid")])

    def test_unsigned_enclaves_are_recognised(self):
        for section, tool in (".oeinfo", "oesign"), (".note.sgxmeta", "sgx_sign"):
            data = sgx_files.elf({section: bytes(3000)})
            self.assertTrue(any(tool in hint for hint in self.inspect(data, 1)["hints"]))
            self.assertIn(tool, self.text(data, 1))

    def test_nothing(self):
        for data in b"", b"hello", bytes(5000), open("/bin/true", "rb").read():
            report = self.inspect(data, 1)
            self.assertEqual((report["sigstructs"], report["sgxs"]), ([], None))
        self.assertIn("Looked for", self.text(b"", 1))

    def test_cut_short_at_every_length(self):
        data = sgx_files.sigstruct()
        for size in [*range(0, len(data), 97), len(data) - 1]:
            self.assertEqual(self.inspect(data[:size], 1)["sigstructs"], [])

    def test_damaged_elf(self):
        data = bytearray(sgx_files.elf({".oeinfo": sgx_files.sigstruct()}))
        chance = random.Random(1)
        for _ in range(200):
            broken = bytearray(data)
            for _ in range(4):
                where = chance.choice([chance.randrange(64), chance.randrange(len(data) - 192, len(data))])
                broken[where] = chance.choice([0, 1, 0x7f, 0xff])
            self.path.write_bytes(broken)
            self.assertIn(self.enclume("--json", self.path).returncode, (0, 1))

    def test_files_that_cannot_be_read(self):
        for path, words in ("/nowhere", "No such file"), ("/", "directory"):
            result = self.enclume(path)
            self.assertEqual(result.returncode, 2)
            self.assertIn(words, result.stderr)
        self.assertEqual(self.enclume().returncode, 2)

    def test_a_name_that_is_not_utf8(self):
        path = os.fsencode(self.path) + b"\xff"
        with open(path, "wb") as file:
            file.write(sgx_files.sigstruct())
        result = subprocess.run([ENCLUME, "inspect", "--json", path], stdout=subprocess.PIPE, check=True)
        json.loads(result.stdout.decode())


class Sgxs(InspectTest):
    def stream(self):
        chunk = bytes(range(256))
        return sgx_files.sgxs([(0, TCS, {}), (0x1000, REG, {0: (chunk, True), 15: (chunk, True), 3: (chunk, False)}),
                               (0x5000, REG, {})])

    def test_mrenclave_is_computed(self):
        data, mrenclave = self.stream()
        report = self.inspect(data)
        self.assertEqual(report["sgxs"],
                         {"sized": True, "ssa_frame_size": 1, "size": 0x10000, "tcs_pages": 1, "regular_pages": 2,
                          "other_pages": 0, "measured_chunks": 2, "unmeasured_chunks": 1, "mrenclave": mrenclave,
                          "problem": ""})
        self.assertIn(mrenclave, self.text(data))

    def test_unsized(self):
        data, _ = sgx_files.sgxs([(0, REG, {})], tag=b"UNSIZED\0")
        report = self.inspect(data)
        self.assertEqual((report["sgxs"]["sized"], report["sgxs"]["mrenclave"]), (False, None))

    def test_damaged_streams(self):
        good, _ = self.stream()
        for data, words in (
                (good[:-1], "cut short"),
                (good + b"GARBAGE\0".ljust(64, b"\0"), "unknown record"),
                (good + good, "second header"),
                (sgx_files.sgxs([(0x1000, REG, {}), (0x1000, REG, {})])[0], "out of order"),
                (sgx_files.sgxs([(0x10, REG, {})])[0], "not page aligned"),
                (sgx_files.sgxs([(0x10000, REG, {})])[0], "outside"),
                (sgx_files.sgxs([(0, REG, {16: (bytes(256), True)})])[0], "not in the page")):
            with self.subTest(words):
                report = self.inspect(data, 1)
                self.assertIn(words, report["sgxs"]["problem"])
                self.assertIsNone(report["sgxs"]["mrenclave"])

    def test_a_chunk_without_a_page(self):
        good, _ = self.stream()
        data, _ = sgx_files.sgxs([])
        chunk_record = good[64 + 64 + 64:64 + 64 + 64 + 320]
        self.assertEqual(chunk_record[:7], b"EEXTEND")
        self.assertIn("not in the page", self.inspect(data + chunk_record, 1)["sgxs"]["problem"])

    def test_a_chunk_twice_or_cut_or_not_aligned(self):
        data, _ = sgx_files.sgxs([(0, REG, {0: (bytes(256), True)})])
        chunk = data[128:]
        self.assertIn("twice", self.inspect(data + chunk, 1)["sgxs"]["problem"])
        self.assertIn("cut short", self.inspect(data[:-1], 1)["sgxs"]["problem"])
        self.assertIn("not aligned", self.inspect(with_bytes(data, 128 + 8, b"\1"), 1)["sgxs"]["problem"])


if __name__ == "__main__":
    unittest.main()
