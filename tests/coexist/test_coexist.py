# SPDX-License-Identifier: Apache-2.0
"""Programs with signal handlers of their own, and a library that enters an enclave, in one process."""

import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
ENTRIES = int(os.environ["COEXIST_ENTRIES"])
LIBRARY = os.environ["COEXIST_LIBRARY"]
HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command, options=(), environment=None):
    """Runs it under enclume; its status, standard output and standard error."""
    return subprocess.run([ENCLUME, "run", *options, "--", *map(str, command)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=1790, check=False,
                          env=dict(os.environ, LC_ALL="C", **(environment or {})))


class CoexistTest(unittest.TestCase):
    def assert_good(self, result, pattern=None):
        self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr[-4000:])
        if pattern is not None:
            self.assertRegex(result.stdout, pattern)


class Handlers(CoexistTest):
    program = os.environ["COEXIST_HANDLERS"]

    def test_installed_before_the_first_entry(self):
        self.assert_good(run(self.program, "before", ENTRIES), r"^\d+ entries")

    def test_installed_after_the_first_entry(self):
        self.assert_good(run(self.program, "after", ENTRIES), r"^\d+ entries")


class Java(CoexistTest):
    def java(self, *options):
        return run(os.environ["COEXIST_JAVA"], *options, "-cp", os.environ["COEXIST_CLASSES"], "Coexist",
                   os.environ["COEXIST_JNI"], ENTRIES)

    def test_with_its_compilers(self):
        self.assert_good(self.java(), "good")

    def test_every_null_check_is_a_fault(self):
        # The first compiler leaves them implicit whatever happens; the second one gives up after a few.
        self.assert_good(self.java("-XX:TieredStopAtLevel=1"), "good")


def shared_runtime(program):
    for line in subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines():
        if "libasan" in line:
            return line.split("=>")[1].split()[0]
    raise AssertionError(program + " has no shared runtime")


class AddressSanitizer(CoexistTest):
    def sanitized(self, way, mode, rounds=5000):
        return run(os.environ["COEXIST_SANITIZED_" + way], mode, rounds)

    def check_way(self, way):
        self.assert_good(self.sanitized(way, "clean", ENTRIES * 2 // 3), r"^\d+ entries")
        self.assert_good(self.sanitized(way, "places", 10))
        result = self.sanitized(way, "null")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stdout, r"^\d+ entries, 1250 exceptions")
        self.assertRegex(result.stderr, "AddressSanitizer: SEGV on unknown address 0x000000000000")
        self.assertRegex(result.stderr, "caused by a WRITE memory access")
        self.assertRegex(result.stderr, r"#0 0x[0-9a-f]+ in read_null")
        result = self.sanitized(way, "overflow")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, "AddressSanitizer: heap-buffer-overflow")
        self.assertRegex(result.stderr, r"#0 0x[0-9a-f]+ in overflow")

    def test_shared_runtime(self):
        self.check_way("SHARED")

    def test_shared_runtime_in_a_program_that_another_one_starts(self):
        program = os.environ["COEXIST_SANITIZED_SHARED"]
        for command in (["sh", "-c", program + " clean 10 && " + program + " null 10"],
                        ["env", "LD_PRELOAD=libm.so.6", program, "null", "10"],
                        ["env", "LD_PRELOAD=" + shared_runtime(program), program, "null", "10"],
                        ["env", "-i", program, "null", "10"],
                        [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))",
                         program, "null", "10"]):
            result = run(*command)
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertRegex(result.stdout, r"^1\d entries, 3 exceptions")
            self.assertRegex(result.stderr, "AddressSanitizer: SEGV on unknown address 0x000000000000")

    def test_its_children_are_not_given_the_shared_runtime(self):
        result = run(os.environ["COEXIST_SANITIZED_SHARED"], "child", 10)
        self.assert_good(result, r"LD_PRELOAD=\S*libenclume-engine.so$")
        self.assertNotIn("libasan", result.stdout)

    def test_static_runtime(self):
        self.check_way("STATIC")


class Python(CoexistTest):
    def python(self, *arguments):
        return run(sys.executable, os.path.join(HERE, "coexist_ctypes.py"), LIBRARY, *arguments)

    def test_ctypes(self):
        self.assert_good(self.python(100000), r"^good \d+ entries")

    def test_faulthandler_tells_of_a_fault_of_the_host(self):
        result = self.python(10000, "crash")
        self.assertEqual(result.returncode, -signal.SIGSEGV, result.stderr)
        self.assertRegex(result.stdout, "^good")
        self.assertRegex(result.stderr, "Fatal Python error: Segmentation fault")
        self.assertRegex(result.stderr, r"in main\b")


class Node(CoexistTest):
    def test_webassembly_traps_are_its_own(self):
        result = run("node", os.path.join(HERE, "node", "coexist.js"), os.environ["COEXIST_NODE"], 50000)
        self.assert_good(result, "^good: 12500 exceptions of the enclave, 6250 traps")


class Tracers(CoexistTest):
    def test_strace_under_enclume_shows_no_signal_of_the_engine(self):
        result = run("strace", "-f", "-e", "trace=none", os.environ["COEXIST_HANDLERS"], "after", 4000)
        self.assert_good(result, r"^\d+ entries")
        # Those of the program come: faults of the host, and the enclave's at an ENCLU of the program's own.
        self.assertRegex(result.stderr, r"--- SIGSEGV \{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x4000\}")
        ticks, ills = (result.stderr.count("--- " + name) for name in ("SIGALRM", "SIGILL"))
        self.assertEqual(ills, int(re.search(r"(\d+) at its own ENCLU", result.stdout)[1]))
        self.assertGreater(ticks, 0)

    def test_enclume_under_strace_shows_all(self):
        result = subprocess.run(["strace", "-f", "-e", "trace=none", ENCLUME, "run", "--fast=off", "--",
                                 os.environ["COEXIST_HANDLERS"], "after", "4000"], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=300, check=False)
        self.assert_good(result, r"^\d+ entries")
        # ENCLU is #UD where the processor has no SGX, #GP where it has and the machine does not let it.
        enclu = [result.stderr.count("--- " + name) for name in ("SIGILL", "SIGSEGV {si_signo=SIGSEGV, si_code=SI_KERNEL")]
        self.assertGreater(max(enclu), 4000)


class Valgrind(CoexistTest):
    @unittest.skipUnless(shutil.which("busybox"), "busybox is not installed")
    def test_of_a_static_program(self):
        # In which there is no engine that could notice.
        self.check_refused(ENCLUME, "run", "--", "valgrind", "-q", shutil.which("busybox"), "true")

    def check_refused(self, *command):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                                check=False)
        self.assertEqual(result.returncode, 126, result.stderr)
        self.assertRegex(result.stderr, "^enclume: this process runs under valgrind.*-fsanitize=address")
        self.assertEqual(result.stdout, "")

    def test_under_enclume_is_refused(self):
        self.check_refused(ENCLUME, "run", "--", "valgrind", "-q", os.environ["COEXIST_HANDLERS"], "after", "8")

    def test_above_enclume_is_refused(self):
        self.check_refused("valgrind", "-q", "--trace-children=yes", ENCLUME, "run", "--",
                           os.environ["COEXIST_HANDLERS"], "after", "8")


class Go(CoexistTest):
    def test_cgo(self):
        # --front is auto: the program is known to be Go's, whose runtime sets masks and alternate stacks itself.
        self.assert_good(run(os.environ["COEXIST_GO"], ENTRIES), "(?m)^good$")

    def test_cgo_under_strace(self):
        self.assert_good(run("strace", "-f", "-e", "trace=none", "-o", "/dev/null", os.environ["COEXIST_GO"], 4000),
                         "(?m)^good$")


if __name__ == "__main__":
    unittest.main()
