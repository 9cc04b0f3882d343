# SPDX-License-Identifier: Apache-2.0
"""Tests of the TAP judge: it must not be fooled into a pass."""

import unittest

from run_kselftest import parse_tap, verdict_no_sgx, verdict_pass

GOOD = "TAP version 13\n1..2\n# Starting\n#  RUN  e.a ...\nok 1 enclave.a\nok 2 enclave.b\n# PASSED: 2 / 2\n"


class ParseTap(unittest.TestCase):
    def test_complete_stream_has_no_problems(self):
        report = parse_tap(GOOD)
        self.assertEqual((report.planned, report.passed, report.problems), (2, ["enclave.a", "enclave.b"], []))

    def test_skip_with_and_without_a_name_is_not_a_pass(self):
        report = parse_tap("1..2\nok 1 # SKIP SGX2 not supported\nok 2 enclave.b # SKIP no\n")
        self.assertEqual((len(report.skipped), report.passed), (2, []))

    def test_truncated_stream_is_a_problem(self):
        self.assertIn("2 tests planned, 1 reported", parse_tap("1..2\nok 1 enclave.a\n").problems)

    def test_missing_plan_is_a_problem(self):
        self.assertIn("no plan line", parse_tap("ok 1 enclave.a\n").problems)

    def test_repeated_number_is_a_problem(self):
        self.assertTrue(parse_tap("1..2\nok 1 enclave.a\nok 1 enclave.a\n").problems)

    def test_comment_lines_are_no_results(self):
        self.assertEqual(parse_tap("1..1\n# ok 1 enclave.a\nok 1 enclave.a\n").reported, 1)


class Verdicts(unittest.TestCase):
    def test_good_run_passes(self):
        self.assertEqual(verdict_pass(parse_tap(GOOD), 0, 2), [])

    def test_exit_status_counts(self):
        self.assertEqual(verdict_pass(parse_tap(GOOD), 1, 2), ["exit status 1"])

    def test_one_failure_spoils_it(self):
        self.assertIn("failed: enclave.b", verdict_pass(parse_tap(GOOD.replace("ok 2", "not ok 2")), 0, 1))

    def test_one_skip_spoils_it(self):
        self.assertTrue(verdict_pass(parse_tap(GOOD.replace("enclave.b", "enclave.b # SKIP x")), 0, 1))

    def test_too_few_tests_spoil_it(self):
        self.assertTrue(verdict_pass(parse_tap(GOOD), 0, 11))

    def test_a_pass_without_sgx_is_unexpected(self):
        self.assertTrue(verdict_no_sgx(parse_tap(GOOD), 1, 2))

    def test_skips_and_failures_without_sgx_are_expected(self):
        text = "1..2\nnot ok 1 enclave.a\nok 2 # SKIP SGX2 not supported\n"
        self.assertEqual(verdict_no_sgx(parse_tap(text), 1, 2), [])


if __name__ == "__main__":
    unittest.main()
