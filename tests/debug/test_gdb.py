# SPDX-License-Identifier: Apache-2.0
"""gdb with enclume-gdb.py on a program that uses an enclave."""

import os
import re
import subprocess
import tempfile
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
SCRIPT = os.environ["ENCLUME_GDB_SCRIPT"]
DEBUGGEE = os.environ["ENCLUME_DEBUGGEE"]
ENCLAVE = os.environ["ENCLUME_DEBUG_ENCLAVE"]
HELPERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "helpers.py")


def gdb(*commands, arguments=()):
    """Runs gdb in batch mode; its output, the program's among it."""
    line = ["gdb", "-batch", "-nx", "-x", SCRIPT]
    for command in ("set width 0", "set debuginfod enabled off", *commands):
        line += ["-ex", command]
    environment = dict(os.environ, LC_ALL="C")
    result = subprocess.run(line + list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=110, check=False, env=environment)
    return result.stdout


def debug(*commands, program=("compute",)):
    """The commands on the debuggee, from where its enclave is loaded. $enclu and $tcs are set."""
    return gdb("set exec-wrapper {} run --".format(ENCLUME), "source " + HELPERS, "run", "delete 1",
               "python find_places()", "enclume symbols " + ENCLAVE, "finish", *commands,
               arguments=["--args", DEBUGGEE, *program])


class GdbTest(unittest.TestCase):
    def assert_order(self, output, *patterns):
        at = 0
        for pattern in patterns:
            match = re.compile(pattern, re.MULTILINE).search(output, at)
            if match is None:
                self.fail("no {!r} in this part of the output:\n{}".format(pattern, output[at:] or output))
            at = match.end()


class Static(GdbTest):
    """A static program, in whose place gdb sees a loader begin."""

    def check(self, *flags):
        with tempfile.TemporaryDirectory() as home:
            program = os.path.join(home, "program")
            source = "int inner(int x) { return x + 1; }\nint main(void) { return inner(41) - 42; }\n"
            subprocess.run(["cc", "-x", "c", "-", "-g", "-O0", "-o", program, *flags], input=source, text=True, check=True)
            output = gdb("set breakpoint pending on", "break inner", "run", "backtrace", "continue",
                         arguments=["--args", ENCLUME, "run", "--", program])
            self.assert_order(output, r"Breakpoint 1.*inner \(x=41\)", r"#0 .*inner \(x=41\)", r"#1 .* main \(\)",
                              "exited normally")

    def test_breakpoint_and_backtrace(self):
        self.check("-static")

    def test_breakpoint_and_backtrace_of_a_pie(self):
        self.check("-static-pie")


class UnderEnclume(GdbTest):
    """gdb itself under enclume: its ptrace() has a front door, and no script is needed."""

    def gdb(self, *commands, program):
        line = [ENCLUME, "run", "--", "gdb", "-batch", "-nx"]
        for command in ("set width 0", "set debuginfod enabled off", *commands):
            line += ["-ex", command]
        return subprocess.run([*line, "--args", DEBUGGEE, *program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=110, check=False,
                              env=dict(os.environ, LC_ALL="C")).stdout

    def test_no_signal_of_the_engine_is_seen(self):
        output = self.gdb("break debuggee_loaded", "run", "continue", program=("many",))
        self.assert_order(output, "Breakpoint 1, debuggee_loaded", "result 0x5ec3e8", "exited normally")
        self.assertNotIn("received signal", output)

    def test_the_programs_signals_are(self):
        output = self.gdb("run", "print $_siginfo._sifields._sigfault.si_addr", "continue", program=("segv",))
        self.assert_order(output, "received signal SIGSEGV", r"= \(void \*\) 0x")
        self.assertNotIn("SIGILL", output)


class Signals(GdbTest):
    def test_of_the_engine_pass_unseen(self):
        output = debug("continue", program=("many",))
        self.assert_order(output, "Breakpoint 1, debuggee_loaded", "result 0x5ec3e8", "exited normally")
        self.assertNotIn("received signal", output)

    def test_a_program_without_enclaves_runs_as_ever(self):
        output = gdb("set exec-wrapper {} run --".format(ENCLUME), "run", arguments=["/bin/true"])
        self.assert_order(output, "exited normally")

    def test_a_program_without_the_engine_has_gdbs_own_table(self):
        output = gdb("break main", "run", "info signals SIGSEGV", arguments=["--args", DEBUGGEE, "crash"])
        self.assert_order(output, r"SIGSEGV +Yes\s+Yes\s+Yes")

    def test_of_the_program_stop_where_it_faulted(self):
        output = debug("continue", "backtrace", "print $_siginfo._sifields._sigfault.si_addr", "continue",
                       program=("segv",))
        self.assert_order(output, "Program received signal SIGSEGV", "#0 .*debuggee_touch_nothing", r"#1 .*main",
                          r"\(void \*\) 0x8", "handled signal 11", "exited normally")
        self.assertEqual(output.count("received signal"), 1)

    def test_of_the_program_can_be_swallowed(self):
        output = debug("continue", "set $rip = $rip + 11", "signal 0", program=("segv",))
        self.assertEqual(output.count("received signal"), 1)
        self.assertNotIn("handled signal", output)

    def test_without_a_handler_they_end_the_program(self):
        output = debug("continue", "continue", program=("crash",))
        self.assert_order(output, "received signal SIGSEGV", "Program terminated with signal SIGSEGV")
        self.assertEqual(output.count("received signal"), 1)

    def test_of_an_exception_in_the_enclave_show_the_aep(self):
        output = debug("continue", "print/x $rax", "print $rbx == $tcs", "print $rcx == $rip", "continue",
                       program=("own-enclu", "2"))
        self.assert_order(output, "received signal SIGILL", "enclume_test_", "= 0x3$", "= 1$", "= 1$",
                          "handled signal 04", "exited normally")
        self.assertEqual(output.count("received signal"), 1)

    def test_that_the_user_does_not_want_to_see_are_not_shown(self):
        output = debug("enclume handle SIGSEGV nostop noprint", "continue", program=("segv",))
        self.assert_order(output, "handled signal 11", "exited normally")
        self.assertNotIn("received signal", output)

    def test_a_breakpoint_instruction_of_the_program_stops_and_is_not_passed_on(self):
        output = debug("continue", "continue", program=("int3",))
        self.assert_order(output, "received signal SIGTRAP", "result 0x100", "exited normally")


class Host(GdbTest):
    def test_breakpoints_and_finish(self):
        output = debug("break debuggee_call_enclave", "continue", "finish", "continue")
        self.assert_order(output, "Breakpoint 2, debuggee_call_enclave", "main \\(",
                          "result 0x5ec3e8")

    def test_next_steps_over_an_enclave_call(self):
        output = debug("break debuggee_call_enclave", "continue", *["next"] * 4, "print/x *word")
        self.assert_order(output, "= 0x5ec3e8$")
        self.assertNotIn("received signal", output)

    def test_backtrace_out_of_the_vdso_function(self):
        output = debug("break *$enclu", "continue", "backtrace")
        self.assert_order(output, r"#0 .*__vdso_sgx_enter_enclave", "#1 .*enclume_test_call_vdso",
                          "#2 .*debuggee_call_enclave", "#3 .*main")

    def test_backtrace_out_of_a_user_handler(self):
        output = debug("break debuggee_exit_handler", "continue", "backtrace", program=("trap",))
        self.assert_order(output, r"#0 .*debuggee_exit_handler", r"#1 .*__vdso_sgx_enter_enclave",
                          "#2 .*enclume_test_call_vdso", "#3 .*debuggee_call_enclave", "#4 .*main")

    def test_stepi_over_the_enclu_is_one_step(self):
        output = debug("break *$enclu", "continue", "print/x $rax", "stepi", "print/x $rax", "print (long)$rip - (long)$enclu",
                       "print/x $eflags & 0x100", "stepi", "backtrace 1", "continue")
        self.assert_order(output, "= 0x2$", "received signal SIGTRAP", "= 0x4$", "= 3$", "= 0x0$",
                          "#0 .*__vdso_sgx_enter_enclave", "result 0x5ec3e8", "exited normally")

    def test_stepi_over_an_enclu_whose_enclave_faults_ends_in_the_fixup(self):
        output = debug("break *$enclu", "continue", "stepi", "print/x $rax", "print $rdi", "print/x $rip > $enclu + 3",
                       "backtrace", "delete", "continue", program=("trap",))
        self.assert_order(output, "received signal SIGTRAP", "= 0x3$", "= 6$", "= 0x1$", "#0 .*__vdso_sgx_enter_enclave",
                          "debuggee_call_enclave", "vector 6", "exited normally")

    def test_breakpoint_on_the_enclu_is_hit_each_time(self):
        output = debug("break *$enclu", "continue", "continue", "continue", "info breakpoints", program=("many",))
        self.assertIn("breakpoint already hit 3 times", output)


class Enclaves(GdbTest):
    def test_are_listed(self):
        output = debug("enclume enclaves")
        self.assert_order(output, r"0x[0-9a-f]+-0x[0-9a-f]+  32 KiB  initialised debug", "MRENCLAVE [0-9a-f]{64}",
                          "TCS 0x[0-9a-f]+  CSSA 0 of 2")

    def test_saved_registers(self):
        output = debug("break debuggee_exit_handler", "continue", "enclume ssa", "x/i $enclume_rip", program=("trap",))
        self.assert_order(output, "frame 0 of 2", "after #UD", r"rip +0x[0-9a-f]+ <secret_level", "ud2")

    def test_memory_and_disassembly(self):
        output = debug("x/i &enclave_entry", "disassemble enclave_main")
        self.assert_order(output, r"<enclave_entry>:\s+test", "Dump of assembler code for function enclave_main",
                          "call .*middle_level")

    def test_backtrace_through_an_exit(self):
        output = debug("break debuggee_exit_handler", "continue", "enclume bt", "backtrace 1", "continue",
                       program=("trap",))
        self.assert_order(output, "#0 .*debuggee_exit_handler", "left enclave 0x[0-9a-f]+ by #UD",
                          "secret_level at .*enclave.c", "middle_level at", "enclave_main at", "enclave_entry",
                          "entered by TCS", "__vdso_sgx_enter_enclave", "enclume_test_call_vdso",
                          r"debuggee_call_enclave.* at", r"\bmain\(.* at", "#0 .*debuggee_exit_handler", "vector 6",
                          "exited normally")

    def test_backtrace_of_an_exception_with_an_enclu_of_ones_own(self):
        output = debug("continue", "enclume bt", "continue", program=("own-enclu", "2"))
        self.assert_order(output, "received signal SIGILL", "by #UD", "secret_level at", "enclave_entry", "entered by TCS",
                          "enclume_test_", r"\bmain\(.* at", "handled signal 04")

    def test_hardware_breakpoint_inside_and_backtrace_from_there(self):
        output = debug("hbreak secret_level", "continue", "enclume enclaves", "enclume bt", "info locals", "delete",
                       "continue")
        self.assert_order(output, "Breakpoint 2, secret_level", "thread [0-9]+ inside", "#0 .*secret_level", "middle_level",
                          "enclave_main", "enclave_entry", "entered by TCS", "__vdso_sgx_enter_enclave",
                          "debuggee_call_enclave", "main", "secret = ", "result 0x5ec3e8", "exited normally")

    def test_opt_in_makes_breakpoint_instructions_the_debuggers(self):
        output = debug("enclume optin $tcs", "enclume enclaves", "continue", "signal SIGTRAP", "print/x $rax",
                       "enclume ssa", "kill", program=("own-enclu", "3"))
        self.assert_order(output, "opt-in", "received signal SIGTRAP", "secret_level", "received signal SIGTRAP", "= 0x3$",
                          "after #BP")

    def test_opt_in_lets_a_step_into_the_enclave(self):
        output = debug("enclume optin $tcs", "break *$enclu", "continue", "delete", "stepi", "stepi", "print/x $eflags & 0x100",
                       "enclume bt", "continue")
        self.assert_order(output, "received signal SIGTRAP", "enclave_entry", "= 0x0$", "#0 .*enclave_entry", "entered by TCS",
                          "__vdso_sgx_enter_enclave", r"\bmain\(.* at", "result 0x5ec3e8", "exited normally")


class Attached(GdbTest):
    def test_to_a_running_program(self):
        program = subprocess.Popen([ENCLUME, "run", "--", DEBUGGEE, "attach"], stdout=subprocess.PIPE, text=True)
        try:
            pid = re.match("pid ([0-9]+)", program.stdout.readline()).group(1)
            output = gdb("break debuggee_call_enclave", "continue", "enclume enclaves", "finish",
                         "set go_on = 0", "delete", "detach", arguments=["-p", pid])
            self.assert_order(output, "Breakpoint 1, debuggee_call_enclave", "initialised debug", "main")
            self.assertNotIn("received signal", output)
            self.assertEqual(program.stdout.readline(), "result 0x5ec3e8\n")
            self.assertEqual(program.wait(timeout=30), 0)
        finally:
            program.kill()
            program.wait()
            program.stdout.close()

    def test_gdb_follows_enclume_into_the_program(self):
        output = gdb("catch exec", "run", "tbreak debuggee_done", "continue", "backtrace", "continue",
                     arguments=["--args", ENCLUME, "run", "--", DEBUGGEE, "compute"])
        self.assert_order(output, "debuggee_done", "#1 .*main", "result 0x5ec3e8", "exited normally")


if __name__ == "__main__":
    unittest.main()
