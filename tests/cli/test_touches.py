# SPDX-License-Identifier: Apache-2.0
"""A page that is added by its first touch: the exit before the one that the program hears of can be left out
(src/engine/come_back.cc), and nothing that the program sees may tell."""

import json
import os
import re
import unittest

from watched_program import WatchedTest

TOUCHES = os.environ["ENCLUME_TOUCHES"]
PAGES = 40


class Touches(WatchedTest):
    maxDiff = None

    def touches(self, *options):
        result = self.enclume("run", *options, "--", TOUCHES, str(PAGES))
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_are_the_same_with_every_exit_and_without(self):
        short = self.touches()
        self.assertIn(f"0: {PAGES} pages were accepted, sum 0\n", short)
        for options in (["--fast", "off"], ["--stats=/dev/null"], ["--trace", "/dev/null"], ["--strict"],
                        ["--inject", "eaug@100000"]):
            with self.subTest(options=options):
                self.assertEqual(self.touches(*options), short)

    def test_are_the_same_without_benign_faults(self):
        self.assertEqual(self.touches("--benign-faults", "off"),
                         self.touches("--benign-faults", "off", "--fast", "off"))

    def test_are_told_as_two_exits_and_a_resume(self):
        trace, figures = self.home / "trace", self.home / "figures"
        self.touches("--trace", trace)
        added = len(re.findall(r"page added \(EAUG\)", trace.read_text()))
        self.touches(f"--stats={figures}", "--stats-format=json")
        figures = json.loads(figures.read_text())
        self.assertEqual(figures["pages"]["augmented"], added)
        self.assertGreater(added, PAGES)
        self.assertEqual(figures["faults"]["resolved"], len(re.findall(r"page fault addr", trace.read_text())))
        self.assertEqual(figures["aex"]["#PF"], len(re.findall(r"AEX #PF", trace.read_text())))


if __name__ == "__main__":
    unittest.main()
