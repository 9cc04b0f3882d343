# SPDX-License-Identifier: Apache-2.0
"""Static programs under `enclume run`. Where Linux has an answer of its own, it is the oracle."""

import contextlib
import fcntl
import os
import pathlib
import pty
import select
import shutil
import subprocess
import termios
import time
import unittest

from static_programs import BUSYBOX, ENCLUME, OURS, PROBES, StaticTest

NOBODY = 65534


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


if __name__ == "__main__":
    unittest.main()
