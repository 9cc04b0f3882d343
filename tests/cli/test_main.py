# SPDX-License-Identifier: Apache-2.0
"""What all verbs share. ENCLUME_BINARY is the program under test."""

import os
import shutil
import subprocess
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
VERBS = ["doctor", "help", "inspect", "run"]


def enclume(*arguments, **more):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "check": False} | more
    return subprocess.run([ENCLUME, *arguments], **options)


class Main(unittest.TestCase):
    def test_version(self):
        result = enclume("--version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"^enclume \d+\.\d+\.\d+\n$")

    def test_no_verb(self):
        result = enclume()
        self.assertEqual(result.returncode, 2)
        self.assertIn("--help", result.stderr)

    def test_the_overview_names_every_verb(self):
        for arguments in ["--help"], ["-h"], ["help"]:
            result = enclume(*arguments)
            self.assertEqual(result.returncode, 0)
            for verb in VERBS:
                self.assertIn(f"\n  {verb}\n", result.stdout)

    def test_an_unknown_verb_suggests_the_nearest(self):
        for word, verb in ("rnu", "run"), ("docter", "doctor"), ("inspet", "inspect"):
            result = enclume(word)
            self.assertEqual(result.returncode, 2)
            self.assertIn(f"did you mean '{verb}'?", result.stderr)
        self.assertIn("the verbs are", enclume("xyzzyxyzzy").stderr)

    def test_help_is_the_same_in_both_ways(self):
        for verb in VERBS:
            result = enclume(verb, "--help")
            self.assertEqual(result.returncode, 0)
            for section in "Usage:", "DESCRIPTION", "EXAMPLES":
                self.assertIn(section, result.stdout)
            if verb != "help":
                self.assertEqual(enclume("help", verb).stdout, result.stdout)

    def test_help_fits_the_terminal(self):
        for verb in VERBS:
            for line in enclume("help", verb).stdout.splitlines():
                if not line.startswith("  ") or line.startswith("      "):
                    self.assertLessEqual(len(line), 80, line)

    def test_unknown_option(self):
        for verb in VERBS:
            result = enclume(verb, "--bogus")
            self.assertEqual(result.returncode, 2, verb)
            self.assertIn("--bogus", result.stderr)

    def test_man_pages_have_no_warnings(self):
        if not shutil.which("man"):
            self.skipTest("man is not installed")
        for verb in [[], *([verb] for verb in VERBS)]:
            page = enclume("help", "--roff", *verb).stdout
            result = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-"], input=page, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True,
                                    env=os.environ | {"MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
            self.assertEqual(result.stderr, "")
            self.assertIn("DESCRIPTION", result.stdout)

    def test_output_that_nobody_can_write(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = enclume("--help", stdout=full)
        self.assertEqual(result.returncode, 125)
        self.assertIn("standard output", result.stderr)


if __name__ == "__main__":
    unittest.main()
