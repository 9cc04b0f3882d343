# SPDX-License-Identifier: Apache-2.0
"""The runtime knows nothing of the emulator: the same binary runs on hardware.

ENCLUME_LIBRARIES: the two libraries. ENCLUME_SAMPLE: a program made with them, and its enclave."""

import os
import re
import subprocess
import unittest

LIBRARIES = os.environ["ENCLUME_LIBRARIES"].split(":")
SAMPLE = os.environ["ENCLUME_SAMPLE"].split(":")

# Rooms of the emulator, as namespaces in mangled names.
ROOMS = re.compile(r"7enclume(4base|4arch|6kernel|5trace|6engine|3cli)")
# Settings and files of the emulator.
WORDS = re.compile(rb"ENCLUME_(?!\w*=)|libenclume-engine|enclume-load|enclume run|emulat", re.IGNORECASE)


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


class Apart(unittest.TestCase):
    def test_libraries_use_no_symbol_of_the_emulator(self):
        for library in LIBRARIES:
            symbols = output("nm", "--undefined-only", library)
            self.assertNotRegex(symbols, ROOMS)
            self.assertRegex(output("nm", library), "enclume")  # there was something to look at

    def test_no_data_names_the_emulator(self):
        for file in LIBRARIES + SAMPLE:
            for section in (".rodata", ".data", ".rodata.str1.1", ".rodata.str1.8"):
                dump = subprocess.run(["objdump", "-s", "-j", section, file], stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, check=False).stdout
                text = b"".join(line[-16:] for line in dump.splitlines())
                self.assertNotRegex(text, WORDS, f"{file} {section}")

    def test_the_sample_needs_no_library_of_ours(self):
        needed = output("readelf", "-d", SAMPLE[0])
        self.assertNotIn("enclume", "".join(re.findall(r"NEEDED.*", needed)))

    def test_without_a_device_the_sample_says_so(self):
        if os.path.exists("/dev/sgx_enclave"):
            self.skipTest("this machine has SGX")
        result = subprocess.run(SAMPLE, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("/dev/sgx_enclave cannot be opened", result.stderr)


if __name__ == "__main__":
    unittest.main()
