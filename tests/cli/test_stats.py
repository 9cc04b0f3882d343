# SPDX-License-Identifier: Apache-2.0
"""`enclume run --stats`: the figures, and that nobody notices who counts."""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import time
import unittest

from watched_program import ENCLUME, WATCHED, WatchedTest

FIRST_FAULT = os.environ["ENCLUME_FIRST_FAULT"]
TRANSITIONS = os.environ["ENCLUME_TRANSITIONS"]
ENGINE = os.environ["ENCLUME_TEST_ENGINE"]
STATIC_TRANSITIONS = os.environ["ENCLUME_STATIC_TRANSITIONS"]


class StatsTest(WatchedTest):
    def figures(self, *program, options=()):
        name = self.home / "figures"
        result = self.enclume("run", f"--stats={name}", "--stats-format=json", *options, "--", *program,
                              stdin=subprocess.DEVNULL)
        return result, json.loads(name.read_text())

    def popen(self, *program, **more):
        options = {"env": self.environment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "text": True} | more
        process = subprocess.Popen([ENCLUME, "run", "--stats", "--", *program], **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process


class Figures(StatsTest):
    def test_agree_with_the_trace(self):
        trace = self.home / "trace"
        result, figures = self.figures(FIRST_FAULT, options=["--trace", trace])
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = trace.read_text()
        self.assertEqual(figures["processes"], 1)
        self.assertEqual(figures["transitions"]["eenter"], len(re.findall(r"\[EENTER\].* -> rip", lines)))
        self.assertEqual(figures["transitions"]["eresume"], len(re.findall(r"\[ERESUME\].* -> rip", lines)))
        self.assertEqual(figures["transitions"]["entry_faults"], len(re.findall(r"\[E(?:ENTER|RESUME)\].* = #", lines)))
        self.assertEqual(figures["transitions"]["eexit"], len(re.findall(r"\[EEXIT\].* -> rip", lines)))
        self.assertEqual(figures["aex"], {"#PF": len(re.findall(r"AEX #PF", lines))})
        self.assertEqual(figures["faults"]["resolved"], len(re.findall(r"page fault addr", lines)))
        self.assertEqual(figures["faults"]["fixed_up"], len(re.findall(r"fixup vdso:", lines)))
        self.assertEqual(figures["engine"]["ioctls"], len(re.findall(r"ioctl\(", lines)))
        self.assertEqual(figures["pages"]["added"], 3)

    def test_count_transitions_that_would_need_no_trap(self):
        _, traced = self.figures(FIRST_FAULT, options=["--trace", "/dev/null"])
        _, plain = self.figures(FIRST_FAULT)
        self.assertEqual(plain["transitions"], traced["transitions"])

    def test_pages_that_go_and_come(self):
        result, figures = self.figures(WATCHED, "1", "600", options=["--epc-size", "1M"])
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertGreater(figures["pages"]["out"], 300)
        self.assertGreater(figures["pages"]["in"], 0)
        self.assertGreater(figures["seconds_paging"], 0)
        self.assertLess(figures["seconds_paging"], figures["seconds"])

    def test_no_time_for_pages_that_stay(self):
        _, figures = self.figures(WATCHED, "1", "600")
        self.assertEqual(figures["pages"]["out"], 0)
        self.assertEqual(figures["seconds_paging"], 0)

    def test_time_in_enclaves(self):
        program = self.popen(WATCHED)
        program.stdout.readline()
        time.sleep(0.5)  # a thread spins inside
        program.stdin.close()
        program.wait(timeout=60)
        inside = float(re.search(r"([\d.]+) s in enclaves", program.stderr.read()).group(1))
        self.assertGreater(inside, 0.2)

    def test_of_children(self):
        _, one = self.figures(FIRST_FAULT)
        result, three = self.figures("sh", "-c", f"{FIRST_FAULT}; {FIRST_FAULT}; exec {FIRST_FAULT}")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(three["transitions"]["eenter"], 3 * one["transitions"]["eenter"])

    def test_of_a_process_that_is_killed(self):
        result, figures = self.figures("sh", "-c", f"{FIRST_FAULT}; kill -KILL $$")
        self.assertEqual(result.returncode, -signal.SIGKILL)
        self.assertGreater(figures["transitions"]["eenter"], 0)

    def test_system_calls_without_libc(self):
        _, figures = self.figures(FIRST_FAULT, options=["--front", "raw"])
        self.assertIn("raw_calls", figures["engine"])

    def test_text_goes_to_standard_error(self):
        result = self.enclume("run", "--stats", "--", FIRST_FAULT)
        self.assertRegex(result.stderr, r"^enclume: 1 process, [\d.]+ s; [\d.]+ s in enclaves")
        self.assertRegex(result.stderr, r"\n  transitions +\d+  EENTER\n")
        self.assertRegex(result.stderr, r"\n +\d+  AEX by #PF\n")


class DirectPaths(StatsTest):
    """Transitions that need no trap are counted where they are made: the figures are exact."""

    def transitions(self, threads, calls, faults, *how, options=(), program=TRANSITIONS):
        result, figures = self.figures(program, str(threads), str(calls), str(faults), *how,
                                       options=["--benign-faults", "off", *options])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return figures

    def assert_exact(self, figures, work):
        """`work`: calls and faults of all threads."""
        calls, faults = work
        transitions, direct, trapped = (figures[key] for key in ("transitions", "direct", "trapped"))
        self.assertEqual(transitions["eenter"], calls + 2 * faults)
        self.assertEqual(transitions["eexit"], calls + 2 * faults)
        self.assertEqual(transitions["eresume"], faults)
        self.assertEqual(figures["aex"], {"#DE": faults} if faults else {})
        self.assertEqual(figures["faults"]["fixed_up"], faults)
        entries = transitions["eenter"] + transitions["eresume"] - direct["eenter"] - direct["eresume"]
        self.assertEqual(sum(trapped["entries"].values()), entries, trapped)
        self.assertEqual(sum(trapped["exits"].values()), transitions["eexit"] - direct["eexit"], trapped)

    def needs_direct_paths(self, figures):
        if "no_selectors" in figures["trapped"]["exits"]:
            self.skipTest("no direct paths here: no selectors")

    def test_in_one_to_four_threads(self):
        for threads in range(1, 5):
            figures = self.transitions(threads, 5000, 200)
            self.assert_exact(figures, (5000 * threads, 200 * threads))
            self.needs_direct_paths(figures)
            self.assertGreater(figures["direct"]["eenter"], 5395 * threads)
            self.assertGreater(figures["direct"]["eresume"], 195 * threads)
            # Without protection keys 64 are trapped before the place is watched.
            self.assertGreater(figures["direct"]["eexit"], 5395 * threads - 64)
            self.assertEqual(figures["trapped"]["entries"]["new_thread"], threads)
            self.assertEqual(figures["trapped"]["sites"], [])

    def test_without_libc(self):
        for program, options in (STATIC_TRANSITIONS, ()), (TRANSITIONS, ("--front", "raw")):
            for how in (), ("raw",):
                for threads in 1, 4:
                    with self.subTest(options=options, how=how, threads=threads):
                        figures = self.transitions(threads, 3000, 200, *how, options=options, program=program)
                        self.assert_exact(figures, (3000 * threads, 200 * threads))
                        self.needs_direct_paths(figures)
                        if "no_descriptor" in figures["trapped"]["entries"]:
                            self.skipTest("no INT 0x80 here")
                        self.assertEqual(figures["trapped"]["entries"]["new_thread"], threads)
                        self.assertGreater(figures["direct"]["eenter"], 3390 * threads)
                        self.assertGreater(figures["direct"]["eresume"], 190 * threads)
                        self.assertGreater(figures["direct"]["eexit"], 3390 * threads - 64)

    def test_without_libc_and_all_trapped(self):
        figures = self.transitions(2, 300, 50, "raw", options=["--fast", "off"], program=STATIC_TRANSITIONS)
        self.assert_exact(figures, (600, 100))
        self.assertEqual(figures["trapped"]["entries"], {"fast_off": 900})

    def test_where_the_kernel_has_no_int_0x80(self):
        # An engine whose INT 0x80 is INT 0x81, which is #GP on any kernel.
        engine = pathlib.Path(ENGINE).read_bytes()
        call = b"\xcd\x80\x48\x63\xc0\x5b\xc3"  # and what follows in fast/thread_descriptor.S
        self.assertEqual(engine.count(call), 1)
        changed = self.home / "engine.so"
        changed.write_bytes(engine.replace(call, b"\xcd\x81" + call[2:]))
        self.environment["ENCLUME_ENGINE"] = str(changed)
        for program, options in (STATIC_TRANSITIONS, ()), (TRANSITIONS, ("--front", "raw")):
            with self.subTest(options=options):
                figures = self.transitions(2, 300, 20, "raw", options=options, program=program)
                self.assert_exact(figures, (600, 40))
                self.assertEqual(figures["trapped"]["entries"], {"no_descriptor": 720})
                self.assertEqual(figures["trapped"]["exits"], {"no_descriptor": 680})

    def test_with_all_trapped(self):
        figures = self.transitions(2, 300, 50, options=["--fast", "off"])
        self.assert_exact(figures, (600, 100))
        self.assertEqual(figures["direct"], {"eenter": 0, "eresume": 0, "eexit": 0})
        self.assertEqual(figures["trapped"]["entries"], {"fast_off": 900})
        self.assertEqual(figures["trapped"]["exits"], {"fast_off": 800})

    def test_in_a_forked_child(self):
        figures = self.transitions(1, 1000, 100, "fork")
        self.assertEqual(figures["processes"], 2)
        self.assert_exact(figures, (2000, 200))
        self.needs_direct_paths(figures)
        self.assertGreater(figures["direct"]["eenter"], 2385)

    def test_reasons_of_slow_sites(self):
        for how, reason in [("odd", "no_load"), ("writable", "writable")]:
            figures = self.transitions(1, 500, 0, how)
            self.assert_exact(figures, (500, 0))
            self.needs_direct_paths(figures)
            self.assertEqual(figures["trapped"]["exits"], {reason: 500})
            [site] = figures["trapped"]["sites"]
            self.assertEqual((site["reason"], site["count"]), (reason, 500))

    def test_reasons_of_the_whole_process(self):
        for options, reason in [(["--trace", "/dev/null"], "traced"), (["--strict"], "strict"),
                                (["--inject", "eenter=#GP@1000000"], "injected")]:
            figures = self.transitions(1, 10, 0, options=options)
            self.assertEqual(figures["trapped"]["entries"], {reason: 10})
            self.assertEqual(figures["trapped"]["exits"], {reason: 10})

    def test_tcs_under_a_key_of_the_programs(self):
        if not re.search(r"^flags.* ospke", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            self.skipTest("no protection keys here")
        figures = self.transitions(2, 100, 20, "key")
        self.assert_exact(figures, (200, 40))
        self.assertEqual(figures["trapped"]["entries"], {"protection_key": 320})

    def test_injections_that_count_no_entries_take_nothing_away(self):
        plain = self.transitions(1, 500, 0)
        figures = self.transitions(1, 500, 0, options=["--inject", "lose-epc@1000s,eaug@1000"])
        self.assertEqual(figures["direct"], plain["direct"])

    def test_time_inside(self):
        direct = self.transitions(1, 200000, 0)
        self.assertGreater(direct["seconds_inside"], 0)
        self.assertLess(direct["seconds_inside"], direct["seconds"])

    def test_text_tells_of_both(self):
        result = self.enclume("run", "--stats", "--", TRANSITIONS, "1", "100", "0", "odd")
        self.assertRegex(result.stderr, r"\n  transitions +100  EENTER\n")
        self.assertRegex(result.stderr, r"\n  trapped +1  entry: first one of a thread\n")
        self.assertRegex(result.stderr,
                         r"\n  slow sites +100  EEXIT at 0x[0-9a-f]+ of enclave [0-9a-f]{16}…: no `mov \$4, %eax` in front")


class Passthrough(StatsTest):
    def test_exit_status(self):
        for status in [0, 1, 77, 255]:
            self.assertEqual(self.enclume("run", "--stats", "--", "sh", "-c", f"exit {status}").returncode, status)

    def test_death_by_signal(self):
        for signo in [signal.SIGTERM, signal.SIGSEGV, signal.SIGINT, signal.SIGKILL]:
            self.assertEqual(self.enclume("run", "--stats", "--", "sh", "-c", f"kill -{signo.value} $$").returncode,
                             -signo)

    def test_signals_reach_the_program(self):
        program = self.popen("sh", "-c", "trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 0.1; done")
        self.assertEqual(program.stdout.readline(), "ready\n")
        program.send_signal(signal.SIGUSR1)
        self.assertEqual(program.stdout.readline(), "got\n")
        self.assertEqual(program.wait(timeout=60), 4)

    def test_stopping_and_going_on(self):
        program = self.popen("sh", "-c", "echo ready; kill -STOP $$; echo on")
        self.assertEqual(program.stdout.readline(), "ready\n")
        _, status = os.waitpid(program.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        program.send_signal(signal.SIGCONT)
        self.assertEqual(program.stdout.readline(), "on\n")
        self.assertEqual(program.wait(timeout=60), 0)

    def test_interrupt_of_the_terminal_comes_once(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(ENCLUME, [ENCLUME, "run", "--stats=/dev/null", "--", "sh", "-c",
                                "trap 'echo got' INT; echo ready; sleep 1; echo end"], self.environment)
        said = b""
        while b"ready" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        try:
            while b"end" not in said:
                said += os.read(terminal, 1000)
        finally:
            os.waitpid(pid, 0)
            os.close(terminal)
        self.assertEqual(said.count(b"got"), 1, said)

    def test_input_and_output(self):
        result = self.enclume("run", "--stats=/dev/null", "--", "cat", input="words")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "words", ""))


class BadInput(StatsTest):
    def test_file_that_cannot_be_written(self):
        self.refused(125, ["cannot write to /nowhere/x"], "run", "--stats=/nowhere/x", "--", "true")

    def test_unknown_format(self):
        self.refused(2, ["stats-format", "text or json"], "run", "--stats", "--stats-format=xml", "--", "true")


if __name__ == "__main__":
    unittest.main()
