# SPDX-License-Identifier: Apache-2.0
"""--trace-insn: each instruction that the enclave executes, in order, and nothing between."""

import ctypes
import re
import subprocess
import tempfile
import unittest

import traced_run

LINE = re.compile(r"insn (?P<rip>0x[0-9a-f]+) \(enclave (?P<base>0x[0-9a-f]+)\+(?P<offset>0x[0-9a-f]+)\) "
                  r"(?:<(?P<symbol>[^>+]+)(?:\+(?P<behind>0x[0-9a-f]+))?> )?"
                  r"(?P<bytes>[0-9a-f]{2}(?: [0-9a-f]{2}){0,14})(?:  (?P<text>\S.*))?")


def has_zydis():
    try:
        ctypes.CDLL("libZydis.so.4.0")
    except OSError:
        return False
    return True


class Instructions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as directory:
            path = directory + "/trace"
            cls.result = subprocess.run(
                [traced_run.ENCLUME, "run", "--trace-insn", "--trace", path, "--", traced_run.FIRST_FAULT],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
            with open(path, encoding="utf-8") as file:
                cls.lines = traced_run.parse(file.read())
        cls.instructions = [LINE.fullmatch(line.text) for line in cls.lines if line.text.startswith("insn ")]

    def test_program_does_not_notice(self):
        self.assertEqual(self.result.returncode, 0)
        self.assertIn("gcd(1071, 462) = 21", self.result.stdout)

    def test_lines_have_the_documented_form(self):
        self.assertGreater(len(self.instructions), 20)
        for match in self.instructions:
            self.assertIsNotNone(match)
            self.assertEqual(int(match["rip"], 16), int(match["base"], 16) + int(match["offset"], 16))

    def test_each_goes_on_behind_the_last_unless_it_branches(self):
        # The sample's enclave computes a greatest common divisor: a straight line, a loop, and ENCLU[EEXIT].
        runs = 0
        for before, after in zip(self.instructions, self.instructions[1:]):
            straight = int(before["rip"], 16) + len(before["bytes"].split()) == int(after["rip"], 16)
            branch = before["bytes"][:2] in ("eb", "e9", "e8", "c3") or before["bytes"][0] == "7" or \
                before["bytes"].startswith(("0f 8", "0f 01 d7", "ff"))
            self.assertTrue(straight or branch or after["offset"] == "0x1000", (before[0], after[0]))
            runs += straight
        self.assertGreater(runs, 10)

    def test_first_touches_do_not_repeat_a_line(self):
        for before, after in zip(self.lines, self.lines[1:]):
            if before.text.startswith("insn ") and after.text.startswith("insn "):
                self.assertNotEqual(LINE.fullmatch(before.text)["rip"], LINE.fullmatch(after.text)["rip"])

    def test_last_instruction_of_an_entry_is_its_enclu(self):
        texts = [line.text for line in self.lines]
        exit_line = next(i for i, text in enumerate(texts) if text.startswith("ENCLU[EEXIT]"))
        self.assertIn(" 0f 01 d7", texts[exit_line - 1])

    def test_faulting_instruction_is_the_last_before_the_exit(self):
        texts = [line.text for line in self.lines]
        # Not a page fault at the first touch, which may be the fetch: the sample's own is the last one.
        aex = max(i for i, text in enumerate(texts) if text.startswith("AEX #PF"))
        rip = re.search(r"at rip=(0x[0-9a-f]+)", texts[aex])[1]
        self.assertTrue(texts[aex - 1].startswith(f"insn {rip} "), texts[aex - 1])

    def test_each_has_the_name_that_its_file_gives_it(self):
        # The sample adds the page straight from the mapping of its own file.
        for match in self.instructions:
            self.assertEqual(match["symbol"], "enclave_page")
            self.assertEqual(int(match["behind"] or "0", 16), int(match["offset"], 16) - 0x1000)

    def test_targets_inside_and_outside_have_names(self):
        texts = [line.text for line in self.lines]
        self.assertTrue(any(re.search(r" eb eb .*<enclave_page\+0x3>$", text) for text in texts))
        self.assertTrue(any(re.search(r"^ENCLU\[EEXIT\] .*<__vdso_sgx_enter_enclave\+0x[0-9a-f]+>$", text)
                            for text in texts))

    @unittest.skipUnless(has_zydis(), "libzydis is not installed")
    def test_instructions_are_disassembled(self):
        texts = {match["bytes"]: match["text"] for match in self.instructions}
        self.assertEqual(texts.get("0f 01 d7"), "enclu")
        self.assertIn("div rcx", texts.values())
        self.assertTrue(all(texts.values()))

    def test_without_a_trace_file_the_lines_go_to_standard_error(self):
        result = subprocess.run([traced_run.ENCLUME, "run", "--trace-insn", "--", traced_run.FIRST_FAULT],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertIn("insn 0x", result.stderr)
        self.assertIn("gcd(1071, 462) = 21", result.stdout)


if __name__ == "__main__":
    unittest.main()
