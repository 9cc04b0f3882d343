#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the kernel's test_sgx and judges its TAP output.

    run_kselftest.py [--expect pass|no-sgx] [--at-least N] [--except TEST]... [--timeout S] DIRECTORY [-- LAUNCHER...]

DIRECTORY holds test_sgx and test_encl.elf; the program looks for the enclave in its working directory. LAUNCHER
is what stands before the program, for instance "enclume run --". With --expect pass, every test of the plan must
have been reported, none failed and none skipped. With --expect no-sgx, the same program must fail: not one test
may pass. That second run is what shows that the first one proves something.

Exit status: 0 as expected, 1 not as expected, 2 wrong use, 77 not applicable (this machine has SGX itself).
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field

SKIPPED = 77
PLAN = re.compile(r"^1\.\.(\d+)\s*$")
# Linux 6.1 reports a skipped test without its name: "ok 10 # SKIP SGX2 not supported".
RESULT = re.compile(r"^(not ok|ok) (\d+)(?: ([^#]*?))?\s*(?:# ?(\w+).*)?$")


@dataclass
class TapReport:
    """What a TAP stream said. `problems` is empty when it is a complete and consistent one."""

    planned: int | None = None
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def reported(self) -> int:
        return len(self.passed) + len(self.failed) + len(self.skipped)


def parse_tap(text: str) -> TapReport:
    """Reads TAP 13 as the kernel's kselftest harness writes it."""
    report = TapReport()
    expected_number = 1
    for line in text.splitlines():
        if plan := PLAN.match(line):
            if report.planned is not None:
                report.problems.append(f"a second plan line: {line!r}")
            report.planned = int(plan[1])
        elif result := RESULT.match(line):
            verdict, number, name, directive = result.groups()
            if int(number) != expected_number:
                report.problems.append(f"test {number} reported where {expected_number} was due")
            expected_number = int(number) + 1
            name = name or f"test {number}"
            if directive and directive.upper() == "SKIP":
                report.skipped.append(name)
            elif directive:
                report.problems.append(f"unexpected directive: {line!r}")
            elif verdict == "ok":
                report.passed.append(name)
            else:
                report.failed.append(name)
    if report.planned is None:
        report.problems.append("no plan line")
    elif report.reported != report.planned:
        report.problems.append(f"{report.planned} tests planned, {report.reported} reported")
    return report


def verdict_pass(report: TapReport, status: int, at_least: int) -> list[str]:
    """Why the run is not the full success that is asked for; empty if it is."""
    wrong = list(report.problems)
    wrong += [f"failed: {name}" for name in report.failed]
    wrong += [f"skipped: {name}" for name in report.skipped]
    if len(report.passed) < at_least:
        wrong.append(f"only {len(report.passed)} tests passed, at least {at_least} are known to exist")
    if status != 0:
        wrong.append(f"exit status {status}")
    return wrong


def verdict_no_sgx(report: TapReport, status: int, at_least: int) -> list[str]:
    """Why the run is not the complete failure that a machine without SGX gives; empty if it is."""
    wrong = list(report.problems)
    wrong += [f"passed without SGX: {name}" for name in report.passed]
    if report.reported < at_least:
        wrong.append(f"only {report.reported} tests reported, at least {at_least} are known to exist")
    if status == 0:
        wrong.append("exit status 0")
    return wrong


def kill_session(session: int) -> None:
    """Kills what is left of a session: the kernel's harness gives each test a process group of its own."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.getsid(int(entry)) == session:
                os.kill(int(entry), signal.SIGKILL)
        except OSError:
            pass  # It has gone meanwhile.


def run(command: list[str], directory: str, timeout: float) -> tuple[int, str]:
    """Runs the command in a session of its own, all of which is killed when the time is over or we are told to end."""
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_session(process.pid)
            output, _ = process.communicate()
            output += f"\n# killed after {timeout:.0f} s\n"
        finally:
            kill_session(process.pid)
        return process.returncode, output


def main(arguments: list[str]) -> int:
    launcher = []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, launcher = arguments[:split], arguments[split + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expect", choices=("pass", "no-sgx"), default="pass")
    parser.add_argument("--at-least", type=int, default=11, metavar="N")
    parser.add_argument("--except", action="append", default=[], metavar="TEST", dest="without")
    parser.add_argument("--timeout", type=float, default=300, metavar="S")
    parser.add_argument("directory")
    options = parser.parse_args(arguments)

    if options.expect == "no-sgx" and os.path.exists("/dev/sgx_enclave"):
        print("this machine has SGX: a failure without Enclume is not to be expected")
        return SKIPPED

    # ctest ends us by SIGTERM: let the session go down with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    program = os.path.join(os.path.abspath(options.directory), "test_sgx")
    without = [word for name in options.without for word in ("-T", name)]
    status, output = run(launcher + [program] + without, options.directory, options.timeout)
    sys.stdout.write(output)
    report = parse_tap(output)
    judge = verdict_pass if options.expect == "pass" else verdict_no_sgx
    wrong = judge(report, status, options.at_least)
    print(
        f"# {len(report.passed)} passed, {len(report.failed)} failed, {len(report.skipped)} skipped"
        f" of {report.planned} planned; exit status {status}; expected: {options.expect}"
    )
    for reason in wrong:
        print(f"# not as expected: {reason}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
