# SPDX-License-Identifier: Apache-2.0
"""Static programs under `enclume run`. Where Linux has an answer of its own, it is the oracle."""

import contextlib
import fcntl
import os
import pathlib
import pty
import resource
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

ENCLUME = os.environ["ENCLUME_BINARY"]
PROBES = {"static": os.environ["STATIC_PROBE"], "static-pie": os.environ["STATIC_PIE_PROBE"]}
BUSYBOX = shutil.which("busybox")
NOBODY = 65534
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


def without_ours(text):
    """What the probe says, without what the engine's variables add to it."""
    lines = []
    for line in text.splitlines():
        if line.startswith("variable ") and line[len("variable "):].startswith(OURS):
            continue
        if line.startswith("/proc/self/environ"):
            line = "|".join(entry for entry in line.split("|") if not entry.startswith(OURS))
        lines.append(line)
    return lines


class Start(StaticTest):
    """The state in which a program begins, against the same program as the kernel starts it."""

    def compare(self, probe, *arguments, **more):
        self.maxDiff = None
        bare = self.bare(probe, *arguments, **more)
        under = self.under(probe, *arguments, **more)
        self.assertEqual((bare.returncode, bare.stderr), (7, ""))
        self.assertEqual((under.returncode, under.stderr), (7, ""))
        ours = without_ours(under.stdout)
        self.assertIn("variable LC_ALL=C", ours)
        self.assertEqual(ours, without_ours(bare.stdout))
        return under.stdout

    def test_static(self):
        self.compare(PROBES["static"], "one", "two words", "")

    def test_static_pie(self):
        self.compare(PROBES["static-pie"], "one", "two words", "")

    def test_by_a_relative_path_and_through_a_link(self):
        os.symlink(PROBES["static"], self.home / "link")
        self.compare("./link")

    def test_found_in_path(self):
        (self.home / "bin").mkdir()
        shutil.copy(PROBES["static"], self.home / "bin/tool")
        self.environment["PATH"] = f"{self.home}/bin:/usr/bin:/bin"
        self.compare("tool")

    def test_arguments_of_every_length(self):
        # RSP is a multiple of 16 whatever is on the stack.
        for count in range(8):
            with self.subTest(count):
                self.compare(PROBES["static"], *["x" * count] * count)

    def test_many_variables(self):
        self.environment |= {f"VARIABLE_{i}": "x" * 50 for i in range(3000)}
        self.compare(PROBES["static"])

    def test_without_address_randomisation(self):
        for probe in PROBES.values():
            with self.subTest(probe):
                bare = self.bare("setarch", "-R", probe)
                under = self.bare("setarch", "-R", ENCLUME, "run", "--", probe)
                self.assertEqual(without_ours(under.stdout), without_ours(bare.stdout))
                self.assertEqual(under.returncode, 7, under.stderr)

    def test_variables_for_the_dynamic_linker_are_the_programs_not_the_loaders(self):
        self.environment |= {"LD_DEBUG": "all", "LD_LIBRARY_PATH": "/nowhere", "LD_BIND_NOW": "1",
                             "GLIBC_TUNABLES": "glibc.malloc.check=3"}
        self.execute_by_a_dynamic_program()

    def test_no_name_of_ours_is_in_the_environment_that_others_see(self):
        self.environment |= {"LD_LIBRARY_PATH": "/nowhere"}
        program = self.cc("environment", """
            #include <stdio.h>
            int main(void) {
              FILE *file = fopen("/proc/self/environ", "r");
              for (int c; (c = getc(file)) != EOF;) putchar(c != 0 ? c : '\\n');
            }""", "-static")
        said = self.under("/bin/sh", "-c", str(program)).stdout.splitlines()
        self.assertIn("LD_LIBRARY_PATH=/nowhere", said)
        self.assertFalse([line for line in said if "ENCLUME_LOAD" in line])

    def test_a_preload_of_the_users_is_seen_and_not_loaded(self):
        self.environment["LD_PRELOAD"] = "/nowhere/other.so"
        told = self.execute_by_a_dynamic_program()
        self.assertIn("libenclume-engine.so:/nowhere/other.so", told)

    def execute_by_a_dynamic_program(self):
        # The program in between sees to it that these variables never touch the command line's own process.
        variables = {name: self.environment.pop(name) for name in list(self.environment)
                     if name.startswith(("LD_", "GLIBC_"))}
        script = f"import os; os.execve({PROBES['static']!r}, ['probe'], dict(os.environ) | {variables!r})"
        result = self.under("python3", "-c", script)
        self.assertEqual((result.returncode, result.stderr), (7, ""))
        told = [line for line in result.stdout.splitlines() if line.startswith("variable ")]
        for name, value in variables.items():
            if name != "LD_PRELOAD":
                self.assertIn(f"variable {name}={value}", told)
        return "\n".join(told)

    def test_alignment_of_huge_pages(self):
        result = self.under(os.environ["STATIC_PIE_ALIGNED_PROBE"])
        self.assertEqual((result.returncode, result.stderr), (7, ""))
        self.assertIn("base modulo alignment 0\n", result.stdout)

    MAPS = """
        #include <stdio.h>
        int main(void) {
          FILE *maps = fopen("/proc/self/maps", "r");
          for (int c; (c = getc(maps)) != EOF;) putchar(c);
        }"""

    def test_nothing_is_left_of_the_loader(self):
        program = self.cc("maps", self.MAPS, "-static")
        maps = self.under(program).stdout
        self.assertIn(str(program), maps)
        self.assertIn("libenclume-engine.so", maps)
        for other in "enclume-load", "libc.so", "ld-linux":
            self.assertNotIn(other, maps)
        self.assertEqual(len([line for line in maps.splitlines() if "[heap]" in line]), 1)

    def test_where_a_debugger_looks_on_the_dynamic_linker_knows_the_engine(self):
        program = self.cc("maps", self.MAPS, "-static")
        maps = self.bare("strace", "-f", "-o", "/dev/null", ENCLUME, "run", "--", program).stdout
        self.assertIn(str(program), maps)
        self.assertNotIn("enclume-load", maps)
        for mapped in "libenclume-engine.so", "ld-linux":
            self.assertIn(mapped, maps)

    def test_the_engines_library_alone_is_no_program(self):
        result = self.bare(os.environ["ENCLUME_ENGINE"])
        self.assertEqual((result.returncode, result.stdout), (126, ""))
        self.assertIn("part of Enclume", result.stderr)


class Libcs(StaticTest):
    HELLO = """
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        __thread int local = 5;
        int main(int argc, char **argv) {
          char *memory = malloc(1 << 20);
          memset(memory, 1, 1 << 20);
          printf("%s %d %d %s\\n", argv[1], argc, local, getenv("HOME") ? "home" : "");
          return memory[1000] + 2;
        }"""

    def check(self, program):
        result = self.under(program, "hello")
        self.assertEqual((result.returncode, result.stdout), (3, "hello 2 5 home\n"), result.stderr)

    def test_glibc_static(self):
        self.check(self.cc("program", self.HELLO, "-static"))

    def test_glibc_static_pie(self):
        self.check(self.cc("program", self.HELLO, "-static-pie"))

    def test_musl(self):
        path = self.home / "program"
        subprocess.run(["musl-gcc", "-static", "-x", "c", "-", "-o", path], input=self.HELLO, text=True, check=True)
        self.check(path)

    def test_go(self):
        source = self.home / "main.go"
        source.write_text("""
            package main
            import ("fmt"; "os"; "sync")
            func main() {
              var group sync.WaitGroup
              results := make([]int, 200)
              for i := range results {
                group.Add(1)
                go func(i int) {
                  defer group.Done()
                  for n := 0; n < 200000; n++ { results[i] += n % (i + 1) }
                }(i)
              }
              group.Wait()
              sum := 0
              for _, r := range results { sum += r }
              fmt.Println(os.Args[1], sum)
            }""")
        environment = self.environment | {"CGO_ENABLED": "0", "GOCACHE": str(self.home / "cache"), "GO111MODULE": "off",
                                          "GOFLAGS": "-p=1"}
        subprocess.run(["go", "build", "-o", "program", "main.go"], cwd=self.home, env=environment, check=True)
        bare = self.bare("./program", "go")
        for _ in range(5):
            under = self.under("./program", "go")
            self.assertEqual((under.returncode, under.stdout), (0, bare.stdout), under.stderr)


class Children(StaticTest):
    """What a dynamic program executes, in every way there is."""

    HAS_ENGINE = ["grep", "-c", "libenclume-engine.so", "/proc/self/maps"]

    def check(self, script):
        """Runs a script in which `static`, `dynamic` and `script` are programs that succeed if the engine is there."""
        (self.home / "script").write_text(f"#!{BUSYBOX} sh\n" + " ".join(self.HAS_ENGINE) + " >/dev/null\n")
        os.chmod(self.home / "script", 0o755)
        # busybox's own grep needs no other program, and fails without the engine.
        prologue = f"""
import os, subprocess, sys
static = [{BUSYBOX!r}] + {self.HAS_ENGINE!r}
dynamic = ["/bin/grep"] + {self.HAS_ENGINE[1:]!r}
scripted = [{BUSYBOX!r}, "sh", "-c", {" ".join(self.HAS_ENGINE[:2])!r} + " libenclume-engine.so /proc/$$/maps && true"]
home = {str(self.home)!r}
null = os.open("/dev/null", os.O_WRONLY)
os.dup2(null, 1)
def child(run):
    pid = os.fork()
    if pid == 0:
        run()
        os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        sys.exit(f"line {{sys._getframe(1).f_lineno}}: {{status}}")
def spawned(pid):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        sys.exit(f"line {{sys._getframe(1).f_lineno}}: {{status}}")
"""
        result = self.under("python3", "-c", prologue + script)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_a_program_for_musl_runs_without_the_engine(self):
        program = self.home / "musl"
        source = '#include <stdio.h>\n#include <stdlib.h>\n' \
                 'int main(void) { char* p = getenv("LD_PRELOAD"); return puts(p ? p : "none") < 0; }'
        subprocess.run(["musl-gcc", "-x", "c", "-", "-o", program], input=source, text=True, check=True)
        library = self.home / "library.so"
        subprocess.run(["musl-gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input="", text=True, check=True)
        (self.home / "script").write_text(f"#!{program}\n")
        os.chmod(self.home / "script", 0o755)
        result = self.under("sh", "-c", f"{program} && env -i {program} && {self.home}/script && "
                            f"LD_PRELOAD=$LD_PRELOAD:{library} {program} && LD_PRELOAD={library} exec {program}")
        self.assertEqual((result.returncode, result.stdout, result.stderr),
                         (0, "none\n" * 3 + f"{library}\n" * 2, ""))

    def test_exec(self):
        self.check("""
for program in static, dynamic, scripted:
    child(lambda: os.execv(program[0], program))
    child(lambda: os.execve(program[0], program, {}))
    child(lambda: os.execve(program[0], program, {"LD_PRELOAD": "", "A": "b"}))
    child(lambda: os.execvp(program[0].split("/")[-1], program))
    child(lambda: os.execvpe(program[0].split("/")[-1], program, {"PATH": "/usr/bin:/bin"}))
""")

    def test_exec_by_descriptor(self):
        self.check("""
for program in static, dynamic:
    for inherit in False, True:
        def run():
            fd = os.open(program[0], os.O_RDONLY)
            os.set_inheritable(fd, inherit)
            os.execve(fd, program, {})
        child(run)
""")

    def test_exec_from_another_directory_by_a_relative_path(self):
        self.check("""
os.symlink(static[0], home + "/here")
os.chdir(home)
child(lambda: os.execve("./here", ["busybox"] + static[1:], {}))
os.chdir("/usr")
child(lambda: os.execve("bin/busybox", static, {}))
""")

    def test_spawn(self):
        self.check("""
for program in static, dynamic, scripted:
    for environment in {}, os.environ:
        spawned(os.posix_spawn(program[0], program, environment))
        spawned(os.posix_spawnp(program[0].split("/")[-1], program, environment))
        subprocess.run(program, env=environment, check=True)
        subprocess.run(program, env=environment, check=True, close_fds=False)
""")

    def test_the_shell_of_a_cleaned_environment(self):
        source = """
            #include <stdio.h>
            #include <stdlib.h>
            int main(void) {
              const char *command = "grep -q libenclume-engine.so /proc/self/maps && PATH=/usr/bin:/bin "
                                    "busybox grep -q libenclume-engine.so /proc/self/maps";
              clearenv();
              int by_system = system(command);
              int by_popen = pclose(popen(command, "r"));
              return by_system != 0 || by_popen != 0 || (environ && *environ);
            }"""
        program = self.cc("cleaned", "#define _GNU_SOURCE\n#include <unistd.h>\n" + source)
        self.assertEqual(self.bare(program).returncode, 1, "without the engine it fails")
        result = self.under(program)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_a_script_for_a_static_interpreter(self):
        script = self.home / "script"
        script.write_text(f"#!{BUSYBOX} sh\necho $0 $1 $# $(tr '\\0' '|' </proc/$$/cmdline) $(cat /proc/$$/comm)\n")
        os.chmod(script, 0o755)
        for words in [script, "a b"], ["./script"], ["sh", "-c", "./script x"], [BUSYBOX, "sh", "-c", "./script x"]:
            with self.subTest(words):
                bare = self.bare(*words)
                under = self.under(*words)
                self.assertEqual((under.returncode, under.stdout), (0, bare.stdout), under.stderr)

    def test_a_script_for_a_script(self):
        (self.home / "inner").write_text(f"#!{BUSYBOX} sh\nfor word; do echo $word; done; tr '\\0' '|' </proc/$$/cmdline\n")
        (self.home / "outer").write_text(f"#!{self.home}/inner an argument  \n")
        for name in "inner", "outer":
            os.chmod(self.home / name, 0o755)
        bare = self.bare("./outer", "1", "2")
        under = self.under("./outer", "1", "2")
        self.assertEqual((under.returncode, under.stdout), (0, bare.stdout), under.stderr)

    def test_errors_are_those_of_linux(self):
        probe = pathlib.Path(PROBES["static"]).read_bytes()
        files = {
            "plain": (probe, 0o644), "cut in the header": (probe[:40], 0o755), "cut in the table": (probe[:80], 0o755),
            "no segments": (probe[:56] + bytes(2) + probe[58:], 0o755), "empty": (b"", 0o755),
            "text": (b"hello\n", 0o755), "no interpreter": (b"#!\n", 0o755), "lost": (b"#!/nowhere/sh\n", 0o755),
            "long": (b"#!/" + b"x" * 300, 0o755), "blank": (b"#!   \t  \n", 0o755)}
        for name, (content, mode) in files.items():
            (self.home / name).write_bytes(content)
            os.chmod(self.home / name, mode)
        (self.home / "circle").write_text(f"#!{self.home}/circle\n")
        os.chmod(self.home / "circle", 0o755)
        names = [*files, "circle", "nowhere", "plain/x", "."]
        script = f"""
import os
for name in {names!r}:
    for environment in {{}}, os.environ:
        try:
            os.execve(name, [name], environment)
        except OSError as error:
            print(name, error.errno)
        try:
            os.posix_spawn(name, [name], environment)
        except OSError as error:
            print(name, error.errno)
"""
        bare = self.bare("python3", "-c", script)
        under = self.under("python3", "-c", script)
        self.assertEqual(bare.stdout.count("\n"), 4 * len(names), bare.stderr)
        self.assertEqual((under.returncode, under.stdout), (0, bare.stdout), under.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "only root can give a file to somebody else")
    def test_a_setuid_program_runs_without_the_engine(self):
        program = self.home / "raised"
        shutil.copy(PROBES["static"], program)
        os.chown(program, NOBODY, NOBODY)
        os.chmod(program, 0o4755)
        result = self.under("sh", "-c", "exec ./raised")
        self.assertEqual(result.returncode, 7, result.stderr)
        self.assertIn(f"auxv c {NOBODY:x}\n", result.stdout)  # AT_EUID
        self.assertIn("auxv 17 1\n", result.stdout)  # AT_SECURE

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_without_privileges(self):
        # PR_SET_MM_MAP may not set the executable then.
        result = self.under(PROBES["static"], user=NOBODY)
        self.assertEqual(result.returncode, 7, result.stderr)
        bare = self.bare(PROBES["static"], user=NOBODY)
        def lines(text):
            return [line for line in without_ours(text) if not line.startswith("executable ")]
        self.assertEqual(lines(result.stdout), lines(bare.stdout))


class ChildrenOfStatic(StaticTest):
    """The same from a static program, which executes by system calls of its own."""

    def shell(self, script, *arguments, **more):
        return self.under(BUSYBOX, "sh", "-c", script, "sh", *arguments, **more)

    def test_file_that_is_overwritten_after_it_was_executed(self):
        # A file that was seen to be dynamic is not looked at again; but only while it is the same.
        shutil.copy("/bin/true", self.home / "busybox")
        time.sleep(3.1)  # a file that has just been written is always looked at
        script = f"""
            ./busybox && ./busybox || exit 1
            cat {BUSYBOX} >busybox
            exec ./busybox grep -q libenclume-engine.so /proc/self/maps"""
        self.assertEqual(self.under("sh", "-c", script).returncode, 0)

    def test_a_static_file_that_becomes_another(self):
        shutil.copy(BUSYBOX, self.home / "busybox")
        time.sleep(3.1)
        script = f"""
            ./busybox true && ./busybox true || exit 1
            cat /bin/echo >busybox; ./busybox dynamic
            printf '#!/bin/sh\\necho script' >busybox; ./busybox
            cat {BUSYBOX} >busybox; chmod -x busybox; ./busybox true; echo $?; chmod +x busybox
            ./busybox grep -c libenclume-engine.so /proc/self/environ"""
        result = self.under("sh", "-c", script)
        self.assertEqual(result.stdout, "dynamic\nscript\n126\n1\n", result.stderr)

    def test_the_engine_is_in_every_child(self):
        script = f"""
            has='libenclume-engine.so'
            {BUSYBOX} grep -q $has /proc/self/maps || exit 1
            /bin/grep -q $has /proc/self/maps || exit 2
            env -i {BUSYBOX} grep -q $has /proc/self/maps || exit 3
            env -i /bin/grep -q $has /proc/self/maps || exit 4
            {BUSYBOX} env -i {BUSYBOX} grep -q $has /proc/self/maps || exit 5
            {BUSYBOX} env -i /bin/grep -q $has /proc/self/maps || exit 6
            cd /usr && bin/busybox grep -q $has /proc/self/maps || exit 7
            printf '#!{BUSYBOX} sh\\n{BUSYBOX} grep -q %s /proc/$$/maps' $has >"$HOME/script"
            chmod +x "$HOME/script"
            "$HOME/script" || exit 8
            env -i "$HOME/script" || exit 9
            cd "$HOME" && ./script || exit 10
            python3 -c 'import subprocess, sys; sys.exit(subprocess.run(["./script"], env={{}}).returncode)' || exit 11
            exit 0"""
        result = self.shell(script)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_pipelines_and_substitutions(self):
        script = """
            seq 1 1000 | sort -rn | head -n 3 | tr '\\n' ' '
            echo $(for i in 1 2 3; do echo $((i * i)); done) `uname`
            (exit 5); echo $?
            false || echo no
            sleep 100 & kill $!; wait $! 2>/dev/null; echo $?
            trap 'echo trapped' USR1; kill -USR1 $$; echo after
            cat <<END
here $1
END
            """
        bare = self.bare(BUSYBOX, "sh", "-c", script, "sh", "word")
        under = self.shell(script, "word")
        self.assertEqual((under.returncode, under.stdout), (0, bare.stdout), under.stderr)

    def test_exit_status_and_death_by_signal(self):
        for status in 0, 1, 77:
            self.assertEqual(self.shell(f"exit {status}").returncode, status)
        for number in 9, 11, 15:
            self.assertEqual(self.shell(f"kill -{number} $$").returncode, -number)
        self.assertEqual(self.shell("sh -c 'kill -11 $$'; echo $?").stdout, "139\n")

    def test_job_control(self):
        main, follower = pty.openpty()
        self.addCleanup(os.close, main)
        process = subprocess.Popen([ENCLUME, "run", "--", BUSYBOX, "sh", "-i"], stdin=follower, stdout=follower,
                                   stderr=follower, env=self.environment | {"PS1": "% "}, cwd=self.home,
                                   start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(follower)
        self.addCleanup(process.kill)
        said = b""

        def expect(text):
            nonlocal said
            deadline = time.monotonic() + 60
            while text not in said:
                ready, _, _ = select.select([main], [], [], max(0, deadline - time.monotonic()))
                self.assertTrue(ready, (text, said))
                said += os.read(main, 4096)
            said = said[said.index(text) + len(text):]

        def send(text):
            os.write(main, text)

        def in_foreground(name):
            # The shell's line editor would take what is typed too early.
            while True:
                group = os.tcgetpgrp(main)
                with contextlib.suppress(OSError):
                    if pathlib.Path(f"/proc/{group}/comm").read_text(encoding="ascii").strip() == name:
                        return
                time.sleep(0.01)

        expect(b"% ")
        send(b"cat\n")
        in_foreground("cat")
        send(b"echoed\n")
        expect(b"echoed\r\nechoed")
        send(b"\x1a")  # ^Z
        expect(b"Stopped")
        expect(b"% ")
        send(b"jobs\n")
        expect(b"Stopped")
        send(b"fg\n")
        expect(b"cat")
        in_foreground("cat")
        send(b"again\n")
        expect(b"again\r\nagain")
        send(b"\x03")  # ^C
        expect(b"% ")
        send(b"sleep 100 &\n")
        expect(b"% ")
        send(b"kill %1; wait; echo over $((6 * 7))\n")
        expect(b"over 42")
        send(b"exit 3\n")
        self.assertEqual(process.wait(timeout=60), 3)

    def test_go_starts_programs(self):
        source = self.home / "main.go"
        source.write_text("""
            package main
            import ("fmt"; "os"; "os/exec")
            func main() {
              done := make(chan string)
              for i := 0; i < 10; i++ {
                go func(i int) {
                  command := exec.Command(os.Args[1+i%2], "-q", "libenclume-engine.so", "/proc/self/maps")
                  if i % 2 == 0 {
                    command = exec.Command(os.Args[1], "grep", "-q", "libenclume-engine.so", "/proc/self/maps")
                  }
                  command.Env = []string{"A=b"}
                  done <- fmt.Sprint(command.Run())
                }(i)
              }
              for i := 0; i < 10; i++ { fmt.Println(<-done) }
            }""")
        environment = self.environment | {"CGO_ENABLED": "0", "GOCACHE": str(self.home / "cache"),
                                          "GO111MODULE": "off", "GOFLAGS": "-p=1"}
        subprocess.run(["go", "build", "-o", "program", "main.go"], cwd=self.home, env=environment, check=True)
        result = self.under("./program", BUSYBOX, "/bin/grep")
        self.assertEqual((result.returncode, result.stdout), (0, "<nil>\n" * 10), result.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_its_own_file_without_privileges(self):
        # The kernel knows the loader as the executable then, and the program does not see it.
        script = f"""
            [ "$(readlink /proc/self/exe)" = {BUSYBOX} ] || exit 1
            cmp /proc/self/exe {BUSYBOX} || exit 3
            [ "$(/proc/self/exe 2>&1)" = "exe: applet not found" ] || exit 4"""  # busybox under that name
        os.chmod(self.home, 0o777)
        result = self.execute([ENCLUME, "run", "--", BUSYBOX, "sh", "-c", script], user=NOBODY)
        self.assertEqual((result.returncode, result.stderr), (0, ""))


class Debuggers(StaticTest):
    SOURCE = """
        #include <stdio.h>
        #include <unistd.h>
        int inner(int x) { puts("there"); fflush(stdout); for (volatile long i = 1; i != 0;) ++i; return x; }
        int main(void) { return inner(1) + 1; }"""

    def running(self, flag):
        program = self.cc("program", self.SOURCE, flag, "-g", "-O0")
        process = subprocess.Popen([ENCLUME, "run", "--", program], env=self.environment, stdout=subprocess.PIPE,
                                   cwd=self.home, preexec_fn=lambda: resource.setrlimit(
                                       resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2))
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"there\n")
        # In its loop, and no longer in the system call that has written this.
        while int(pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").split()[13]) < 5:
            time.sleep(0.01)
        return program, process

    def check(self, backtrace):
        self.assertRegex(backtrace, r"(?s)inner \(x=1\).*main \(\)")

    @unittest.skipUnless(os.geteuid() == 0, "only root can set the executable, and attach everywhere")
    def test_gdb_attached(self):
        for flag in "-static", "-static-pie":
            with self.subTest(flag):
                _, process = self.running(flag)
                self.check(self.execute(["gdb", "-nx", "-batch", "-p", process.pid, "-ex", "bt"]).stdout)
                process.kill()

    def test_core_file(self):
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
        if pattern != "core":
            self.skipTest(f"core files go elsewhere: {pattern}")
        for flag in "-static", "-static-pie":
            with self.subTest(flag):
                program, process = self.running(flag)
                process.send_signal(signal.SIGABRT)
                process.wait()
                core = next(self.home.glob("core*"))
                told = self.execute(["gdb", "-nx", "-batch", program, core, "-ex", "bt"]).stdout
                self.check(told)
                self.assertIn(f"Core was generated by `{program}'", told)
                core.unlink()

    def test_the_trace_names_the_program(self):
        trace = self.home / "trace"
        self.execute([ENCLUME, "run", "--trace", trace, "--", PROBES["static"]])
        self.assertIn(PROBES["static"], trace.read_text(encoding="utf-8"))
        self.assertNotIn("enclume-load", trace.read_text(encoding="utf-8"))


class BadInput(StaticTest):
    def outcome_of_bare(self, path):
        try:
            return self.bare(path).returncode
        except OSError as error:
            return error

    def check(self, path):
        """Whether Linux and we agree on a file: it runs, is refused, or dies of the same signal."""
        bare = self.outcome_of_bare(path)
        under = self.under(path)
        if under.returncode == 126 and "in that range lies" in under.stderr:
            return  # Linux had room where we have none
        if isinstance(bare, OSError):
            self.assertIn(under.returncode, (126, 127), (bare, under.stderr))
            self.assertTrue(under.stderr.startswith("enclume: "), under.stderr)
            self.assertEqual(under.stdout, "")
        else:
            self.assertEqual(under.returncode, bare, under.stderr)

    def write(self, content):
        path = self.home / "mutant"
        path.write_bytes(content)
        os.chmod(path, 0o755)
        return path

    def test_headers_cut_short(self):
        whole = pathlib.Path(PROBES["static"]).read_bytes()
        for size in [*range(1, 130, 5), 500, 1000, 4096, 5000]:
            with self.subTest(size):
                self.check(self.write(whole[:size]))

    def mutate(self, whole, fields, values):
        for offset, size in fields:
            for value in values:
                mutant = bytearray(whole)
                mutant[offset:offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
                if bytes(mutant) != whole:
                    with self.subTest(offset=offset, value=hex(value)):
                        self.check(self.write(mutant))

    VALUES = [0, 1, 3, 0x1000, 0x400123, 0x7ffffffff000, 1 << 47, 1 << 63, (1 << 64) - 1]

    def test_fields_of_the_elf_header(self):
        whole = pathlib.Path(PROBES["static"]).read_bytes()
        # e_ident's class and data, e_type, e_machine, e_entry, e_phoff, e_phentsize
        self.mutate(whole, [(4, 1), (5, 1), (16, 2), (18, 2), (24, 8), (32, 8), (54, 2)], self.VALUES)
        # e_phnum: of more than 73 kernels think differently.
        self.mutate(whole, [(56, 2)], [0, 1, 3, 2000, 0xffff])

    def test_fields_of_the_program_headers(self):
        for probe in PROBES.values():
            whole = pathlib.Path(probe).read_bytes()
            loads = [64 + 56 * i for i in range(struct.unpack_from("<H", whole, 56)[0])
                     if struct.unpack_from("<I", whole, 64 + 56 * i)[0] == 1]
            for at in loads[:2] + loads[-1:]:
                # p_type, p_flags, p_offset, p_vaddr, p_filesz, p_memsz, p_align
                self.mutate(whole, [(at, 4), (at + 4, 4), (at + 8, 8), (at + 16, 8), (at + 32, 8), (at + 40, 8),
                                    (at + 48, 8)], self.VALUES[::2])

    def test_addresses_that_are_ours(self):
        result = self.bare("setarch", "-R", ENCLUME, "run", "--", os.environ["STATIC_HIGH_PROBE"])
        self.assertEqual((result.returncode, result.stdout), (126, ""))
        self.assertIn("must be loaded at 0x7ffff7d00000 to ", result.stderr)

    def test_an_executable_stack(self):
        for flag, status in ("execstack", 5), ("noexecstack", -11):
            with self.subTest(flag):
                program = self.cc("stack", RUNS_ITS_STACK, "-static", f"-Wl,-z,{flag}")
                self.assertEqual(self.bare(program).returncode, status)
                self.assertEqual(self.under(program).returncode, status)


class Odd(StaticTest):
    """Programs that do what few do: what Linux would have answered, or a quick end; never a hang."""

    def both(self, name, source, flags, more=()):
        """The program, built that way, bare and under Enclume."""
        program = self.cc(name, source, *flags, *more)
        return self.bare(program), self.under(program)

    def check(self, source, flags, status):
        for more in [], ["-static"]:
            with self.subTest(flags=[*flags, *more]):
                bare, under = self.both("program", source, flags, more)
                self.assertEqual((bare.returncode, bare.stderr), (status, ""))
                self.assertEqual((under.returncode, under.stdout, under.stderr), (status, bare.stdout, ""))

    # An address of 64 bits among instructions.
    TEXT_RELOCATION = """
        int value = 6;
        int read_value(void) {
          const int *at;
          __asm__("movabs $value, %0" : "=r"(at));
          return *at;
        }
        int has_sgx(void) {
          unsigned a = 7, b, c = 0, d;
          __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
          return b >> 2 & 1;
        }"""

    def test_text_relocations(self):
        source = self.TEXT_RELOCATION + "int main(void) { return read_value() + 10 * has_sgx(); }"
        bare, under = self.both("program", source, ["-fPIE", "-pie", "-Wl,-z,notext"])
        self.assertIn(bare.returncode, (6, 16), bare.stderr)
        self.assertEqual((under.returncode, under.stderr), (16, ""))

    def test_text_relocations_in_a_library_that_comes_later(self):
        library = self.cc("library.so", self.TEXT_RELOCATION, "-fPIC", "-shared", "-Wl,-z,notext", "-Wl,-Bsymbolic")
        source = f"""
            #include <dlfcn.h>
            int main(void) {{
              void *library = dlopen("{library}", RTLD_NOW);
              if (!library) return 1;
              int (*read_value)(void) = (int (*)(void))dlsym(library, "read_value");
              int (*has_sgx)(void) = (int (*)(void))dlsym(library, "has_sgx");
              return read_value() + 10 * has_sgx();
            }}"""
        bare, under = self.both("program", source, ["-ldl"])
        self.assertIn(bare.returncode, (6, 16), bare.stderr)
        self.assertEqual((under.returncode, under.stderr), (16, ""))

    def test_an_executable_stack(self):
        self.check(RUNS_ITS_STACK, ["-Wl,-z,execstack"], 5)

    def test_every_descriptor_closed_and_used_again(self):
        self.check("""
            #define _GNU_SOURCE
            #include <fcntl.h>
            #include <unistd.h>
            int main(void) {
              if (close_range(3, ~0U, 0) != 0) return 1;
              for (int i = 3; i < 40; ++i) if (open("/dev/null", O_RDWR) != i) return 2;
              return fork() == 0 ? 0 : 8;
            }""", [], 8)

    # Maps over, or unmaps, what a line of /proc/self/maps shows if it has a word in it.
    TAKE = """
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
          static struct { unsigned long begin, end; } found[64];
          char line[512];
          int count = 0;
          FILE *maps = fopen("/proc/self/maps", "r");
          while (fgets(line, sizeof line, maps))
            if (strstr(line, argv[1]) && count < 64)
              count += sscanf(line, "%lx-%lx", &found[count].begin, &found[count].end) == 2;
          if (count == 0) return 99;
          for (int i = 0; i < count; ++i) {
            if (strcmp(argv[2], "unmap") == 0) munmap((void *)found[i].begin, found[i].end - found[i].begin);
            else mmap((void *)found[i].begin, found[i].end - found[i].begin, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
          }
          printf("alive\\n");
          fflush(stdout);
          return getppid() == 0;
        }"""

    def test_the_engine_unmapped_or_mapped_over(self):
        for flags in [], ["-static"]:
            program = self.cc("program", self.TAKE, *flags)
            for how in "unmap", "overwrite":
                with self.subTest(flags=flags, how=how):
                    result = self.under(program, "libenclume-engine.so", how, timeout=20)
                    self.assertIn(result.returncode, (-signal.SIGSEGV, -signal.SIGSYS, -signal.SIGILL), result)
                    self.assertEqual(result.stdout, "")


@unittest.skipUnless(BUSYBOX, "busybox is not installed")
class Corners(StaticTest):
    """Where the loader, or what it needs, can't be had."""

    def same(self, *words, **more):
        bare = self.bare(*words, **more)
        under = self.under(*words, **more)
        self.assertEqual((under.returncode, under.stdout, under.stderr), (bare.returncode, bare.stdout, bare.stderr))
        return bare

    @unittest.skipUnless(os.geteuid() == 0, "chroot needs root")
    def test_a_root_without_the_loader(self):
        shutil.copy(BUSYBOX, self.home / "busybox")
        for chroot in ("/usr/sbin/chroot",), (BUSYBOX, "chroot"):  # with libc's execvp(), and by a system call
            self.assertEqual(self.same(*chroot, self.home, "/busybox", "echo", "said").stdout, "said\n")

    @unittest.skipUnless(os.geteuid() == 0, "chroot needs root")
    def test_a_root_without_the_loader_by_posix_spawn(self):
        shutil.copy(BUSYBOX, self.home / "busybox")
        program = self.cc("spawn", """
            #include <spawn.h>
            #include <sys/wait.h>
            #include <unistd.h>
            int main(int argc, char **argv) {
              char *words[] = {"busybox", "echo", "said", 0};
              pid_t child;
              int status;
              if (chroot(argv[1]) != 0) return 1;
              if (posix_spawn(&child, "/busybox", 0, 0, words, words + 3) != 0) return 2;
              if (posix_spawn(0, "/missing", 0, 0, words, words + 3) != 2) return 3;
              return waitpid(child, &status, 0) == child && status == 0 ? 0 : 4;
            }""")
        self.assertEqual(self.same(program, self.home).stdout, "said\n")

    def test_a_policy_by_which_no_memory_becomes_executable(self):
        policy = self.cc("policy", """
            #include <sys/prctl.h>
            #include <unistd.h>
            int main(int argc, char** argv) {
              if (prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) != 0) return 77;
              execv(argv[1], argv + 1);
              return 1;
            }""")
        if self.bare(policy, BUSYBOX, "true").returncode == 77:
            self.skipTest("no PR_SET_MDWE (Linux 6.3)")
        result = self.under(policy, BUSYBOX, "echo", "said")
        self.assertEqual((result.stdout, result.returncode), ("said\n", 0), result.stderr)

    def test_few_descriptors(self):
        for shell in ("sh",), (BUSYBOX, "sh"):
            bare = self.same(*shell, "-c", f"ulimit -n 4; {BUSYBOX} echo said; :")
            self.assertEqual(bare.stdout, "said\n")

    def test_a_static_program_that_is_not_there(self):
        self.assertEqual(self.same("sh", "-c", "./missing; echo $?").stdout, "127\n")


CONSTANT_CPUID = """
    #define _GNU_SOURCE
    #include <cpuid.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/time.h>
    #include <ucontext.h>

    extern char __executable_start[], etext[];
    struct answer { unsigned a, b, c, d; unsigned long flags; };

    // The carry flag is set before; XOR clears it.
    #define ASK(lines) \
      struct answer r; \
      __asm__ volatile("stc; " lines "; cpuid; pushfq; popq %4" \
                       : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d), "=r"(r.flags) : "c"(0x55)); \
      return r;
    __attribute__((noinline)) static struct answer sizes(void) { ASK("movl $0x80000008, %%eax") }
    __attribute__((noinline)) static struct answer name(void) { ASK("movl $0x80000002, %%eax") }
    __attribute__((noinline)) static struct answer state(void) { ASK("movl $0xd, %%eax; xorl %%ecx, %%ecx") }
    __attribute__((noinline)) static struct answer more(void) { ASK("movl $0xd, %%eax; movl $1, %%ecx") }
    __attribute__((noinline)) static struct answer features(void) { ASK("movl $7, %%eax; xorl %%ecx, %%ecx") }

    static struct { struct answer (*ask)(void); unsigned leaf, subleaf; int clears; } all[] = {
        {sizes, 0x80000008, 0x55, 0}, {name, 0x80000002, 0x55, 0}, {state, 0xd, 0, 1}, {more, 0xd, 1, 0},
        {features, 7, 0, 1}};

    static volatile long outside, signals, steps;
    static int in_program(ucontext_t* context) {
      const unsigned long rip = context->uc_mcontext.gregs[REG_RIP];
      return rip >= (unsigned long)__executable_start && rip < (unsigned long)etext;
    }
    static void on_signal(int number, siginfo_t* info, void* context) {
      ++signals;
      outside += !in_program(context);
    }
    static void on_step(int number, siginfo_t* info, void* context) {
      ++steps;
      outside += !in_program(context);
    }
    static void fail(const char* what, unsigned leaf) {
      printf("%s %x\\n", what, leaf);
      exit(1);
    }
    static void check(int i) {
      struct answer expected;
      volatile unsigned leaf = all[i].leaf;  // no constant
      __cpuid_count(leaf, all[i].subleaf, expected.a, expected.b, expected.c, expected.d);
      const struct answer r = all[i].ask();
      if (r.a != expected.a || r.b != expected.b || r.c != expected.c || r.d != expected.d)
        fail("wrong answer to", leaf);
      if ((r.flags & 1) == (unsigned long)all[i].clears) fail("wrong flags of", leaf);
    }
    static int stepped(int i) {
      steps = 0;
      __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq" : : : "cc", "memory");
      all[i].ask();
      __asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" : : : "cc", "memory");
      return steps > 5;
    }

    int main(int argc, char** argv) {
      struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
      sigaction(SIGALRM, &action, 0);
      action.sa_sigaction = on_step;
      sigaction(SIGTRAP, &action, 0);
      int jumps = 0;
      for (int i = 0; i < 5; ++i) {
        check(i);
        if (!stepped(i)) fail("not stepped:", i);
        for (unsigned char* p = (unsigned char*)all[i].ask; p[0] != 0x0f && p[0] != 0xc3; ++p)
          if (p[0] == 0xf9) jumps += p[1] == 0xe9;
      }
      const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
      if (argc == 1) setitimer(ITIMER_REAL, &often, 0);
      for (int n = 0; argc == 1 && signals < 3000; ++n) {
        check(n % 4);  // the others trap
        for (int i = 0; i < 1000; ++i) all[n % 4].ask();
      }
      setitimer(ITIMER_REAL, &never, 0);
      printf("%ld outside, %d jumps\\n", outside, jumps);
      return 0;
    }"""


class Constants(StaticTest):
    """CPUIDs that are answered without one (src/engine/cpuid/cpuid_stubs.h)."""

    def test_answers_flags_steps_and_signals(self):
        for flags in ("-static",), ("-static-pie", "-fPIE"):
            program = self.cc("constant", CONSTANT_CPUID, *flags)
            bare = self.bare(program)
            self.assertEqual((bare.stdout, bare.returncode), ("0 outside, 0 jumps\n", 0))
            for _ in range(2):  # scanned, and from the cache
                result = self.under(program)
                self.assertEqual((result.stderr, result.returncode), ("", 0), result.stdout)
                if "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text():
                    self.assertEqual(result.stdout, "0 outside, 4 jumps\n")
                else:
                    self.assertIn("0 outside, ", result.stdout)

    def test_where_a_debugger_looks_on_there_are_none(self):
        if shutil.which("strace") is None:
            self.skipTest("no strace")
        program = self.cc("constant", CONSTANT_CPUID, "-static")
        result = self.under("strace", "-f", "-o", "/dev/null", program, "without signals")
        self.assertEqual((result.stdout, result.returncode), ("0 outside, 0 jumps\n", 0))


class Cache(StaticTest):
    def setUp(self):
        super().setUp()
        self.directory = self.home / ".cache/enclume"

    def run_both(self):
        for program in ("/bin/echo",), (BUSYBOX, "echo"):
            result = self.under(*program, "said")
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "said\n", ""))

    def kept(self):
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def test_is_filled_once(self):
        self.run_both()
        kept = self.kept()
        self.assertIn("processor", kept)
        self.assertGreaterEqual(len(kept), 2, "busybox; and libc where CPUID has to be patched everywhere")
        stamps = {path.name: path.stat().st_ino for path in self.directory.iterdir()}
        self.run_both()
        self.assertEqual(stamps, {path.name: path.stat().st_ino for path in self.directory.iterdir()})

    def test_damage_is_repaired(self):
        self.run_both()
        kept = self.kept()
        for damage in (lambda data: b"", lambda data: data[:-1], lambda data: bytes(len(data)),
                       lambda data: data[:8] + bytes([data[8] ^ 1]) + data[9:]):
            for name, data in kept.items():
                (self.directory / name).write_bytes(damage(data))
            self.run_both()
            self.assertEqual(self.kept(), kept)

    def test_cpuid_says_the_same_with_it(self):
        source = """
            #include <cpuid.h>
            #include <stdio.h>
            static void say(unsigned leaf, unsigned subleaf) {
              unsigned a, b, c, d;
              __cpuid_count(leaf, subleaf, a, b, c, d);
              if (leaf == 1) b &= 0xffffff;  // the core's number is above
              printf("%x.%x %x %x %x %x\\n", leaf, subleaf, a, b, c, d);
            }
            int main(void) {
              for (unsigned leaf = 0; leaf <= 0x19; ++leaf)
                for (unsigned subleaf = 0; subleaf < 20; ++subleaf)
                  if (leaf != 0xb) say(leaf, subleaf);
              for (unsigned leaf = 0x80000000; leaf <= 0x8000001d; ++leaf)
                for (unsigned subleaf = 0; subleaf < 5; ++subleaf) say(leaf, subleaf);
              return 0;
            }"""
        program = self.cc("cpuid", source)
        linked = self.cc("linked", source, "-static")
        first = self.under(program)  # which keeps the answers
        second = self.under(program)
        without_linker = self.under(linked)
        self.environment["XDG_CACHE_HOME"] = "/proc/nonexistent"
        without = self.under(program)
        self.assertEqual((without.returncode, second.returncode), (0, 0))
        self.assertEqual(second.stdout, without.stdout)
        self.assertEqual(first.stdout, without.stdout)
        self.assertEqual(without_linker.stdout, without.stdout)

    def test_one_that_is_read_only_does_no_harm(self):
        self.run_both()
        for path in self.directory.iterdir():
            path.unlink()
        os.chmod(self.directory, 0o500)
        self.run_both()


if __name__ == "__main__":
    unittest.main()
