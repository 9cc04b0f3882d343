/* SPDX-License-Identifier: Apache-2.0
 *
 * coexist_handlers before|after ENTRIES
 *
 * Two runtimes in one program, each with a SIGSEGV handler that chains to the one before it, and a library
 * with an enclave. The second handler is installed before or after the first entry, with each combination of
 * SA_ONSTACK, SA_NODEFER and SA_RESETHAND. Each exception is counted where it must arrive; timer signals go
 * on all the while.
 */
#define _GNU_SOURCE /* REG_RIP */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>

#include "coexist/library.h"

/* Below vm.mmap_min_addr, so nothing is there. The first runtime's faults are in the lower half. */
#define FIRST_RUNTIME 0x1000UL
#define SECOND_RUNTIME 0x4000UL

/* movq (%rdi), %rax; ret */
extern const char load_place[];
uint64_t load(uint64_t address);
__asm__(
    ".text\n"
    ".globl load, load_place\n"
    ".type load, @function\n"
    "load:\n"
    "load_place:\n"
    "  movq (%rdi), %rax\n"
    "  ret\n"
    ".size load, . - load\n");
#define LOAD_LENGTH 3
#define MARK 0x600df00dUL

static struct { uint64_t first, second, nested, raw, ticks; } seen, wanted;

static int flags;              /* of the second runtime's handler */
static uint64_t expected;      /* the address of the fault that is due */
static volatile int depth;     /* of handlers */
static struct sigaction older; /* what the second runtime found */
static char stack[256 * 1024];

static void die(const char* what) {
  fprintf(stderr, "coexist_handlers: flags %#x: %s\n", (unsigned)flags, what);
  abort();
}

static int on_stack(const void* address) {
  return (const char*)address >= stack && (const char*)address < stack + sizeof stack;
}

static void install_second(void);

static void skip(ucontext_t* context, const siginfo_t* info) {
  greg_t* registers = context->uc_mcontext.gregs;
  if (info->si_signo != SIGSEGV || info->si_code != SEGV_MAPERR) die("another signal than SEGV_MAPERR");
  if ((uint64_t)info->si_addr != expected || registers[REG_CR2] != (greg_t)expected) die("another address");
  if (registers[REG_RIP] != (greg_t)load_place) die("another place");
  registers[REG_RIP] += LOAD_LENGTH;
  registers[REG_RAX] = MARK;
}

/* The first runtime has no alternate stack in mind; if it is chained to it runs on the caller's. */
static void first_handler(int signal, siginfo_t* info, void* context) {
  (void)signal;
  skip(context, info);
  ++seen.first;
}

static void check_environment(int signal) {
  char here;
  sigset_t mask;
  if (on_stack(&here) != ((flags & SA_ONSTACK) != 0)) die("the handler is on the wrong stack");
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  if (sigismember(&mask, signal) != ((flags & SA_NODEFER) == 0)) die("the signal's own mask is wrong");
  if (!sigismember(&mask, SIGUSR2)) die("the action's mask was left out");
  struct sigaction now;
  sigaction(signal, NULL, &now);
  if ((now.sa_handler == SIG_DFL) != ((flags & SA_RESETHAND) != 0)) die("the disposition is wrong");
}

static void second_handler(int signal, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  ++depth;
  if (depth == 1) {
    check_environment(signal);
    if ((flags & SA_RESETHAND) != 0) install_second();
    /* A runtime may call its enclave here, whatever it blocks; and the enclave may fault. */
    if (seen.second % 16 == 0) {
      coexist_sum(seen.second, 1);
      coexist_fault((unsigned)seen.second / 16);
    }
    if ((flags & SA_NODEFER) != 0 && seen.second % 32 == 0) {
      const uint64_t outer = expected;
      expected = SECOND_RUNTIME + 8;
      ++wanted.nested;
      if (load(expected) != MARK) die("a nested fault came back with something else");
      expected = outer;
      if ((flags & SA_RESETHAND) != 0) install_second();
    }
  }
  if ((uint64_t)registers[REG_RIP] == coexist_aep()) {
    if (signal != SIGILL && signal != SIGSEGV) die("a strange signal at the AEP");
    if (registers[REG_RAX] != 3 || registers[REG_RCX] != (greg_t)coexist_aep()) die("another AEP context");
    registers[REG_RIP] = (greg_t)coexist_landing();
    ++seen.raw;
  } else if (expected >= SECOND_RUNTIME) {
    skip(context, info);
    if (depth > 1) {
      ++seen.nested;
    } else {
      ++seen.second;
    }
  } else if (older.sa_flags & SA_SIGINFO) {
    older.sa_sigaction(signal, info, context);
  } else {
    die("there is no handler to chain to");
  }
  --depth;
}

static void install_second(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = second_handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGUSR2);
  if (sigaction(SIGSEGV, &action, NULL) != 0 || sigaction(SIGILL, &action, NULL) != 0) die("sigaction");
}

static void tick(int signal) {
  (void)signal;
  ++seen.ticks;
}

static void fault(uint64_t address, uint64_t* count) {
  expected = address;
  ++*count;
  if (load(address) != MARK) die("a fault came back with something else");
}

static void run(uint64_t entries) {
  const uint64_t end = coexist_entries() + entries;
  for (uint64_t i = 0; coexist_entries() < end; ++i) {
    if (coexist_sum(i, flags) != i + (uint64_t)flags) die("a wrong sum");
    if (i % 4 == 0) coexist_fault((unsigned)i / 4);
    if (i % 8 == 0) fault(SECOND_RUNTIME + i % 4096, &wanted.second);
    if (i % 16 == 1) {
      ++wanted.raw;
      coexist_raw_fault();
    }
    if (i % 32 == 2) fault(FIRST_RUNTIME + i % 4096, &wanted.first);
  }
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int before = strcmp(argv[1], "before") == 0;
  const uint64_t entries = strtoull(argv[2], NULL, 10);
  const int kinds[] = {SA_ONSTACK, SA_NODEFER, (int)SA_RESETHAND};

  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = first_handler;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGSEGV, &action, NULL) != 0) return 2;
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  if (sigaltstack(&alternate, NULL) != 0) return 2;

  memset(&action, 0, sizeof action);
  action.sa_handler = tick;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, NULL);

  if (!before) coexist_sum(1, 2);
  sigaction(SIGSEGV, NULL, &older);
  if (older.sa_sigaction != first_handler)
    die("the handler of the first runtime is not what sigaction() tells");
  const struct itimerval timer = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &timer, NULL);
  for (unsigned combination = 0; combination < 8; ++combination) {
    flags = 0;
    for (unsigned i = 0; i < 3; ++i) flags |= (combination >> i & 1) ? kinds[i] : 0;
    install_second();
    run(entries / 8);
  }
  const struct itimerval off = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &off, NULL);

  if (seen.first != wanted.first || seen.second != wanted.second || seen.nested != wanted.nested ||
      seen.raw != wanted.raw || seen.ticks == 0 || seen.nested == 0) {
    die("the numbers differ");
  }
  printf(
      "%llu entries, %llu exceptions of the enclave, %llu at its own ENCLU; faults: %llu, nested %llu, "
      "chained %llu; %llu ticks\n",
      (unsigned long long)coexist_entries(), (unsigned long long)coexist_exceptions(),
      (unsigned long long)seen.raw, (unsigned long long)seen.second, (unsigned long long)seen.nested,
      (unsigned long long)seen.first, (unsigned long long)seen.ticks);
  return 0;
}
