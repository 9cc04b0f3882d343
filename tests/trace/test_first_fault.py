# SPDX-License-Identifier: Apache-2.0
"""The trace of the sample: every step of its life, in order, with the same numbers wherever they appear again."""

import re
import unittest

import traced_run

HEX = r"0x[0-9a-f]+"

# Names that a step captures must match literally in the steps after it.
STEPS = [
    rf"start \S*/first-fault epc={HEX} sgx=2",
    r'open\("/dev/sgx_enclave", O_RDWR\) = (?P<fd>\d+)',
    rf"ioctl\({{fd}}, SGX_IOC_ENCLAVE_CREATE, {{{{src={HEX}, base=(?P<base>{HEX}), size=0x4000, ssaframesize=1, "
    r"miscselect=0x0, attributes=0x4, xfrm=0x3}}\) = 0",
    rf"ioctl\({{fd}}, SGX_IOC_ENCLAVE_ADD_PAGES, {{{{src={HEX}, offset=0x0, length=0x1000, secinfo=--- TCS, "
    r"flags=MEASURE}}\) = 0 count=0x1000",
    r"mmap\({base}, 0x1000, PROT_READ\|PROT_WRITE, MAP_SHARED\|MAP_FIXED, {fd}, 0x0\) = {base}",
    rf"ioctl\({{fd}}, SGX_IOC_ENCLAVE_ADD_PAGES, {{{{src={HEX}, offset=0x1000, length=0x1000, secinfo=R-X REG, "
    r"flags=MEASURE}}\) = 0 count=0x1000",
    rf"mmap\((?P<code>{HEX}), 0x1000, PROT_READ\|PROT_EXEC, MAP_SHARED\|MAP_FIXED, {{fd}}, 0x0\) = (?P=code)",
    rf"ioctl\({{fd}}, SGX_IOC_ENCLAVE_ADD_PAGES, {{{{src={HEX}, offset=0x2000, length=0x1000, secinfo=RW- REG, "
    r"flags=MEASURE}}\) = 0 count=0x1000",
    rf"mmap\({HEX}, 0x1000, PROT_READ\|PROT_WRITE, MAP_SHARED\|MAP_FIXED, {{fd}}, 0x0\) = {HEX}",
    rf"ioctl\({{fd}}, SGX_IOC_ENCLAVE_INIT, {{{{sigstruct={HEX}, enclavehash=[0-9a-f]{{{{64}}}}, isvprodid=0, "
    r"isvsvn=0}}\) = 0",
    # Linux puts no page into a page table before its first touch: the TCS and the SSA frame, at EENTER.
    rf"ENCLU\[EENTER\] tcs={{base}} aep=(?P<aep>{HEX}) = #PF\(0x6\) addr={{base}} at rip=(?P=aep)",
    r"page fault addr={base} error=0x6: page mapped \(first touch\)",
    rf"ENCLU\[EENTER\] tcs={{base}} aep={{aep}} = #PF\(0x6\) addr=(?P<ssa>{HEX}) at rip={{aep}}",
    r"page fault addr={ssa} error=0x6: page mapped \(first touch\)",
    r"ENCLU\[EENTER\] tcs={base} aep={aep} cssa=0 -> rip={code} \(enclave {base}\+0x1000\)",
    # And the code, at the first fetch: an asynchronous exit that nobody is told of.
    r"AEX #PF\(0x14\) at rip={code} \(enclave {base}\+0x1000\) addr={code} tcs={base} aep={aep} cssa 0->1 "
    r"exitinfo=0x0",
    r"page fault addr={code} error=0x14: page mapped \(first touch\)",
    r"ENCLU\[ERESUME\] tcs={base} aep={aep} cssa=0 -> rip={code} \(enclave {base}\+0x1000\)",
    rf"ENCLU\[EEXIT\] tcs={{base}} -> rip={HEX}",
    r"ENCLU\[EENTER\] tcs={base} aep={aep} cssa=0 -> rip={code} \(enclave {base}\+0x1000\)",
    rf"AEX #PF\(0x7\) at rip={HEX} \(enclave {{base}}\+0x1018\) addr={{code}} tcs={{base}} aep={{aep}} cssa 0->1 "
    r"exitinfo=0x0",
    rf"fixup vdso: vector=14 error=0x7 addr={{code}} leaf=ERESUME at rip={{aep}} -> rip={HEX}, function returns",
]


class FirstFault(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.result, cls.lines = traced_run.run(traced_run.FIRST_FAULT)

    def test_program_does_not_notice(self):
        self.assertEqual(self.result.returncode, 0)
        self.assertEqual(self.result.stderr, "")
        self.assertIn("gcd(1071, 462) = 21", self.result.stdout)

    def test_every_step_in_order_and_nothing_else(self):
        known = {}
        for number, (step, line) in enumerate(zip(STEPS, self.lines), 1):
            pattern = step.format(**{name: re.escape(value) for name, value in known.items()})
            match = re.fullmatch(pattern, line.text)
            self.assertIsNotNone(match, f"step {number}:\n{line.text}\nis not\n{pattern}")
            known.update(match.groupdict())
        self.assertEqual(len(self.lines), len(STEPS), self.lines)

    def test_numbers_agree_with_what_the_program_printed(self):
        base = re.search(r"enclave at (0x[0-9a-f]+)", self.result.stdout)[1]
        fault = re.search(r"address (0x[0-9a-f]+)", self.result.stdout)[1]
        self.assertIn(f"base={base},", self.lines[2].text)
        self.assertIn(f"addr={fault} ", self.lines[-1].text)

    def test_time_runs_forward_in_one_thread(self):
        times = [line.time for line in self.lines]
        self.assertEqual(times, sorted(times))
        self.assertLess(times[0], 1.0)
        self.assertEqual({(line.process, line.thread) for line in self.lines},
                         {(self.lines[0].process, self.lines[0].process)})


if __name__ == "__main__":
    unittest.main()
