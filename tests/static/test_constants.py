# SPDX-License-Identifier: Apache-2.0
"""CPUIDs of static programs whose answer is known."""

import pathlib
import shutil
import unittest

from static_programs import StaticTest

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


if __name__ == "__main__":
    unittest.main()
