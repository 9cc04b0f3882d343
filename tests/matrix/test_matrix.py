# SPDX-License-Identifier: Apache-2.0
"""`enclume matrix` from the outside: its options, and that a cell which is not as expected fails it."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
PROBE = os.environ["ENCLUME_MATRIX_BINARY"]


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)


class Options(unittest.TestCase):
    def refuses(self, *arguments):
        result = run(ENCLUME, "matrix", *arguments)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertEqual(result.stdout, "")

    def test_what_does_not_exist_is_refused(self):
        self.refuses("--design", "vdsp")
        self.refuses("--place", "nowhere")
        self.refuses("--vector", "#ZZ")
        self.refuses("--cell", "opt-out/none")
        self.refuses("--format", "xml")
        self.refuses("--format", "markdown")
        self.refuses("--facts", "/nonexistent")

    def test_selection(self):
        result = run(ENCLUME, "matrix", "--design", "signals", "--place", "near-by", "--vector", "de",
                     "--format", "json")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        cells = json.loads(result.stdout)
        self.assertEqual([(cell["cell"], cell["verdict"]) for cell in cells], [("near-by/DE", "as-expected")])


class Facts(unittest.TestCase):
    """What the probe printed somewhere is compared without running anything."""

    def compare(self, change):
        printed = run(ENCLUME, "run", "--", PROBE, "--design", "vdso", "opt-out/DE")
        self.assertEqual(printed.returncode, 0, printed.stderr)
        facts = json.loads(printed.stdout)
        change(facts)
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "facts"
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
            return run(ENCLUME, "matrix", "--design", "vdso", "--cell", "opt-out/DE", "--facts", str(path))

    def test_as_they_are(self):
        result = self.compare(lambda facts: None)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_a_difference_names_the_cell_and_fails(self):
        result = self.compare(lambda facts: facts.update(error=1))
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("opt-out/DE with vdso: error code is 0x1, not 0x0", result.stdout)


if __name__ == "__main__":
    unittest.main()
