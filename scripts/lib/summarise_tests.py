#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up the JUnit reports of several ctest runs.

Usage: summarise_tests.py [--broken STEP]... NAME=REPORT...

Prints what failed with the end of its output, why tests were skipped, and as the last line
"N passed, N failed, N skipped". A step that broke before there was a report counts as one failure.
Exits with 0 if something passed and nothing failed.
"""

import argparse
import collections
import dataclasses
import re
import sys
import xml.etree.ElementTree as ElementTree

OUTPUT_LINES = 40

# ctest reports a test that it could not start (no executable, a failed fixture) as "not run", as it does one
# that skipped itself. Only these words mean that a test asked for it.
SKIPPED_ITSELF = re.compile(r"SKIP_RETURN_CODE|SKIP_REGULAR_EXPRESSION")


@dataclasses.dataclass
class Case:
    run: str
    name: str
    verdict: str  # passed, failed or skipped
    message: str
    output: str


def skip_reason(output):
    """The reason that a skipped test printed, as GoogleTest or unittest print it, else its last words."""
    if match := re.search(r"\.\.\. skipped (['\"])(.*)\1$", output, re.MULTILINE):
        return match.group(2)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for i, line in enumerate(lines):
        if re.search(r": Skipped$", line) and i + 1 < len(lines) and not lines[i + 1].startswith("["):
            return lines[i + 1]
    words = [line for line in lines if not line.startswith("[") and not line.startswith("Note:")]
    return words[-1] if words else "no reason given"


def read_case(run, element):
    output = element.findtext("system-out") or ""
    name = element.get("name", "?")
    failure = element.find("failure")
    skipped = element.find("skipped")
    if failure is not None:
        return Case(run, name, "failed", failure.get("message") or "failed", output)
    if skipped is None and element.get("status") == "run":
        return Case(run, name, "passed", "", output)
    if element.get("status") == "disabled":
        return Case(run, name, "skipped", "disabled", output)
    message = (skipped.get("message") if skipped is not None else "") or "not run"
    if SKIPPED_ITSELF.search(message):
        return Case(run, name, "skipped", skip_reason(output), output)
    return Case(run, name, "failed", message, output)


def read_report(argument):
    run, _, path = argument.partition("=")
    return [read_case(run, element) for element in ElementTree.parse(path).getroot().iter("testcase")]


def print_failures(cases):
    for case in cases:
        print(f"\nFAILED {case.run}: {case.name} ({case.message})")
        lines = case.output.rstrip().splitlines()
        if len(lines) > OUTPUT_LINES:
            print(f"    ... {len(lines) - OUTPUT_LINES} lines left out")
        for line in lines[-OUTPUT_LINES:]:
            print(f"    {line}")


def print_skips(cases):
    by_reason = collections.defaultdict(list)
    for case in cases:
        by_reason[case.message].append(f"{case.run}: {case.name}")
    for reason, names in by_reason.items():
        print(f"\nskipped, {reason}:")
        for name in names:
            print(f"    {name}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broken", action="append", default=[], metavar="STEP")
    parser.add_argument("reports", nargs="*", metavar="NAME=REPORT")
    arguments = parser.parse_args()

    cases = [case for report in arguments.reports for case in read_report(report)]
    by_verdict = collections.defaultdict(list)
    for case in cases:
        by_verdict[case.verdict].append(case)
    print_skips(by_verdict["skipped"])
    print_failures(by_verdict["failed"])
    for step in arguments.broken:
        print(f"\nFAILED {step}")

    print()
    for run in dict.fromkeys(case.run for case in cases):
        counts = collections.Counter(case.verdict for case in cases if case.run == run)
        print(f"{run}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    failed = len(by_verdict["failed"]) + len(arguments.broken)
    passed = len(by_verdict["passed"])
    print(f"{passed} passed, {failed} failed, {len(by_verdict['skipped'])} skipped")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
