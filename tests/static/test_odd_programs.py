# SPDX-License-Identifier: Apache-2.0
"""Programs that are damaged or do what few do, and places where they find little. Linux is the oracle."""

import os
import pathlib
import shutil
import signal
import struct
import subprocess
import unittest

from static_programs import BUSYBOX, ENCLUME, PROBES, RUNS_ITS_STACK, StaticTest


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

    def test_code_that_ends_behind_the_file(self):
        whole = bytearray(pathlib.Path(PROBES["static"]).read_bytes())
        for i in range(struct.unpack_from("<H", whole, 56)[0]):
            at = 64 + 56 * i
            kind, flags = struct.unpack_from("<II", whole, at)
            if kind == 1 and flags & 1:
                struct.pack_into("<QQ", whole, at + 32, len(whole) + 0x20000, len(whole) + 0x20000)
                break
        program = self.write(whole)
        self.check(program)
        self.assertGreaterEqual(self.bare(program).returncode, 0, "Linux runs it")

    def test_nothing_lies_around_a_static_pie(self):
        """What Linux leaves free around it: an access there ends a faulty program."""
        program = self.cc("neighbours", r"""
            #include <stdio.h>
            #include <stdlib.h>
            #include <string.h>
            extern const char __ehdr_start[], _end[];
            int main(void) {
              unsigned long from, to, begin = (unsigned long)__ehdr_start, end = (unsigned long)_end;
              char rights[5], line[4096];
              FILE *maps = fopen("/proc/self/maps", "r");
              int found = 0;
              while (fgets(line, sizeof line, maps)) {
                if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3) abort();
                if (from <= begin && begin < to) found = 1;
                if (!strncmp(rights, "---", 3)) continue;
                if ((to <= begin && begin - to < 1 << 20) || (from >= end && from - end < 1 << 20)) puts(line);
              }
              return !found;
            }""", "-static-pie", "-fPIE")
        for _ in range(20):  # addresses differ from run to run
            under = self.under(program)
            self.assertEqual((under.returncode, under.stdout, under.stderr), (0, "", ""))

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

    # As Free Pascal's are: neither symbols nor descriptions of frames, and no libc between it and the kernel. It
    # opens the device, has a handler of its own for a fault, and returns from that without libc, twice.
    UNDESCRIBED = """
        .globl  _start
        _start: andq    $-16, %rsp
                subq    $64, %rsp
                leaq    handler(%rip), %rax
                movq    %rax, (%rsp)
                movq    $0x04000004, 8(%rsp)
                leaq    restorer(%rip), %rax
                movq    %rax, 16(%rsp)
                movq    $0, 24(%rsp)
                movl    $11, %esi
                movq    %rsp, %rdx
                xorl    %ecx, %ecx
                movl    $8, %r8d
                movl    $13, %edi
                call    system_call
                movl    $2, %ebx
        again:  xorl    %eax, %eax
                movl    (%rax), %eax
                subl    $1, %ebx
                jnz     again
                leaq    device(%rip), %rsi
                movl    $2, %edx
                xorl    %ecx, %ecx
                movl    $2, %edi
                call    system_call
                movq    %rax, %rsi
                shrq    $63, %rsi
                addq    $3, %rsi
                movl    $231, %edi
                call    system_call
                .p2align 4
        system_call:
                pushq   %rbp
                movq    %rsp, %rbp
                leaq    -16(%rsp), %rsp
                movq    %rdi, %rax
                movq    %rsi, %rdi
                movq    %rdx, %rsi
                movq    %rcx, %rdx
                movq    %r8, %r10
                syscall
                cmpq    $-4095, %rax
                jb      1f
                movq    $-1, %rax
        1:      movq    %rbp, %rsp
                popq    %rbp
                ret
                .p2align 4
        handler:
                pushq   %rbp
                movq    %rsp, %rbp
                addq    $2, 168(%rdx)
                popq    %rbp
                ret
                .p2align 4, 0
        restorer:
                movq    $15, %rax
                syscall
                ret
                .p2align 4, 0
        device: .asciz  "/dev/sgx_enclave"
                .section .note.GNU-stack, "", @progbits
        """

    def test_calls_of_a_dynamic_program_that_nothing_describes(self):
        program = self.home / "undescribed"
        subprocess.run(["cc", "-x", "assembler", "-", "-o", program, "-nostartfiles", "-no-pie", "-s", "-Wl,--no-as-needed",
                        "-Wl,--no-ld-generated-unwind-info", "-Wl,--no-eh-frame-hdr"], input=self.UNDESCRIBED, text=True,
                       check=True)
        self.assertEqual(self.bare(program).returncode, 4)  # no SGX there
        result = self.under(program)
        self.assertEqual((result.returncode, result.stderr), (3, ""))

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
        self.assertLessEqual({"processor", "processor-static"}, set(kept))
        self.assertGreaterEqual(len(kept), 3, "busybox; and libc where CPUID has to be patched everywhere")
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
            # Not the same bytes: the vDSO image is one for the addresses of who has built it.
            repaired = self.kept()
            self.assertEqual({name: len(data) for name, data in repaired.items()},
                             {name: len(data) for name, data in kept.items()})
            self.run_both()
            self.assertEqual(self.kept(), repaired)

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
