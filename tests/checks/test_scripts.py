# SPDX-License-Identifier: Apache-2.0
"""The helpers of scripts/test and scripts/bench: a wrong sum there would hide every failure."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

LIB = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "lib"

PASSED = '<testcase name="{}" status="run"><system-out>fine</system-out></testcase>'
FAILED = '<testcase name="{}" status="fail"><failure message=""/><system-out>it broke</system-out></testcase>'
SKIPPED = ('<testcase name="{}" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'
           '<system-out>/a/b.cc:3: Skipped\nno such hardware\n[  SKIPPED ] x</system-out></testcase>')
SKIPPED_77 = ('<testcase name="{}" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>'
              '<system-out>first\nno such kernel\n</system-out></testcase>')
SKIPPED_PYTHON = ('<testcase name="{}" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/><system-out>'
                  "test_x (a.B.test_x) ... skipped 'only root can'\n\nRan 1 test\n\nOK (skipped=1)</system-out></testcase>")
NOT_BUILT = '<testcase name="{}" status="notrun"><skipped message="Unable to find executable"/></testcase>'
DISABLED = '<testcase name="{}" status="disabled"><system-out>Disabled</system-out></testcase>'


class ScriptTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def run_script(self, name, *arguments):
        return subprocess.run([sys.executable, "-B", LIB / name, *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)


class Summary(ScriptTest):
    def report(self, name, *cases):
        path = self.directory / f"{name}.xml"
        path.write_text("<testsuite>" + "".join(case.format(f"T{i}") for i, case in enumerate(cases)) + "</testsuite>")
        return f"{name}={path}"

    def summary(self, status, *arguments):
        result = self.run_script("summarise_tests.py", *arguments)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout.splitlines()[-1], result.stdout

    def test_all_passed(self):
        self.assertEqual(self.summary(0, self.report("a", PASSED, PASSED))[0], "2 passed, 0 failed, 0 skipped")

    def test_reports_add_up(self):
        last, text = self.summary(1, self.report("a", PASSED, SKIPPED), self.report("b", PASSED, FAILED, DISABLED))
        self.assertEqual(last, "2 passed, 1 failed, 2 skipped")
        self.assertIn("FAILED b: T1", text)
        self.assertIn("it broke", text)
        self.assertIn("b: 1 passed, 1 failed, 1 skipped", text)

    def test_reasons_for_skipping(self):
        _, text = self.summary(0, self.report("a", PASSED, SKIPPED, SKIPPED_77, SKIPPED_PYTHON))
        for reason in "no such hardware", "no such kernel", "only root can":
            self.assertIn(f"skipped, {reason}:", text)

    def test_a_test_that_could_not_start_has_failed(self):
        self.assertEqual(self.summary(1, self.report("a", PASSED, NOT_BUILT))[0], "1 passed, 1 failed, 0 skipped")

    def test_a_broken_step_has_failed(self):
        last, text = self.summary(1, "--broken", "build tsan", self.report("a", PASSED))
        self.assertEqual(last, "1 passed, 1 failed, 0 skipped")
        self.assertIn("FAILED build tsan", text)

    def test_nothing_at_all_is_no_success(self):
        self.assertEqual(self.summary(1)[0], "0 passed, 0 failed, 0 skipped")


class Benchmarks(ScriptTest):
    def report(self, name, *benchmarks):
        path = self.directory / f"{name}.json"
        path.write_text(json.dumps({"context": {"executable": f"/x/{name}", "num_cpus": 2}, "benchmarks": benchmarks}))
        return path

    def test_reports_are_merged(self):
        out = self.directory / "all.json"
        result = self.run_script("merge_benchmarks.py", out,
                                 self.report("a", {"name": "Enter", "real_time": 2.0, "time_unit": "us",
                                                   "per_signal": 1.9}),
                                 self.report("b", {"name": "Hash", "real_time": 3.0, "time_unit": "ns",
                                                   "bytes_per_second": 2e9}))
        self.assertEqual(result.returncode, 0, result.stderr)
        merged = json.loads(out.read_text())
        self.assertEqual([(b["program"], b["name"]) for b in merged["benchmarks"]], [("a", "Enter"), ("b", "Hash")])
        self.assertRegex(result.stdout, r"\| Enter +\| 2,000 +\| 1\.90 +\|")
        self.assertRegex(result.stdout, r"\| Hash +\| 3 +\| +\| 2,000 +\|")

    def test_a_benchmark_that_failed_fails_the_run(self):
        result = self.run_script("merge_benchmarks.py", self.directory / "all.json",
                                 self.report("a", {"name": "Enter", "error_occurred": True, "error_message": "no SGX"}))
        self.assertEqual(result.returncode, 1)
        self.assertIn("failed: no SGX", result.stdout)


if __name__ == "__main__":
    unittest.main()
