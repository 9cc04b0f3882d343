# SPDX-License-Identifier: Apache-2.0
"""Starts watched.cc under Enclume, for tests of verbs that work on a running program."""

import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
WATCHED = os.environ["ENCLUME_WATCHED"]
NOBODY = 65534


class WatchedTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = pathlib.Path(temporary.name)
        self.environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}

    def start(self, *arguments, options=(), program=WATCHED, words="ready"):
        process = subprocess.Popen(
            [ENCLUME, "run", *options, "--", program, *map(str, arguments)], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.end, process)
        if words:
            self.assertEqual(process.stdout.readline().strip(), words)
        return process

    def end(self, process):
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def enclume(self, *arguments, **more):
        options = {"env": self.environment, "capture_output": True, "text": True, "timeout": 60} | more
        return subprocess.run([ENCLUME, *map(str, arguments)], **options)

    def refused(self, status, words, *arguments, **more):
        result = self.enclume(*arguments, **more)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        self.assertEqual(result.stdout, "")
        for word in words:
            self.assertIn(word, result.stderr)

    def stop(self, process):
        process.send_signal(signal.SIGSTOP)
        self.addCleanup(process.send_signal, signal.SIGCONT)
