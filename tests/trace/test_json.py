# SPDX-License-Identifier: Apache-2.0
"""`--trace-format=json`: a file that tools load at every moment, whatever the program does and however it ends."""

import collections
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import trace_events
import traced_run


def run(*command, trace=None, options=(), expect=0):
    """Runs a program with a JSON trace in a file. Returns what subprocess returns, and the events."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "trace.json") if trace is None else trace
        result = subprocess.run([traced_run.ENCLUME, "run", "--trace", path, "--trace-format=json", *options, "--",
                                 *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100,
                                check=False)
        assert result.returncode == expect, result
        if path == "-":
            return result, trace_events.load(result.stderr)
        with open(path, encoding="utf-8") as file:
            return result, trace_events.load(file.read())


def conformance(program, tests, **arguments):
    return run(os.path.join(traced_run.CONFORMANCE, program), "--gtest_filter=" + tests, **arguments)


def named(events, pattern):
    return [event for event in events if re.fullmatch(pattern, event.get("name", ""))]


class FirstFault(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.result, cls.events = run(traced_run.FIRST_FAULT)

    def test_perfetto_takes_it(self):
        self.assertEqual(trace_events.check(self.events), {})

    def test_visits_are_slices_that_say_how_they_ended(self):
        ends = [event["args"]["left_by"] for event in self.events if event["ph"] == "E"]
        self.assertIn("EEXIT", ends)
        self.assertEqual(ends[-1], "AEX #PF(0x7)")
        self.assertEqual(sum(event["ph"] == "B" for event in self.events), len(ends))

    def test_the_exception_is_whole(self):
        base = re.search(r"enclave at (0x[0-9a-f]+)", self.result.stdout)[1]
        address = re.search(r"address (0x[0-9a-f]+)", self.result.stdout)[1]
        entry = named(self.events, "EENTER")[-1]["args"]
        aex = named(self.events, r"AEX #PF\(0x7\)")[-1]["args"]
        self.assertEqual(aex, aex | {"vector": "#PF", "error_code": "0x7", "address": address, "enclave": base,
                                     "offset": "0x1018", "tcs": base, "aep": entry["aep"], "cssa": 0, "cssa_after": 1,
                                     "exitinfo": "0x0", "exitinfo_event": "none"})
        fixup = named(self.events, "fixup vdso")[-1]["args"]
        self.assertEqual(fixup, fixup | {"design": "vdso", "vector": "#PF", "error_code": "0x7", "address": address,
                                         "leaf": "ERESUME", "rip": entry["aep"], "receiver": "function returns"})

    def test_ioctls_have_a_duration(self):
        for name in "CREATE", "ADD_PAGES", "INIT":
            calls = named(self.events, "SGX_IOC_ENCLAVE_" + name)
            self.assertGreater(len(calls), 0)
            for call in calls:
                self.assertEqual((call["ph"], call["args"]["result"]), ("X", "0"))
                self.assertGreater(call["dur"], 0)

    def test_the_program_does_not_notice(self):
        self.assertEqual(self.result.stderr, "")


class Programs(unittest.TestCase):
    def test_exceptions_of_every_kind(self):
        instructions = "Ud2", "Int3", "Hlt", "DivideByZero", "UnalignedAccessWithAc", "SseDivideByZero"
        _, events = conformance("fault_test", ":".join("*InstructionTest*/" + name for name in instructions))
        self.assertEqual(trace_events.check(events), {})
        vectors = {event["args"]["vector"] for event in events if event.get("cat") == "exception"}
        self.assertLessEqual({"#DE", "#UD", "#GP", "#AC", "#XM"}, vectors)

    def test_signals_handlers_and_a_handler_that_never_returns(self):
        _, events = conformance("signals_test", "SignalTest.*Longjmp:SignalTest.HandlerCanEnter*:"
                                "SignalTest.EnclaveGoesOn*:SignalTest.HandlerOfAHostFault*")
        self.assertEqual(trace_events.check(events), {})
        self.assertGreater(len(named(events, r"AEX interrupt \(SIG.*\)")), 3)

    def test_one_track_for_each_of_many_threads(self):
        _, events = conformance("signals_test", "ThreadSignalTest.EachThreadInItsOwnTcs*")
        self.assertEqual(trace_events.check(events), {})
        visits = collections.Counter(event["tid"] for event in events if event["ph"] == "B")
        self.assertGreater(len(visits), 2)
        names = {event["tid"] for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
        self.assertLessEqual(set(visits), names)

    def test_reclaim_and_pages_that_come_back(self):
        _, events = conformance("paging_test", "PagingTest.EnclaveFourTimes*:PagingTest.ThreadsInside*",
                                options=("--epc-size=1M",))
        self.assertEqual(trace_events.check(events), {})
        loads = [event for event in named(events, "page fault") if "ELDU" in event["args"]["end"]]
        self.assertGreater(len(loads), 100)
        self.assertTrue(all(event["ph"] == "X" for event in loads))

    def test_a_signal_names_its_handler(self):
        _, events = conformance("signals_test", "SignalTest.HandlerOfAHostFault*:SignalTest.ExceptionAtOurOwnAep*")
        receivers = [event["args"]["receiver"] for event in named(events, "SIG.*")]
        self.assertTrue(any(receiver == "nobody, default action" for receiver in receivers), receivers)


class Processes(unittest.TestCase):
    def test_parent_child_and_exec_share_one_file_and_one_clock(self):
        result, events = run(sys.executable, "-B", "-c", f"""
import os
child = os.fork()
if child == 0:
    os.open('/dev/sgx_enclave', os.O_RDWR)
    os._exit(0)
os.waitpid(child, 0)
print(os.getpid(), child, flush=True)
os.execv({traced_run.FIRST_FAULT!r}, ['first-fault'])
""")
        parent, child = (int(word) for word in result.stdout.split()[:2])
        self.assertEqual(trace_events.check(events), {})
        self.assertEqual({event["pid"] for event in events}, {parent, child})
        (fork,) = named(events, "fork")
        self.assertEqual((fork["pid"], fork["args"]["parent"]), (child, parent))
        starts = named(events, "start")
        self.assertEqual([event["pid"] for event in starts], [parent, parent])
        self.assertLess(starts[0]["ts"], fork["ts"])
        self.assertLess(fork["ts"], starts[1]["ts"])

    def test_a_killed_program_leaves_a_file_that_loads(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "trace.json")
            program = os.path.join(traced_run.CONFORMANCE, "signals_test")
            with subprocess.Popen([traced_run.ENCLUME, "run", "--trace", path, "--trace-format=json", "--", program,
                                   "--gtest_filter=SignalTest.ManyShortCalls*", "--gtest_repeat=-1"],
                                  stdout=subprocess.DEVNULL) as running:
                while running.poll() is None:
                    if os.path.exists(path) and os.path.getsize(path) > 1 << 20:
                        running.send_signal(signal.SIGKILL)
            self.assertEqual(running.returncode, -signal.SIGKILL)
            with open(path, encoding="utf-8") as file:
                text = file.read()
        self.assertFalse(text.endswith("]"))
        events = trace_events.load(text)
        trace_events.check(events)  # a visit may be open
        self.assertGreater(sum(event["ph"] == "B" for event in events), 100)

    def test_names_that_json_and_unicode_do_not_like(self):
        with tempfile.TemporaryDirectory() as directory:
            odd = os.path.join(os.fsencode(directory), b'a"b\\c\n\xff\xc3\xa9')
            with open(traced_run.FIRST_FAULT, "rb") as program, open(odd, "wb") as copy:
                copy.write(program.read())
            os.chmod(odd, 0o755)
            _, events = run(odd)
        trace_events.check(events)
        self.assertEqual(named(events, "process_name")[-1]["args"]["name"], 'a"b\\c\n\ufffdé')

    def test_dash_means_standard_error(self):
        _, events = run(traced_run.FIRST_FAULT, trace="-")
        self.assertEqual(trace_events.check(events), {})
        self.assertEqual(len(named(events, "fixup vdso")), 1)


class Choice(unittest.TestCase):
    def text_with(self, *options, environment=None, config=""):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "trace")
            file = os.path.join(directory, "config")
            with open(file, "w", encoding="utf-8") as out:
                out.write(config)
            result = subprocess.run([traced_run.ENCLUME, "run", "--config", file, "--trace", path, *options, "--",
                                     "/bin/true"], env=os.environ | (environment or {}), stderr=subprocess.PIPE,
                                    text=True, timeout=60, check=False)
            if result.returncode != 0:
                return result
            with open(path, encoding="utf-8") as trace:
                return trace.read()

    def test_by_option_environment_and_file_in_that_order(self):
        self.assertRegex(self.text_with(), r"^\[\d+\] ")
        self.assertRegex(self.text_with(config="trace-format = json\n"), r"^\[\{")
        self.assertRegex(self.text_with(config="trace-format = json\n",
                                        environment={"ENCLUME_TRACE_FORMAT": "text"}), r"^\[\d+\] ")
        self.assertRegex(self.text_with("--trace-format=json", environment={"ENCLUME_TRACE_FORMAT": "text"}), r"^\[\{")

    def test_another_word_is_refused(self):
        result = self.text_with("--trace-format=xml")
        self.assertEqual(result.returncode, 2)
        self.assertIn("text or json", result.stderr)


class Rules(unittest.TestCase):
    """The checker itself: it must be able to refuse."""
    GOOD = {"name": "a", "cat": "c", "ph": "X", "pid": 1, "tid": 1, "ts": 10.0, "dur": 5.0, "args": {}}

    def refused(self, *events):
        with self.assertRaises(AssertionError):
            trace_events.check([self.GOOD | event for event in events])

    def test_bad_elements(self):
        trace_events.check([self.GOOD])
        for change in ({"ph": "Q"}, {"pid": "1"}, {"tid": None}, {"ts": "10"}, {"dur": -1}, {"name": ""}, {"args": []},
                       {"ph": "i"}, {"ph": "M"}):
            self.refused(change)

    def test_slices_that_overlap(self):
        self.refused({"ts": 10.0, "dur": 5.0}, {"ts": 12.0, "dur": 5.0})
        trace_events.check([self.GOOD, self.GOOD | {"ts": 12.0, "dur": 3.0}, self.GOOD | {"ts": 15.0}])
        trace_events.check([self.GOOD, self.GOOD | {"ts": 12.0, "tid": 2}])

    def test_ends_without_a_beginning(self):
        self.refused({"ph": "E"})
        self.refused({"ph": "B"}, {"ph": "E", "ts": 11.0}, {"ph": "E", "ts": 12.0})
        self.refused({"ph": "B"}, {"ts": 11.0, "dur": 5.0}, {"ph": "E", "ts": 12.0})
        self.assertEqual(trace_events.check([self.GOOD | {"ph": "B"}]), {(1, 1): ["a"]})

    def test_half_an_element_does_not_load(self):
        with self.assertRaises(ValueError):
            trace_events.load('[{"a":1},\n{"b"')
        self.assertEqual(trace_events.load('[{"a":1}'), trace_events.load('[{"a":1}]\n'))


if __name__ == "__main__":
    unittest.main()
