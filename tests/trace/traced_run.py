# SPDX-License-Identifier: Apache-2.0
"""Runs programs under `enclume run --trace` and reads the lines back."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass

ENCLUME = os.environ["ENCLUME_BINARY"]
FIRST_FAULT = os.environ["ENCLUME_TEST_FIRST_FAULT"]
CONFORMANCE = os.environ["ENCLUME_TEST_CONFORMANCE"]

LINE = re.compile(r"\[(?P<process>\d+)(?:/(?P<thread>\d+))?\] (?P<time>\d+\.\d{6}) (?P<text>\S.*)")


@dataclass
class Line:
    process: int
    thread: int
    time: float
    text: str


def parse(text):
    """The lines of a trace; a line of another form is an error."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise AssertionError(f"line {number} is not one of a trace: {line!r}")
        process = int(match["process"])
        lines.append(Line(process, int(match["thread"] or process), float(match["time"]), match["text"]))
    return lines


def run(*command, trace=None, preexec_fn=None):
    """Runs a program with a trace in a file, or in `trace`. Returns what subprocess returns, and the lines."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "trace") if trace is None else trace
        result = subprocess.run([ENCLUME, "run", "--trace", path, "--", *command], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, timeout=60, check=False, preexec_fn=preexec_fn)
        if path == "-":
            return result, None
        with open(path, encoding="utf-8") as file:
            return result, parse(file.read())
