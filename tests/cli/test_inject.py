# SPDX-License-Identifier: Apache-2.0
"""`enclume run --inject`, on a program that enters an enclave, says how it was driven out, and tries again."""

import os
import re
import subprocess
import unittest

from watched_program import ENCLUME, WATCHED, WatchedTest

FIRST_FAULT = os.environ["ENCLUME_FIRST_FAULT"]


class InjectTest(WatchedTest):
    def start_with(self, injection, *more, words=None):
        return self.start(options=["--inject", injection, *more], words=words)

    def lines(self, program, count):
        return [program.stdout.readline().strip() for _ in range(count)]

    def traced(self, *options, program=FIRST_FAULT):
        """What the program says, and the events of its trace without times and addresses."""
        trace = self.home / "trace"
        result = self.enclume("run", "--trace", trace, *options, "--", program)
        events = [re.sub(r"0x[0-9a-f]+", "", line.split("] ", 1)[1].split(" ", 1)[1])
                  for line in trace.read_text().splitlines()]
        return result, events


class Entry(InjectTest):
    def test_that_faults(self):
        for fault, line in [("#GP", "lost 2 13 0x0"), ("#UD", "lost 2 6 0x0"), ("#PF", "lost 2 14 0x8005")]:
            program = self.start_with(f"eenter={fault}@1")
            self.assertEqual(self.lines(program, 3), [line, "rebuilt", "ready"], fault)

    def test_every_other_one(self):
        program = self.start_with("eenter=#GP@1,eenter=#UD@2")
        self.assertEqual(self.lines(program, 5), ["lost 2 13 0x0", "rebuilt", "lost 2 6 0x0", "rebuilt", "ready"])

    def test_that_would_need_no_trap_is_counted(self):
        result = self.enclume("run", "--inject", "eenter=#GP@2", "--", FIRST_FAULT)
        self.assertIn("vector 13", result.stdout)

    def test_at_which_the_epc_is_lost(self):
        program = self.start_with("lose-epc@1")
        self.assertEqual(self.lines(program, 3), ["lost 2 14 0x8005", "rebuilt", "ready"])

    def test_after_a_time_threads_are_driven_out(self):
        program = self.start_with("lose-epc@1500ms", words="ready")
        self.assertEqual(self.lines(program, 2), ["lost 3 14 0x8005", "rebuilt"])

    def test_is_marked_in_the_trace(self):
        _, events = self.traced("--inject", "eenter=#GP@2")
        at = events.index("injected eenter=#GP@2 at 2")
        self.assertTrue(events[at + 1].startswith("fixup vdso: vector=13"), events[at + 1])


class Build(InjectTest):
    def einit(self, code):
        return subprocess.run([ENCLUME, "run", "--inject", f"einit={code}@1", "--", WATCHED], env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def test_einit_that_fails(self):
        for code in ["INVALID_SIGNATURE", "2", "INVALID_CPUSVN"]:
            self.assertIn("SGX_IOC_ENCLAVE_INIT: Operation not permitted", self.einit(code).stderr)

    def test_einit_that_was_interrupted_is_tried_again(self):
        result = self.einit("UNMASKED_EVENT")
        self.assertEqual((result.returncode, result.stdout), (0, "ready\n"), result.stderr)


class Pages(InjectTest):
    def test_page_fault_that_is_resolved(self):
        # Without it, there is none to be seen.
        _, events = self.traced("--benign-faults=off", "--inject", "page-fault=0x1000@1")
        at = events.index("injected page-fault=@1 at 1")
        self.assertTrue(any("page mapped" in event for event in events[at:]), events)
        _, events = self.traced("--benign-faults=off")
        self.assertFalse(any("page mapped" in event for event in events), events)

    def test_page_that_does_not_come_back(self):
        # The probe's code is its first page: a fetch that finds no page.
        program = self.start_with("bus-error=0x0@1")
        self.assertEqual(self.lines(program, 3), ["lost 3 14 0x14", "rebuilt", "ready"])

    def test_page_that_is_not_there(self):
        program = self.start_with("page-fault=0x800000@1", words="ready")
        self.assertIsNone(program.poll())


    def test_that_cannot_leave_a_full_epc(self):
        lazy = os.environ["ENCLUME_LAZY"]
        # Each second one has to stay: another goes, and nothing is lost.
        result = self.enclume("run", "--epc-size=4M", "--inject", "backing-full@random:2", "--", lazy)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("each is what was written", result.stdout)
        result = self.enclume("run", "--epc-size=4M", "--inject", "backing-full@every:1", "--", lazy)
        self.assertEqual(result.returncode, 1)
        self.assertIn("each is what was written", result.stdout)  # so much fits
        self.assertNotIn("ahead of time", result.stdout)


class Interrupts(InjectTest):
    def interrupts(self, *options):
        result, events = self.traced("--trace-insn", *options)
        plain = self.enclume("run", "--", FIRST_FAULT)
        self.assertEqual(result.returncode, plain.returncode)
        self.assertEqual(result.stdout.splitlines()[1], plain.stdout.splitlines()[1])
        return events

    def test_behind_each_instruction(self):
        events = self.interrupts("--inject", "interrupt@every:1")
        executed = [e for e in events if e.startswith(("insn", "AEX interrupt"))]
        self.assertGreater(len(executed), 10)
        self.assertIn("AEX interrupt", executed[1])

    def test_random_ones_depend_on_the_seed_alone(self):
        def positions(seed):
            events = self.interrupts("--inject", "interrupt@random:4", "--inject-seed", seed)
            return [e for e in events if e.startswith("injected")]
        first = positions(1)
        self.assertTrue(first)
        self.assertEqual(first, positions(1))
        self.assertNotEqual(first, positions(2))


class BadInput(InjectTest):
    def test_names_the_part_and_what_it_must_be(self):
        for text, words in [("lose-ecp@1", "did you mean 'lose-epc'?"),
                            ("lose-epc", "behind an @"),
                            ("lose-epc@0", "every:N"),
                            ("eenter=#XX@1", "eenter=#GP"),
                            ("einit@1", "INVALID_SIGNATURE"),
                            ("page-fault=0x10@1", "multiple of 0x1000"),
                            ("lose-epc@3days", "it must be a number, or one with us, ms or s behind it"),
                            ("eaug@5ms", "only lose-epc happens at a time"),
                            ("interrupt@every:1,", "there is no event ''")]:
            self.refused(2, ["option --inject", words], "run", "--inject", text, "--", "true")

    def test_seed_that_is_no_number(self):
        self.refused(2, ["'x' is not a value for inject-seed"], "run", "--inject-seed", "x", "--", "true")


if __name__ == "__main__":
    unittest.main()
