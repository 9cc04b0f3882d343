// SPDX-License-Identifier: Apache-2.0
// A program without libc that tells in what state it was started. The tests compare what it says when Linux
// starts it with what it says under `enclume run`, so it tells nothing that differs from run to run.
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>

typedef uint64_t u64;

static long call(long nr, long a, long b, long c, long d, long e) {
  long ret;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(ret)
                   : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return ret;
}

// The state at the first instruction, by _start.
struct Entry {
  u64 registers[16];
  u64 rsp;
  u64 flags;
  u64 fs;
  u64 gs;
  uint32_t mxcsr;
  uint16_t fcw;
  uint16_t fsw;
  uint16_t ftw;
  u64 xmm15[2];
};
__attribute__((visibility("hidden"))) struct Entry entry_state;
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));
extern void _start(void) __attribute__((visibility("hidden")));
static char zeros[100000];  // a bss of several pages
static int initialised = 42;

__asm__(
    ".text\n.globl _start\n_start:\n"
    "mov %rax, entry_state(%rip)\n mov %rbx, entry_state+8(%rip)\n mov %rcx, entry_state+16(%rip)\n"
    "mov %rdx, entry_state+24(%rip)\n mov %rsi, entry_state+32(%rip)\n mov %rdi, entry_state+40(%rip)\n"
    "mov %rbp, entry_state+48(%rip)\n mov %r8, entry_state+56(%rip)\n mov %r9, entry_state+64(%rip)\n"
    "mov %r10, entry_state+72(%rip)\n mov %r11, entry_state+80(%rip)\n mov %r12, entry_state+88(%rip)\n"
    "mov %r13, entry_state+96(%rip)\n mov %r14, entry_state+104(%rip)\n mov %r15, entry_state+112(%rip)\n"
    "mov %rsp, entry_state+128(%rip)\n"
    "stmxcsr entry_state+160(%rip)\n fnstcw entry_state+164(%rip)\n fnstsw entry_state+166(%rip)\n"
    "movdqu %xmm15, entry_state+176(%rip)\n"
    "mov %rsp, %rdi\n lea entry_flags(%rip), %rax\n jmp *%rax\n"
    "entry_flags: pushfq\n pop entry_state+136(%rip)\n and $-16, %rsp\n call tell\n hlt\n");

static char line[8192];
static size_t used;

static void put(const char* s) {
  while (*s != 0 && used < sizeof(line)) {
    line[used++] = *s++;
  }
}
static void put_hex(u64 v) {
  char digits[17];
  int n = 16;
  digits[16] = 0;
  do {
    digits[--n] = "0123456789abcdef"[v & 15];
    v >>= 4;
  } while (v != 0);
  put(digits + n);
}
static void end_line(void) {
  put("\n");
  call(__NR_write, 1, (long)line, (long)used, 0, 0);
  used = 0;
}
static void say(const char* what, u64 value) {
  put(what);
  put(" ");
  put_hex(value);
  end_line();
}
static void say_text(const char* what, const char* text) {
  put(what);
  put(" ");
  put(text);
  end_line();
}

static void say_file(const char* name) {
  static char buffer[4096];
  const long fd = call(__NR_open, (long)name, 0, 0, 0, 0);
  const long n = call(__NR_read, fd, (long)buffer, sizeof(buffer) - 1, 0, 0);
  call(__NR_close, fd, 0, 0, 0, 0);
  for (long i = 0; i < n; ++i) {
    if (buffer[i] == 0) {
      buffer[i] = '|';
    }
  }
  buffer[n > 0 ? n : 0] = 0;
  say_text(name, buffer);
}

static int begins(const char* text, const char* with) {
  while (*with != 0) {
    if (*text++ != *with++) {
      return 0;
    }
  }
  return 1;
}

static void say_auxiliary(const Elf64_auxv_t* entry) {
  const u64 value = entry->a_un.a_val;
  put("auxv ");
  put_hex(entry->a_type);
  put(" ");
  switch (entry->a_type) {
    case AT_SYSINFO_EHDR:
      put(begins((const char*)value, "\177ELF") ? "an ELF header" : "nothing");
      break;
    case AT_RANDOM:
      put(((const u64*)value)[0] != 0 && ((const u64*)value)[1] != 0 ? "random" : "zero");
      break;
    case AT_EXECFN:
    case AT_PLATFORM:
      put((const char*)value);
      break;
    case AT_PHDR:
      put_hex(value - (u64)__ehdr_start);
      break;
    case AT_ENTRY:
      put_hex(value - (u64)&_start);
      break;
    default:
      put_hex(value);
      break;
  }
  end_line();
}

__attribute__((visibility("hidden"), used, noreturn)) void tell(const u64* sp) {
  for (int i = 0; i < 15; ++i) {
    say("register", entry_state.registers[i]);
  }
  say("rsp modulo 16", entry_state.rsp % 16);
  say("flags", entry_state.flags & ~0x200000ULL);
  call(__NR_arch_prctl, 0x1003, (long)&entry_state.fs, 0, 0, 0);
  call(__NR_arch_prctl, 0x1004, (long)&entry_state.gs, 0, 0, 0);
  say("fs", entry_state.fs);
  say("gs", entry_state.gs);
  say("mxcsr", entry_state.mxcsr);
  say("fcw", entry_state.fcw);
  say("fsw", entry_state.fsw);
  say("xmm15", entry_state.xmm15[0] | entry_state.xmm15[1]);
  u64 dirty = 0;
  for (size_t i = 64; i < 512; ++i) {
    dirty |= sp[-(long)i];  // further down than this program itself has been
  }
  say("below the stack", dirty);

  say("argc", *sp++);
  while (*sp != 0) {
    say_text("argument", (const char*)*sp++);
  }
  ++sp;
  while (*sp != 0) {
    say_text("variable", (const char*)*sp++);
  }
  ++sp;
  const Elf64_auxv_t* auxv = (const Elf64_auxv_t*)sp;
  for (; auxv->a_type != AT_NULL; ++auxv) {
    say_auxiliary(auxv);
  }

  u64 set = 0;
  for (size_t i = 0; i < sizeof(zeros); ++i) {
    set |= (u64)zeros[i];
  }
  say("bss", set);
  say("data", (u64)initialised);
  zeros[sizeof(zeros) - 1] = 1;

  const Elf64_Ehdr* header = (const Elf64_Ehdr*)__ehdr_start;
  const Elf64_Phdr* segment = (const Elf64_Phdr*)(__ehdr_start + header->e_phoff);
  u64 alignment = 4096;
  for (int i = 0; i < header->e_phnum; ++i) {
    if (segment[i].p_type == PT_LOAD && segment[i].p_align > alignment) {
      alignment = segment[i].p_align;
    }
  }
  say("base modulo alignment", (u64)__ehdr_start % alignment);

  const u64 heap = (u64)call(__NR_brk, 0, 0, 0, 0, 0);
  say("heap modulo page", heap % 4096);
  if ((u64)__ehdr_start == 0x400000) {
    say("heap behind bss", heap >= (u64)_end && heap - (u64)_end <= 0x40002000);
  }
  const u64 grown = (u64)call(__NR_brk, (long)(heap + 0x100000), 0, 0, 0, 0);
  say("heap grows", grown - heap);
  *(volatile char*)(heap + 0xfffff) = 1;

  u64 head = 1;
  u64 size = 0;
  call(__NR_get_robust_list, 0, (long)&head, (long)&size, 0, 0);
  say("robust list", head);
  u64 tid_address = 1;
  call(__NR_prctl, 40 /* PR_GET_TID_ADDRESS */, (long)&tid_address, 0, 0, 0);
  say("tid address", tid_address);
  static uint32_t area[8] __attribute__((aligned(32)));
  say("rseq", (u64)call(__NR_rseq, (long)area, 32, 0, 0x53053053, 0));

  static char path[4096];
  const long n = call(__NR_readlink, (long)"/proc/self/exe", (long)path, sizeof(path) - 1, 0, 0);
  path[n > 0 ? n : 0] = 0;
  say_text("executable", path);
  say_file("/proc/self/comm");
  say_file("/proc/self/cmdline");
  say_file("/proc/self/environ");
  call(__NR_exit_group, 7, 0, 0, 0, 0);
  __builtin_unreachable();
}
