# SPDX-License-Identifier: Apache-2.0
"""`enclume doctor` from the outside, compared with what the kernel says about this machine."""

import json
import os
import pathlib
import pty
import subprocess
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
ENGINE = os.environ["ENCLUME_TEST_ENGINE"]


def doctor(*arguments, **variables):
    environment = os.environ | {"ENCLUME_ENGINE": ENGINE} | variables
    return subprocess.run([ENCLUME, "doctor", *arguments], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False)


def findings(**variables):
    return {finding["id"]: finding for finding in json.loads(doctor("--json", **variables).stdout)["findings"]}


def sysctl(name):
    path = pathlib.Path("/proc/sys") / name
    return path.read_text().strip() if path.exists() else "not there"


class Doctor(unittest.TestCase):
    def test_exit_status_follows_the_engine(self):
        self.assertEqual(doctor().returncode, 0)
        result = doctor(ENCLUME_ENGINE="/nowhere")
        self.assertEqual(result.returncode, 1)
        self.assertIn("cannot work here", result.stdout)
        self.assertEqual(doctor("--json", ENCLUME_ENGINE="/nowhere").returncode, 1)

    def test_settings_of_the_kernel(self):
        found = findings()
        self.assertEqual(found["kernel"]["detail"], os.uname().release)
        self.assertEqual(found["max-map-count"]["detail"], sysctl("vm/max_map_count"))
        self.assertEqual(found["overcommit"]["detail"], sysctl("vm/overcommit_memory"))
        self.assertIn(sysctl("kernel/perf_event_paranoid"), found["perf"]["detail"])
        self.assertEqual(found["glibc"]["detail"], os.confstr("CS_GNU_LIBC_VERSION").split()[1])

    def test_the_processor_as_the_kernel_sees_it(self):
        found = findings()
        flags = next(line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                     if line.startswith("flags")).split()
        for identity, flag in ("protection-keys", "ospke"), ("fsgsbase", "fsgsbase"), ("cpuid-faulting", "cpuid_fault"):
            with self.subTest(identity):
                self.assertEqual(found[identity]["presence"] == "yes", flag in flags)
        crypto = [flag in flags for flag in ("sha_ni", "aes")]
        self.assertEqual(found["crypto-instructions"]["presence"], ["no", "partly", "yes"][sum(crypto)])

    def test_the_device(self):
        has_device = os.path.exists("/dev/sgx_enclave")
        self.assertIn("has /dev" if has_device else "no /dev", findings()["sgx"]["detail"])

    def test_advice_wherever_something_is_missing(self):
        for identity, finding in findings().items():
            if finding["presence"] == "no":
                self.assertTrue(finding["made_up_for_by"] or finding["blocker"], identity)
                self.assertTrue(finding["less_faithful"], identity)

    def test_colours_on_a_terminal_only(self):
        def on_terminal(**variables):
            main, follower = pty.openpty()
            with subprocess.Popen([ENCLUME, "doctor"], stdout=follower,
                                  env=os.environ | {"ENCLUME_ENGINE": ENGINE} | variables) as process:
                os.close(follower)
                output = b""
                try:
                    while data := os.read(main, 4096):
                        output += data
                except OSError:
                    pass  # the other end is closed
                os.close(main)
                process.wait()
            return output
        self.assertNotIn("\x1b", doctor().stdout)
        self.assertIn(b"\x1b", on_terminal(NO_COLOR=""))
        self.assertNotIn(b"\x1b", on_terminal(NO_COLOR="1"))

    def test_under_enclume_it_says_so(self):
        result = subprocess.run([ENCLUME, "run", "--machine-seed", "x", "--", ENCLUME, "doctor"],
                                env=os.environ | {"ENCLUME_ENGINE": ENGINE}, stdout=subprocess.PIPE, text=True, check=True)
        self.assertTrue(result.stdout.startswith("Note:"), result.stdout)
        self.assertNotIn("Note:", doctor().stdout)


if __name__ == "__main__":
    unittest.main()
