# SPDX-License-Identifier: Apache-2.0
"""`enclume run` from the outside. ENCLUME_BINARY is the program under test, ENCLUME_TEST_ENGINE what it loads."""

import ctypes
import json
import os
import pathlib
import pty
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
ENGINE = os.environ["ENCLUME_TEST_ENGINE"]
LOADER = os.path.join(os.path.dirname(ENCLUME), "enclume-load")
# A sanitized build has none: what it would load cannot be static.
LOADER_SETTING = {"loader": LOADER} if os.path.exists(LOADER) else {}
NOBODY = 65534


def as_root():
    return os.geteuid() == 0


class RunTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = pathlib.Path(temporary.name)
        os.chmod(self.home, 0o755)
        self.environment = {
            "HOME": str(self.home), "PATH": "/usr/bin:/bin", "ENCLUME_ENGINE": ENGINE, "LC_ALL": "C"}
        if "ASAN_OPTIONS" in os.environ:  # of a sanitized build; see CMakeLists.txt
            self.environment["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"]

    def popen(self, *arguments, **more):
        options = {"env": self.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                   "stdin": subprocess.DEVNULL, "text": True, "cwd": self.home} | more
        return subprocess.Popen([ENCLUME, "run", *map(str, arguments)], **options)

    def run_enclume(self, *arguments, input=None, **more):
        if input is not None:
            more["stdin"] = subprocess.PIPE
        with self.popen(*arguments, **more) as process:
            out, err = process.communicate(input, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def settings(self, *options):
        result = self.run_enclume(*options, "--", "printenv", "ENCLUME_SETTINGS")
        self.assertEqual(result.returncode, 0, result.stderr)
        version, *fields = result.stdout.rstrip("\n").split(";")
        self.assertEqual(version, "v1")
        return dict(field.split("=", 1) for field in fields)

    def refused(self, status, words, *arguments, **more):
        result = self.run_enclume(*arguments, **more)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("enclume: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        return result.stderr

    def file(self, name, content, mode=0o755):
        path = self.home / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)
        return path


class Passthrough(RunTest):
    def test_exit_status(self):
        for status in 0, 1, 42, 125, 255:
            self.assertEqual(self.run_enclume("--", "sh", "-c", f"exit {status}").returncode, status)

    def test_death_by_signal(self):
        for number in signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGILL:
            self.assertEqual(self.run_enclume("--", "sh", "-c", f"kill -{int(number)} $$").returncode, -number)

    def test_a_shell_shows_128_and_the_signal(self):
        result = subprocess.run(["sh", "-c", f"{ENCLUME} run -- sh -c 'kill -9 $$'; echo $?"], env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        self.assertEqual(result.stdout, "137\n")

    def test_standard_input_and_output(self):
        text = "one\ntwo\0three" * 10000
        result = self.run_enclume("--", "cat", input=text)
        self.assertEqual(result.stdout, text)
        self.assertEqual(result.stderr, "")

    def test_standard_error(self):
        result = self.run_enclume("--", "sh", "-c", "echo out; echo err >&2")
        self.assertEqual((result.stdout, result.stderr), ("out\n", "err\n"))

    def test_signals_from_outside_reach_the_program(self):
        script = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
        with self.popen("--", "sh", "-c", script) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            process.send_signal(signal.SIGUSR1)
            self.assertEqual(process.communicate(timeout=60)[0], "caught\n")
            self.assertEqual(process.returncode, 3)

    def test_no_process_in_between(self):
        with self.popen("--", "sh", "-c", "echo $$ $PPID") as process:
            self.assertEqual(process.communicate(timeout=60)[0].split(), [str(process.pid), str(os.getpid())])

    def test_a_terminal_stays_a_terminal(self):
        main, follower = pty.openpty()
        self.addCleanup(os.close, main)
        with self.popen("--", "tty", stdin=follower) as process:
            os.close(follower)
            self.assertTrue(process.communicate(timeout=60)[0].startswith("/dev/pts/"))
            self.assertEqual(process.returncode, 0)

    def test_ignored_and_blocked_signals_are_inherited(self):
        def prepare():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        result = self.run_enclume("--", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", preexec_fn=prepare)
        masks = dict(line.split(":\t") for line in result.stdout.splitlines())
        self.assertTrue(int(masks["SigIgn"], 16) & 1 << signal.SIGHUP - 1)
        self.assertTrue(int(masks["SigBlk"], 16) & 1 << signal.SIGUSR2 - 1)

    def test_open_descriptors_are_inherited_and_none_is_added(self):
        listing = ["ls", "/proc/self/fd"]
        plain = subprocess.run(listing, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=True)
        self.assertEqual(self.run_enclume("--", *listing).stdout, plain.stdout)

    def test_directory_arguments_and_environment(self):
        self.environment["GREETING"] = "hello world"
        result = self.run_enclume("--", "sh", "-c", 'pwd; echo "$0|$1|$GREETING"', "a b", "--debug")
        self.assertEqual(result.stdout, f"{self.home.resolve()}\na b|--debug|hello world\n")

    def test_scripts_run_with_the_engine(self):
        script = self.file("script", "#!/bin/sh\necho \"$0 $1 $LD_PRELOAD\"\n")
        self.assertEqual(self.run_enclume(script, "x").stdout, f"{script} x {ENGINE}\n")

    def test_children_inherit_the_engine(self):
        result = self.run_enclume("--", "sh", "-c", "sh -c 'echo $LD_PRELOAD'")
        self.assertEqual(result.stdout, f"{ENGINE}\n")

    def test_a_run_inside_a_run(self):
        result = self.run_enclume("--", ENCLUME, "run", "--", "printenv", "LD_PRELOAD")
        self.assertEqual(result.stdout, f"{ENGINE}\n", result.stderr)

    def test_the_users_preloads_stay_behind_the_engine(self):
        other = shutil.copy(ENGINE, self.home / "other.so")
        self.environment["LD_PRELOAD"] = f"{other}"
        self.assertEqual(self.run_enclume("--", "printenv", "LD_PRELOAD").stdout, f"{ENGINE}:{other}\n")


class CommandLine(RunTest):
    def test_the_marker_is_optional(self):
        self.assertEqual(self.run_enclume("echo", "--debug", "--", "x").stdout, "--debug -- x\n")
        self.assertEqual(self.run_enclume("--", "echo", "--", "x").stdout, "-- x\n")

    def test_options_end_at_the_program(self):
        self.assertEqual(self.run_enclume("--sgx=1", "echo", "--sgx=7").stdout, "--sgx=7\n")

    def test_no_program(self):
        self.refused(2, ["which program"])
        self.refused(2, ["which program"], "--")
        self.refused(2, ["which program"], "--debug", "--")

    def test_unknown_option(self):
        self.refused(2, ["--bogus"], "--bogus", "true")

    def test_option_without_its_value(self):
        self.refused(2, ["--epc-size"], "--epc-size")

    def test_help_names_every_setting(self):
        result = self.run_enclume("--help")
        self.assertEqual(result.returncode, 0)
        for word in ("--epc-size", "--sgx", "--machine-seed", "--debug", "--trace", "--fixup", "--config", "EXAMPLES",
                     "ENVIRONMENT", "FILES", "EXIT STATUS", "ENCLUME_EPC_SIZE"):
            self.assertIn(word, result.stdout)


class Programs(RunTest):
    def elf(self, name, *, bits=2, machine=62, kind=2, interpreter=b"/lib64/ld-linux-x86-64.so.2\0", entry=0x400000):
        """A minimal ELF file: header, one program header, the interpreter's name."""
        def number(value, size):
            return value.to_bytes(size, "little")
        header = (b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + number(kind, 2) + number(machine, 2) + number(1, 4)
                  + number(entry, 8) + number(64, 8) + number(0, 8) + number(0, 4) + number(64, 2) + number(56, 2)
                  + number(1, 2) + number(64, 2) + number(0, 2) + number(0, 2))
        size = len(interpreter)
        segment = (number(3 if interpreter else 1, 4) + number(4, 4) + number(120, 8) + number(0, 8) + number(0, 8)
                   + number(size, 8) + number(size, 8) + number(1, 8))
        return self.file(name, header + segment + interpreter)

    def test_missing(self):
        self.refused(127, ["nowhere", "PATH"], "--", "nowhere")
        self.refused(127, ["/nowhere/at/all"], "--", "/nowhere/at/all")
        self.refused(127, ["empty"], "--", "")

    def test_not_executable(self):
        self.refused(126, ["plain", "chmod +x"], self.file("plain", "#!/bin/sh\n", 0o644))

    def test_not_executable_in_path_but_a_later_one_is(self):
        for directory, mode in ("first", 0o644), ("second", 0o755):
            (self.home / directory).mkdir()
            self.file(f"{directory}/tool", "#!/bin/sh\necho \"$0\"\n", mode)
        self.environment["PATH"] = f"{self.home}/first:{self.home}/second:/bin"
        self.assertEqual(self.run_enclume("tool").stdout, f"{self.home}/second/tool\n")
        self.environment["PATH"] = f"{self.home}/first"
        self.refused(126, ["first/tool"], "tool")

    def test_an_empty_element_of_path_is_the_current_directory(self):
        self.file("tool", "#!/bin/sh\necho here\n")
        self.environment["PATH"] = "/nowhere::/bin"
        self.assertEqual(self.run_enclume("tool").stdout, "here\n")

    def test_without_path(self):
        del self.environment["PATH"]
        self.assertEqual(self.run_enclume("echo", "x").stdout, "x\n")

    def test_a_directory(self):
        self.refused(126, ["directory"], self.home)

    def test_a_device(self):
        self.refused(126, ["not a regular file"], "/dev/null")

    def test_32_bit(self):
        self.refused(126, ["tool32", "32-bit", "x86-64"], self.elf("tool32", bits=1, machine=3))

    def test_another_machine(self):
        self.refused(126, ["AArch64"], self.elf("arm", machine=183))

    def test_static_without_the_loader(self):
        (self.home / "bin").mkdir()
        enclume = shutil.copy(ENCLUME, self.home / "bin/enclume")
        program = self.elf("s", interpreter=b"")
        result = subprocess.run([enclume, "run", program], env=self.environment, stderr=subprocess.PIPE, text=True,
                                check=False)
        self.assertEqual(result.returncode, 125)
        for word in "static executable", "enclume-load", "missing":
            self.assertIn(word, result.stderr)

    def test_a_shared_library(self):
        self.refused(126, ["shared library"], ENGINE)

    def test_an_object_file(self):
        self.refused(126, ["not a program"], self.elf("o", kind=1))

    def test_a_filter_that_does_not_know_faccessat2(self):
        # As containers had them: EPERM for whatever is newer than they are.
        faccessat2, eperm = 439, 1
        program = [(0x20, 0, 0, 0), (0x15, 0, 1, faccessat2), (0x06, 0, 0, 0x00050000 | eperm), (0x06, 0, 0, 0x7FFF0000)]

        class Filter(ctypes.Structure):
            _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]

        class Program(ctypes.Structure):
            _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Filter))]

        instructions = (Filter * len(program))(*program)
        libc = ctypes.CDLL(None, use_errno=True)

        def restrict():
            no_new_privileges, set_seccomp, by_filter = 38, 22, 2
            if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0 or libc.prctl(
                    set_seccomp, by_filter, ctypes.byref(Program(len(program), instructions))) != 0:
                raise OSError(ctypes.get_errno(), "seccomp")

        result = self.run_enclume("true", preexec_fn=restrict)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_musl(self):
        self.file("ld-musl-x86_64.so.1", "")
        self.refused(126, ["musl"], self.elf("m", interpreter=f"{self.home}/ld-musl-x86_64.so.1\0".encode()))

    def test_missing_loader(self):
        self.refused(127, ["/nowhere/ld.so", "missing"], self.elf("lost", interpreter=b"/nowhere/ld.so\0"))

    def test_damaged_elf(self):
        whole = self.elf("whole").read_bytes()
        for size in range(4, len(whole)):
            with self.subTest(size):
                self.refused(126, ["cut"], self.file("cut", whole[:size]))

    def test_the_loader_as_a_program(self):
        result = self.run_enclume("--", "/lib64/ld-linux-x86-64.so.2", "/bin/echo", "x")
        self.assertEqual((result.returncode, result.stdout), (0, "x\n"), result.stderr)

    def test_neither_program_nor_script(self):
        self.refused(126, ["neither"], self.file("text", "echo hello\n"))
        self.refused(126, ["empty"], self.file("empty", ""))

    def test_script_with_a_missing_interpreter(self):
        self.refused(127, ["script", "/nowhere/perl", "missing"], self.file("script", "#!/nowhere/perl -w\n"))

    def test_script_without_an_interpreter(self):
        self.refused(126, ["names no interpreter"], self.file("script", "#!  \n"))

    def test_scripts_that_run_each_other_in_a_circle(self):
        script = self.home / "circle"
        self.refused(126, ["too many"], self.file("circle", f"#!{script}\n"))

    @unittest.skipUnless(as_root(), "only root can give a file to somebody else")
    def test_setuid_and_setgid(self):
        for bit, word in (stat.S_ISUID, "setuid"), (stat.S_ISGID, "setgid"):
            program = self.home / word
            shutil.copy("/bin/true", program)
            os.chown(program, NOBODY, NOBODY)
            os.chmod(program, 0o755 | bit)
            self.refused(126, [word, "privileges", "preload"], program)

    @unittest.skipUnless(as_root(), "only root can set file capabilities")
    def test_file_capabilities(self):
        program = self.home / "capable"
        shutil.copy("/bin/true", program)
        # vfs_cap_data, revision 2: CAP_NET_RAW permitted and effective.
        data = b"".join(n.to_bytes(4, "little") for n in (0x02000001, 1 << 13, 0, 0, 0))
        try:
            os.setxattr(program, "security.capability", data)
        except OSError as error:
            self.skipTest(f"the file system keeps no capabilities: {error}")
        self.refused(126, ["file capabilities"], program, user=NOBODY)
        self.assertEqual(self.run_enclume(program).returncode, 0, "root gains nothing by them")


class Settings(RunTest):
    def test_defaults(self):
        settings = self.settings()
        secret = self.home / ".local/state/enclume/machine-secret"
        self.assertEqual(settings, {"epc_size": str(256 << 20), "sgx": "2", "debug": "0", "fixup": "vdso",
                                    **LOADER_SETTING, "cache": str(self.home / ".cache/enclume"),
                                    "secret_file": str(secret)})

    def test_options(self):
        settings = self.settings("--epc-size", "8M", "--sgx=1", "--debug", "--machine-seed", "x", "--trace", "t",
                                 "--fixup=signals")
        self.assertEqual(settings["epc_size"], str(8 << 20))
        self.assertEqual(settings["sgx"], "1")
        self.assertEqual(settings["debug"], "1")
        self.assertEqual(settings["fixup"], "signals")
        self.assertEqual(settings["trace"], str(self.home / "t"))
        self.assertEqual((self.home / "t").read_bytes(), b"")

    def test_strict_and_its_trace(self):
        self.assertEqual(self.settings("--strict")["strict"], "1")
        settings = self.settings("--strict", "--trace", "t", "--trace-insn")
        self.assertEqual((settings["strict"], settings["trace_insn"]), ("1", "1"))

    def test_the_cache(self):
        directory = self.home / ".cache/enclume"
        self.assertEqual(self.settings()["cache"], str(directory))
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        self.environment["XDG_CACHE_HOME"] = str(self.home / "c")
        self.assertEqual(self.settings()["cache"], str(self.home / "c/enclume"))

    def test_a_cache_with_thousands_of_files_is_emptied(self):
        directory = self.home / ".cache/enclume"
        directory.mkdir(parents=True)
        for number in range(5000):
            (directory / f"code-{number:#018x}").touch()
        (directory / "other").touch()
        self.settings()
        self.assertEqual([path.name for path in directory.iterdir()], ["other"])

    def test_no_cache_where_none_can_be(self):
        self.file(".cache", "no directory")
        self.assertNotIn("cache", self.settings())

    def test_sizes(self):
        for text, size in ("1M", 1 << 20), ("2048K", 1 << 21), ("1g", 1 << 30), ("1T", 1 << 40), ("1052672", 1052672):
            self.assertEqual(self.settings("--epc-size", text)["epc_size"], str(size))

    def test_environment_and_file_and_their_order(self):
        config = self.home / ".config/enclume/config"
        config.parent.mkdir(parents=True)
        config.write_text("# mine\n\nepc-size = 2M   # small\nsgx=1\ndebug = yes\n")
        self.assertEqual(self.settings()["epc_size"], str(2 << 20))
        self.environment |= {"ENCLUME_EPC_SIZE": "3M", "ENCLUME_DEBUG": "off"}
        settings = self.settings()
        self.assertEqual((settings["epc_size"], settings["sgx"], settings["debug"]), (str(3 << 20), "1", "0"))
        settings = self.settings("--epc-size=4M", "--sgx=2", "--debug")
        self.assertEqual((settings["epc_size"], settings["sgx"], settings["debug"]), (str(4 << 20), "2", "1"))
        self.environment["ENCLUME_DEBUG"] = "on"
        self.assertEqual(self.settings("--no-debug")["debug"], "0")

    def test_every_setting_by_environment(self):
        self.environment |= {"ENCLUME_EPC_SIZE": "1M", "ENCLUME_SGX": "1", "ENCLUME_DEBUG": "1",
                             "ENCLUME_MACHINE_SEED": "s", "ENCLUME_TRACE": "t", "ENCLUME_FIXUP": "per-mm",
                             "ENCLUME_TRACE_FORMAT": "json", "ENCLUME_BENIGN_FAULTS": "off",
                             "ENCLUME_FRONT": "raw"}
        settings = self.settings()
        secret = settings.pop("secret")
        self.assertEqual(settings, {"epc_size": "1048576", "sgx": "1", "debug": "1", "fixup": "per-mm",
                                    "trace": str(self.home / "t"), "trace_format": "json", "benign_faults": "0",
                                    "front": "raw", **LOADER_SETTING, "cache": str(self.home / ".cache/enclume")})
        self.assertEqual(secret, self.settings("--machine-seed", "s")["secret"])

    def test_every_setting_by_file(self):
        config = self.file("c", "epc-size = 1M\nsgx = 1\ndebug = 1\nmachine-seed = a # b\ntrace = -\n"
                           "fixup = vdso-registers\ntrace-format = json\nbenign-faults = no\nfront = raw\n")
        settings = self.settings("--config", config)
        secret = settings.pop("secret")
        self.assertEqual(settings, {"epc_size": "1048576", "sgx": "1", "debug": "1", "fixup": "vdso-registers",
                                    "trace": "-", "trace_format": "json", "benign_faults": "0",
                                    "front": "raw", **LOADER_SETTING, "cache": str(self.home / ".cache/enclume")})
        self.assertEqual(secret, self.settings("--machine-seed", "a")["secret"])

    def test_which_file(self):
        for name, size in ("home", 1), ("xdg", 2), ("variable", 3), ("option", 4):
            directory = self.home / (".config/enclume" if name == "home" else f"{name}/enclume")
            directory.mkdir(parents=True)
            (directory / "config").write_text(f"epc-size = {size}M\n")
        self.assertEqual(self.settings()["epc_size"], str(1 << 20))
        self.environment["XDG_CONFIG_HOME"] = str(self.home / "xdg")
        self.assertEqual(self.settings()["epc_size"], str(2 << 20))
        self.environment["ENCLUME_CONFIG"] = str(self.home / "variable/enclume/config")
        self.assertEqual(self.settings()["epc_size"], str(3 << 20))
        self.assertEqual(self.settings("--config", self.home / "option/enclume/config")["epc_size"], str(4 << 20))

    @unittest.skipUnless(as_root(), "needs another user")
    def test_home_of_another_user_has_none(self):
        private = self.home / "private"
        private.mkdir(mode=0o700)
        self.environment["HOME"] = str(private)
        result = self.run_enclume("true", user=NOBODY, group=NOBODY, extra_groups=[])
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("the machine secret cannot be kept", result.stderr)
        # One that is there and is not to be read is a mistake, though.
        private.chmod(0o755)
        config = private / ".config/enclume/config"
        config.parent.mkdir(parents=True)
        config.touch(mode=0o600)
        result = self.run_enclume("true", user=NOBODY, group=NOBODY, extra_groups=[])
        self.assertEqual(result.returncode, 2)
        self.assertIn("Permission denied", result.stderr)

    def test_a_file_asked_for_must_exist(self):
        self.refused(2, ["nowhere", "No such file"], "--config", "/nowhere", "true")
        self.environment["ENCLUME_CONFIG"] = "/nowhere"
        self.refused(2, ["nowhere"], "true")

    def test_mistakes_in_the_file(self):
        for text, line, words in (
                ("epc-size 2M\n", 1, ["key = value"]),
                ("\n# x\nepc-sise = 2M\n", 3, ["epc-sise", "did you mean 'epc-size'"]),
                ("colour = red\n", 1, ["unknown setting 'colour'", "known:"]),
                ("sgx = 1\nsgx = 2\n", 2, ["second time", "c:1"]),
                ("sgx = 3\n", 1, ["'3'", "1 or 2"]),
                ("sgx =\n", 1, ["1 or 2"]),
                ("debug = perhaps\n", 1, ["perhaps", "yes"])):
            with self.subTest(text):
                self.refused(2, [f"c:{line}:", *words], "--config", self.file("c", text), "true")

    def test_bad_values_name_their_origin_and_what_is_allowed(self):
        for value in "0", "1", "1048575", "1048577", "-1M", "1.5M", "1Q", "M", "2T", "18446744073709551615G", "0x100000":
            with self.subTest(value):
                self.refused(2, ["option --epc-size", value, "1M to 1T"], f"--epc-size={value}", "true")
        self.environment["ENCLUME_SGX"] = "SGX2"
        self.refused(2, ["environment variable ENCLUME_SGX", "SGX2", "1 or 2"], "true")
        del self.environment["ENCLUME_SGX"]
        for value in "", "VDSO", "permm", "vdso,per-mm":
            with self.subTest(value):
                self.refused(2, ["option --fixup", "vdso, vdso-registers, per-mm or signals"], f"--fixup={value}", "true")

    def test_an_empty_variable_counts_as_none(self):
        self.environment["ENCLUME_SGX"] = ""
        self.assertEqual(self.settings()["sgx"], "2")


class Trace(RunTest):
    def test_the_file_is_emptied(self):
        trace = self.file("t", "old\n", 0o644)
        self.run_enclume("--trace", trace, "true")
        self.assertNotIn(b"old", trace.read_bytes())

    def test_a_trace_for_tools_begins_as_a_json_array(self):
        trace = self.file("t", "old\n", 0o644)
        self.run_enclume("--trace", trace, "--trace-format=json", "true")
        first = trace.read_text(encoding="utf-8").splitlines()[0]
        self.assertEqual(json.loads(first.rstrip(",") + "]")[0]["args"], {"labels": "enclume run"})

    def test_the_path_is_made_absolute_and_escaped(self):
        self.assertEqual(self.settings("--trace", "a;b%c=d")["trace"], f"{self.home}/a%3bb%25c=d")
        self.assertTrue((self.home / "a;b%c=d").exists())

    def test_a_file_that_cannot_be_written(self):
        self.refused(125, ["trace", "/nowhere/t", "No such file"], "--trace", "/nowhere/t", "true")
        self.refused(125, ["trace", "directory"], "--trace", self.home, "true")

    def test_the_program_does_not_start_then(self):
        self.refused(125, [], "--trace", "/nowhere/t", "sh", "-c", f"touch {self.home}/started")
        self.assertFalse((self.home / "started").exists())


class Secret(RunTest):
    def secret_path(self):
        return pathlib.Path(self.settings()["secret_file"])

    def test_made_once_and_kept_private(self):
        path = self.secret_path()
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o700)
        secret = path.read_bytes()
        self.assertEqual(len(secret), 32)
        self.assertNotEqual(secret, bytes(32))
        self.assertEqual(self.secret_path().read_bytes(), secret)
        self.assertEqual(list(path.parent.iterdir()), [path], "no temporary file is left")

    def test_xdg_state_home(self):
        self.environment["XDG_STATE_HOME"] = str(self.home / "state")
        self.assertEqual(self.secret_path(), self.home / "state/enclume/machine-secret")
        self.environment["XDG_STATE_HOME"] = "relative"
        self.assertEqual(self.secret_path(), self.home / ".local/state/enclume/machine-secret")

    def test_the_secret_is_not_in_the_environment(self):
        result = self.run_enclume("--", "env")
        self.assertNotIn(self.secret_path().read_bytes().hex(), result.stdout)

    def test_first_runs_at_the_same_time_agree(self):
        seen = []
        script = "cat $HOME/.local/state/enclume/machine-secret | od -An -tx1"
        start = threading.Barrier(8)
        def first_run():
            start.wait()
            seen.append(self.run_enclume("--", "sh", "-c", script).stdout)
        threads = [threading.Thread(target=first_run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(seen), 8)
        self.assertEqual(len(set(seen)), 1, seen)

    def test_a_home_that_cannot_be_written(self):
        self.environment["HOME"] = "/proc/nowhere"
        result = self.run_enclume("--", "printenv", "ENCLUME_SETTINGS")
        self.assertEqual(result.returncode, 0)
        self.assertIn("warning", result.stderr)
        self.assertRegex(result.stdout, ";secret=[0-9a-f]{64}\n")
        again = self.run_enclume("--", "printenv", "ENCLUME_SETTINGS")
        self.assertNotEqual(again.stdout, result.stdout)

    def test_a_file_that_is_no_secret(self):
        path = self.secret_path()
        path.write_bytes(b"short")
        self.refused(125, [str(path), "not a machine secret", "remove it"], "true")

    def test_a_seed_is_reproducible(self):
        import hashlib
        for seed in "ci", "a;b%", "é":
            expected = hashlib.sha256(b"enclume machine seed\0" + seed.encode()).hexdigest()
            self.assertEqual(self.settings("--machine-seed", seed)["secret"], expected)
        self.assertFalse((self.home / ".local").exists(), "a seeded run makes no secret")

    def test_an_empty_seed(self):
        self.refused(2, ["machine-seed", "not empty"], "--machine-seed", "", "true")


class Engine(RunTest):
    def test_missing(self):
        self.environment["ENCLUME_ENGINE"] = "/nowhere/engine.so"
        self.refused(125, ["/nowhere/engine.so", "No such file"], "true")

    def test_not_a_shared_object(self):
        self.environment["ENCLUME_ENGINE"] = str(self.file("e.so", "hello"))
        self.refused(125, ["e.so", "not an x86-64 shared object"], "true")

    def test_a_path_that_preload_cannot_carry(self):
        for name in "with blank", "with:colon", "with$dollar":
            (self.home / name).mkdir()
            copy = shutil.copy(ENGINE, self.home / name / "engine.so")
            self.environment["ENCLUME_ENGINE"] = str(copy)
            self.refused(125, ["LD_PRELOAD", "symbolic link"], "true")

    def test_found_beside_the_program(self):
        del self.environment["ENCLUME_ENGINE"]
        for directory in "bin", "lib":
            (self.home / directory).mkdir()
        enclume = shutil.copy(ENCLUME, self.home / "bin/enclume")
        result = subprocess.run([enclume, "run", "true"], env=self.environment, stderr=subprocess.PIPE, text=True,
                                check=False)
        self.assertEqual(result.returncode, 125)
        self.assertIn("the engine is missing", result.stderr)
        engine = shutil.copy(ENGINE, self.home / "lib/libenclume-engine.so")
        result = subprocess.run([enclume, "run", "printenv", "LD_PRELOAD"], env=self.environment,
                                stdout=subprocess.PIPE, text=True, check=True)
        self.assertEqual(result.stdout, f"{engine}\n")


if __name__ == "__main__":
    unittest.main()
