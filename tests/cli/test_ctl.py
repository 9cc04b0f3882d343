# SPDX-License-Identifier: Apache-2.0
"""`enclume ctl`."""

import os
import subprocess
import unittest

from watched_program import ENCLUME, NOBODY, WatchedTest


class LoseEpc(WatchedTest):
    def test_drives_the_thread_out_and_a_new_enclave_works(self):
        program = self.start()
        result = self.enclume("ctl", program.pid, "lose-epc")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, f"EPC lost: 1 enclave of process {program.pid}\n")
        # ERESUME, #PF, the SGX bit with present and user.
        self.assertEqual(program.stdout.readline(), "lost 3 14 0x8005\n")
        self.assertEqual(program.stdout.readline(), "rebuilt\n")

    def test_of_all_enclaves(self):
        program = self.start(3)
        result = self.enclume("ctl", program.pid, "lose-epc")
        self.assertEqual(result.stdout, f"EPC lost: 3 enclaves of process {program.pid}\n")

    def test_of_one_enclave(self):
        program = self.start(2)
        result = self.enclume("ctl", program.pid, "lose-epc", "--enclave", 2)
        self.assertEqual(result.stdout, f"EPC lost: 1 enclave of process {program.pid}\n")
        result = self.enclume("ctl", program.pid, "lose-epc", "--enclave", 1)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(program.stdout.readline(), "lost 3 14 0x8005\n")

    def test_again_and_again(self):
        program = self.start()
        for _ in range(20):
            self.assertEqual(self.enclume("ctl", program.pid, "lose-epc").returncode, 0)
            # Inside, or about to enter.
            self.assertRegex(program.stdout.readline(), "^lost [23] 14 0x8005\n$")
            self.assertEqual(program.stdout.readline(), "rebuilt\n")

    def test_shows_in_the_trace(self):
        trace = self.home / "trace"
        program = self.start(options=["--trace", trace])
        with subprocess.Popen([ENCLUME, "ctl", str(program.pid), "lose-epc"], stdout=subprocess.DEVNULL) as ctl:
            ctl.wait(timeout=60)
        program.stdout.readline()
        self.assertRegex(trace.read_text(), rf"EPC lost \(enclave 0x[0-9a-f]+\): asked for by process {ctl.pid}\n")


class BadInput(WatchedTest):
    def test_no_such_process(self):
        with subprocess.Popen(["true"]) as gone:
            gone.wait()
        self.refused(1, [f"there is no process {gone.pid}"], "ctl", gone.pid, "lose-epc")

    def test_not_under_enclume(self):
        # It must survive: SIGSYS ends a program that knows nothing of it.
        with subprocess.Popen(["sleep", "60"]) as other:
            self.refused(1, ["does not run under Enclume"], "ctl", other.pid, "lose-epc")
            self.assertIsNone(other.poll())
            other.kill()

    def test_no_enclave(self):
        program = self.start(0)
        self.refused(1, ["has no enclave"], "ctl", program.pid, "lose-epc")

    def test_unknown_enclave(self):
        program = self.start()
        self.refused(1, ["has no enclave 7", "enclume mem"], "ctl", program.pid, "lose-epc", "--enclave", 7)

    def test_not_a_number(self):
        self.refused(2, ["'self' is not the number of a process"], "ctl", "self", "lose-epc")

    def test_unknown_command(self):
        self.refused(2, ["'lose-ecp'", "did you mean 'lose-epc'"], "ctl", os.getpid(), "lose-ecp")

    def test_missing_command(self):
        self.refused(2, ["the command is missing"], "ctl", os.getpid())

    @unittest.skipUnless(os.geteuid() == 0, "needs another user")
    def test_of_another_user(self):
        program = self.start()
        self.refused(1, ["another user's"], "ctl", program.pid, "lose-epc", user=NOBODY, group=NOBODY)


if __name__ == "__main__":
    unittest.main()
