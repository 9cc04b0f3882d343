# SPDX-License-Identifier: Apache-2.0
"""The tutorial in docs/runtime.md does what it says: its files are written, its commands run, its output compared.

In the tutorial each indented block either is a file, whose name is in a comment on its first line, or begins with
"$ ", and is commands, each with the output that is expected of it, if any is shown. PREFIX is where Enclume is installed.

ENCLUME_BUILD, ENCLUME_SOURCE: this tree."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

BUILD = os.environ["ENCLUME_BUILD"]
TUTORIAL = pathlib.Path(os.environ["ENCLUME_SOURCE"]) / "docs" / "runtime.md"
FILE_NAME = re.compile(r"(?://|#) ([\w.]+)")


def blocks(text):
    """The indented blocks, without their indent. A file begins a block of its own."""
    found, block = [], []
    for line in text.splitlines() + ["end"]:
        if line.startswith("    ") or (not line and block):
            content = line[4:]
            if block and FILE_NAME.fullmatch(content) or (content.startswith("$ ") and block
                                                          and not block[0].startswith("$ ")):
                found.append(block)
                block = []
            block.append(content)
        elif block:
            found.append(block)
            block = []
    return [("\n".join(block)).rstrip("\n") + "\n" for block in found]


class Tutorial(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.prefix = pathlib.Path(temporary.name) / "prefix"
        self.directory = pathlib.Path(temporary.name) / "adder"
        self.directory.mkdir()
        subprocess.run(["cmake", "--install", BUILD, "--prefix", self.prefix], stdout=subprocess.DEVNULL, check=True)
        # Nothing of this tree must be needed.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ENCLUME_")}
        self.environment["CMAKE_GENERATOR"] = "Ninja"

    def run_commands(self, block):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, expected = part.split("\n", 1)
            result = subprocess.run(re.sub(r"(?<![A-Z_])PREFIX(?![A-Z_])", str(self.prefix), command), shell=True, cwd=self.directory,
                                    env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                    timeout=250, check=False)
            self.assertEqual(result.returncode, 0, f"{command}\n{result.stdout}")
            if expected:
                self.assertEqual(result.stdout, expected, command)
                self.compared += 1

    def test_does_what_it_says(self):
        text = TUTORIAL.read_text(encoding="utf-8")
        section = re.search(r"^## From an empty directory\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
        self.assertIsNotNone(section)
        self.compared = 0
        written = set()
        for block in blocks(section.group(1)):
            name = FILE_NAME.fullmatch(block.split("\n", 1)[0])
            if name:
                (self.directory / name.group(1)).write_text(block, encoding="utf-8")
                written.add(name.group(1))
            else:
                self.assertTrue(block.startswith("$ "), f"neither a file nor commands:\n{block}")
                self.run_commands(block)
        self.assertEqual(written, {"CMakeLists.txt", "adder.h", "enclave.cc", "host.cc"})
        self.assertGreaterEqual(self.compared, 3)


if __name__ == "__main__":
    unittest.main()
