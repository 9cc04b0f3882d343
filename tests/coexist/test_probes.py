# SPDX-License-Identifier: Apache-2.0
"""What people run first on a machine with SGX, to see whether it is one."""

import os
import subprocess
import sys
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
NODES = ["/dev/sgx_enclave", "/dev/sgx_provision"]


def run(*command):
    """Its standard output under enclume."""
    result = subprocess.run([ENCLUME, "run", "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, timeout=100, check=False,
                            env=dict(os.environ, LC_ALL="C"))
    if result.returncode != 0:
        raise AssertionError(result.stdout + result.stderr)
    return result.stdout


def python(program):
    return run(sys.executable, "-c", program)


class Nodes(unittest.TestCase):
    def test_ls(self):
        lines = run("ls", "-l", *NODES).splitlines()
        self.assertRegex(lines[0], r"^crw-rw-rw-.* 10, +\d+ .*/dev/sgx_enclave$")
        self.assertRegex(lines[1], r"^crw-rw----.* 10, +\d+ .*/dev/sgx_provision$")

    def test_ls_of_dev(self):
        names = run("ls", "/dev").split()
        self.assertEqual([name for name in names if name.startswith("sgx")], ["sgx_enclave", "sgx_provision"])

    def test_pattern_of_a_shell(self):
        for shell in ("sh", "bash"):
            self.assertEqual(run(shell, "-c", "echo /dev/sgx*").split(), NODES)

    def test_tests_of_a_shell(self):
        for shell in ("sh", "bash"):
            run(shell, "-ec", "cd /dev; [ -e sgx_enclave ]; test -c sgx_enclave; test -r sgx_enclave; "
                "test -w /dev/sgx_enclave; ! test -x /dev/sgx_enclave; ! test -d /dev/sgx_enclave")

    def test_find(self):
        self.assertEqual(sorted(run("find", "/dev", "-maxdepth", "1", "-name", "sgx*", "-type", "c").split()), NODES)

    def test_stat(self):
        self.assertEqual(run("stat", "-c", "%F %n", *NODES).splitlines(),
                         ["character special file " + node for node in NODES])

    def test_python(self):
        self.assertEqual(python("import glob; print(*sorted(glob.glob('/dev/sgx*')))").split(), NODES)
        self.assertEqual(python("import os; print(*sorted(e.path for e in os.scandir('/dev') "
                                "if e.name.startswith('sgx') and not e.is_file() and not e.is_symlink()))").split(),
                         NODES)
        self.assertEqual(python("import os, pathlib; p = pathlib.Path('/dev/sgx_enclave'); "
                                "print(p.is_char_device(), p.resolve(), os.access(p, os.R_OK | os.W_OK))").split(),
                         ["True", NODES[0], "True"])


class Processor(unittest.TestCase):
    def test_cpuid(self):
        text = run("cpuid", "-1", "-i")
        self.assertRegex(text, r"SGX: Software Guard Extensions supported += true")
        self.assertRegex(text, r"SGX1 supported += true")
        self.assertRegex(text, r"SGX2 supported += true")
        # Raw: leaf 12h has its capabilities, its attributes and an EPC section.
        text = run("cpuid", "-1", "-i", "-r")
        self.assertRegex(text, r"0x00000012 0x00: eax=0x\w*[13]\b")
        self.assertRegex(text, r"0x00000012 0x02: eax=0x\w+1\b")

    def test_lscpu(self):
        self.assertRegex(run("lscpu"), r"Flags:.* sgx\b")

    def test_cpuinfo(self):
        self.assertTrue(python("print(all('sgx' in l.split() for l in open('/proc/cpuinfo') "
                               "if l.startswith('flags')))").startswith("True"))
        self.assertNotEqual(run("grep", "-cw", "sgx", "/proc/cpuinfo").strip(), "0")


if __name__ == "__main__":
    unittest.main()
