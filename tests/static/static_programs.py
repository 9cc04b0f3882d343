# SPDX-License-Identifier: Apache-2.0
"""What the tests of static programs share."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
PROBES = {"static": os.environ["STATIC_PROBE"], "static-pie": os.environ["STATIC_PIE_PROBE"]}
BUSYBOX = shutil.which("busybox")
OURS = ("LD_PRELOAD=", "ENCLUME_SETTINGS=")
RUNS_ITS_STACK = """
    #include <string.h>
    int main(void) {
      unsigned char code[] = {0xb8, 5, 0, 0, 0, 0xc3};
      unsigned char stack[16];
      memcpy(stack, code, sizeof code);
      __asm__ volatile("" : : "r"(stack) : "memory");
      return ((int (*)(void))(void *)stack)();
    }"""


class StaticTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = pathlib.Path(temporary.name).resolve()
        os.chmod(self.home, 0o755)
        self.environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LC_ALL": "C",
                            "ENCLUME_MACHINE_SEED": "static"}

    def execute(self, words, **more):
        options = {"env": self.environment, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "text": True, "errors": "replace", "cwd": self.home,
                   "timeout": 60} | more
        return subprocess.run(list(map(str, words)), check=False, **options)

    def bare(self, *words, **more):
        return self.execute(words, **more)

    def under(self, *words, **more):
        return self.execute([ENCLUME, "run", "--", *words], **more)

    def cc(self, name, source, *flags):
        path = self.home / name
        subprocess.run(["cc", "-x", "c", "-", "-O1", "-o", path, *flags], input=source, text=True, check=True)
        return path
