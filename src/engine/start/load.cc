// SPDX-License-Identifier: Apache-2.0
#include "engine/start/load.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/fd_path.h"
#include "base/format.h"
#include "base/syscall.h"
#include "engine/bases.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/front/real.h"
#include "engine/load/auxiliary_vector.h"
#include "engine/load/initial_stack.h"
#include "engine/load/program_file.h"
#include "engine/load/start_program.h"
#include "engine/load/static_image.h"
#include "engine/loaded_program.h"
#include "engine/signals/actions.h"
#include "engine/start/alone.h"
#include "engine/start/host_code.h"
#include "engine/start/machine.h"
#include "engine/start/message.h"
#include "engine/start/program_notes.h"
#include "engine/start/valgrind.h"

namespace enclume::engine {

namespace {

/// How far down the stack is not as the kernel has made it any more; and how far it is cleared for the
/// program, which will use it and would fault for each page anew. So much load() itself takes.
constexpr std::uint64_t kOwnStackUse = 1U << 20;
constexpr std::uint64_t kStackCleared = 2 * kPageSize;

/// What the program was asked for by.
struct Order {
  const char* name;  ///< AT_EXECFN
  const char* file;
  const char* fd;
};

void say(std::string_view name, std::string_view what) {
  std::array<char, 1024> storage;
  LineBuffer line(storage);
  line.text("enclume: ").text(name).text(" ").text(what).text("\n");
  sys::write_all(2, line.view().data(), line.view().size());
}

[[noreturn]] void cannot_run(std::string_view name, std::string_view what) {
  say(name, what);
  sys::exit_group(126);
}

/// "exec_binprm() failed after the point of no return": Linux kills with SIGSEGV then.
[[noreturn]] void die_as_linux_would(std::string_view name, const ImageFailure& failure) {
  std::array<char, 256> storage;
  LineBuffer line(storage);
  line.text("is a damaged static executable: its segments cannot be mapped (error ");
  line.dec(static_cast<int>(failure.error)).text("). Linux kills such a program as it starts");
  say(name, line.view());
  set_kernel_default(SIGSEGV);
  sys::raw(__NR_tgkill, sys::getpid(), sys::gettid(), SIGSEGV);
  sys::exit_group(126);
}

[[noreturn]] void no_room(std::string_view name, LinearRange taken) {
  std::array<char, 512> storage;
  LineBuffer line(storage);
  line.text("must be loaded at ").hex(taken.begin).text(" to ").hex(taken.end);
  line.text(
          ", but in that range lies the stack, the dynamic linker, libc or the engine. These addresses "
          "differ ")
      .text("from run to run (unless randomisation is off), so try again, or link the program elsewhere");
  cannot_run(name, line.view());
}

int open_program(const Order& order) {
  if (order.fd != nullptr) {
    int fd = 0;
    for (const char* digit = order.fd; *digit >= '0' && *digit <= '9'; ++digit) {
      fd = fd * 10 + (*digit - '0');
    }
    return fd;
  }
  const auto fd = sys::call(__NR_openat, AT_FDCWD, order.file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (!fd) {
    cannot_run(order.file, "cannot be opened any more");
  }
  return static_cast<int>(*fd);
}

void remember_path(int fd) {
  std::array<char, 4096> path;
  const auto n = sys::call(__NR_readlinkat, AT_FDCWD, FdPath(fd).c_str(), path.data(), path.size() - 1);
  set_loaded_program({path.data(), n ? static_cast<std::size_t>(*n) : 0});
}

void tell_debugger(const StaticImage& image) {
  enclume_debugger.program = loaded_program().data();
  enclume_debugger.program_bias = image.bias;
  enclume_debugger_event(DebuggerEvent::Loaded, 0);
}

/// What libc has asked of the kernel for this thread; a new program starts without. glibc registers rseq at
/// its start since 2.35, with 32 bytes or with what the kernel has to offer.
void forget_libc_thread(std::span<Elf64_auxv_t> auxv) {
  constexpr std::uint32_t kSignature = 0x53053053;  // RSEQ_SIG on x86
  constexpr int kUnregister = 1;
  if (const void* offset = dlsym(RTLD_DEFAULT, "__rseq_offset"); offset != nullptr) {
    const std::uint64_t area =
        fs_base() + static_cast<std::uint64_t>(*static_cast<const std::ptrdiff_t*>(offset));
    const std::uint64_t* feature_size = auxiliary_value(auxv, AT_RSEQ_FEATURE_SIZE);
    const std::uint64_t largest = align_up(feature_size != nullptr ? *feature_size : 32, 32);
    for (std::uint64_t size = 32; size <= largest; ++size) {
      if (sys::call(__NR_rseq, area, size, kUnregister, kSignature)) {
        break;
      }
    }
  }
  sys::raw(__NR_set_robust_list, 0, 3 * sizeof(std::uint64_t));
  sys::raw(__NR_set_tid_address, 0);
}

/// The kernel's comm: the last component of what was executed.
void set_name(const char* name) {
  const char* last = name;
  for (const char* c = name; *c != '\0'; ++c) {
    if (*c == '/') {
      last = c + 1;
    }
  }
  sys::raw(__NR_prctl, PR_SET_NAME, sys::arg(last));
}

/// enclume-load itself, which the kernel has mapped. Where it ended. Apart, for its table of the size of a
/// page.
[[gnu::noinline]] std::uint64_t unmap_loader(std::span<Elf64_auxv_t> auxv) {
  const std::uint64_t* headers = auxiliary_value(auxv, AT_PHDR);
  const std::uint64_t* count = auxiliary_value(auxv, AT_PHNUM);
  if (headers == nullptr || count == nullptr) {
    return 0;
  }
  std::array<Elf64_Phdr, ProgramFile::kMaxSegments> table;
  const std::size_t n = *count < table.size() ? *count : table.size();
  std::memcpy(table.data(), reinterpret_cast<const void*>(*headers), n * sizeof(Elf64_Phdr));
  const std::uint64_t bias = load_bias({reinterpret_cast<const Elf64_Phdr*>(*headers), n});
  LinearRange run{};  // of segments that follow one another
  const auto unmap_run = [&run] {
    if (run.size() != 0) {
      sys::raw(__NR_munmap, static_cast<long>(run.begin.value()), static_cast<long>(run.size()));
    }
  };
  for (const Elf64_Phdr& segment : std::span(table).first(n)) {
    if (segment.p_type == PT_LOAD && bias != 0) {
      const LinearAddress begin(align_down(bias + segment.p_vaddr, kPageSize));
      const LinearAddress end(align_up(bias + segment.p_vaddr + segment.p_memsz, kPageSize));
      if (run.size() == 0 || begin != run.end) {
        unmap_run();
        run.begin = begin;
      }
      run.end = end;
    }
  }
  unmap_run();
  return run.end.value();
}

std::uint64_t random_word() {
  std::uint64_t word = 0;
  sys::raw(__NR_getrandom, sys::arg(&word), sizeof(word), 0);
  return word;
}

/// kernel.randomize_va_space = 2, and personality(2) does not say otherwise. Most of the time `heap` tells,
/// which is where the kernel has put that of the process, and `loader_end`, the end of the loader's own data:
/// not randomised it is there, or since Linux 6.15 at ELF_ET_DYN_BASE, two thirds up the address space.
bool randomizes_heap(std::uint64_t heap, std::uint64_t loader_end) {
  constexpr std::uint64_t kDynBase = ((1ULL << 47) - kPageSize) / 3 * 2;
  if (heap - loader_end >= 2 * kPageSize && heap - align_down(kDynBase, kPageSize) >= 2 * kPageSize) {
    return true;
  }
  const auto personality = sys::call(__NR_personality, 0xffffffffL);
  if (personality && (*personality & ADDR_NO_RANDOMIZE) != 0) {
    return false;
  }
  const auto fd =
      sys::call(__NR_openat, AT_FDCWD, "/proc/sys/kernel/randomize_va_space", O_RDONLY | O_CLOEXEC);
  char mode = '2';
  if (fd) {
    sys::raw(__NR_read, *fd, sys::arg(&mode), 1);
    sys::raw(__NR_close, *fd);
  }
  return mode == '2';
}

/// Where the heap of the program begins: behind its bss, a random distance away (arch_randomize_brk()). For a
/// static PIE, which lies among the mappings, where the kernel puts the heap of such: in the region of PIEs,
/// which is where the process's heap is.
std::uint64_t heap_start(const ProgramFile& file, const StaticImage& image, std::uint64_t loader_end) {
  constexpr std::uint64_t kRange = 1ULL << 30;  // 32 MiB before Linux 6.9
  const std::uint64_t heap = align_up(static_cast<std::uint64_t>(sys::raw(__NR_brk)), kPageSize);
  if (file.header.e_type == ET_DYN) {
    return heap;
  }
  const std::uint64_t end = align_up(image.end, kPageSize);
  return randomizes_heap(heap, loader_end) ? end + kPageSize + random_word() % kRange / kPageSize * kPageSize
                                           : end;
}

/// What the kernel keeps of a program for /proc, core files, debuggers and brk(2). Kernels without
/// CONFIG_CHECKPOINT_RESTORE refuse it; only who has CAP_CHECKPOINT_RESTORE may set the executable. Whether
/// it knows that, too.
bool tell_kernel(int fd, const ProgramFile& file, const StaticImage& image, const StackStrings& strings,
                 const KernelStack& stack, std::uint64_t loader_end) {
  const std::span<Elf64_auxv_t> auxv = stack.auxv();
  const std::uint64_t heap = heap_start(file, image, loader_end);
  prctl_mm_map map{};
  map.start_code = image.start_code;
  map.end_code = image.end_code;
  map.start_data = image.start_data;
  map.end_data = image.end_data;
  map.start_brk = heap;
  map.brk = heap;
  map.start_stack = reinterpret_cast<std::uint64_t>(stack.words);
  map.arg_start = strings.arg_start;
  map.arg_end = strings.arg_end;
  map.env_start = strings.env_start;
  map.env_end = strings.env_end;
  map.auxv = reinterpret_cast<__u64*>(auxv.data());
  map.auxv_size = static_cast<__u32>(auxv.size_bytes());
  const auto told = [&map](std::uint32_t executable) {
    map.exe_fd = executable;
    return sys::call(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map)).has_value();
  };
  const auto executable = static_cast<std::uint32_t>(fd);
  constexpr std::uint32_t kAsItIs = ~0U;
  if (told(executable)) {
    return true;
  }
  if (told(kAsItIs) || map.start_brk > map.end_data) {
    return false;
  }
  // Before Linux 5.14 the heap has to lie behind the data, which that of a static PIE does not. Nothing reads
  // where the data are.
  map.start_data = map.start_brk - kPageSize;
  map.end_data = map.start_data;
  if (told(executable)) {
    return true;
  }
  (void)told(kAsItIs);
  return false;
}

void set_auxiliary(std::span<Elf64_auxv_t> auxv, std::uint64_t type, std::uint64_t value) {
  if (std::uint64_t* entry = auxiliary_value(auxv, type); entry != nullptr) {
    *entry = value;
  }
}

/// Whether a tracer has asked for a stop, as the program must not see.
bool take_stop(std::span<Elf64_auxv_t> auxv) {
  std::uint64_t* flags = auxiliary_value(auxv, AT_FLAGS);
  return flags != nullptr && std::exchange(*flags, 0) == kStopAtProgram;
}

void describe_program(std::span<Elf64_auxv_t> auxv, const ProgramFile& file, const StaticImage& image,
                      const char* name) {
  set_auxiliary(auxv, AT_PHDR, image.headers);
  set_auxiliary(auxv, AT_PHNUM, file.header.e_phnum);
  set_auxiliary(auxv, AT_ENTRY, image.entry);
  set_auxiliary(auxv, AT_BASE, 0);
  set_auxiliary(auxv, AT_EXECFN, reinterpret_cast<std::uint64_t>(name));
  // libc has made its canary of these.
  if (const std::uint64_t* random = auxiliary_value(auxv, AT_RANDOM); has_libc() && random != nullptr) {
    for (const std::uint64_t place : {*random, *random + sizeof(std::uint64_t)}) {
      const std::uint64_t word = random_word();
      std::memcpy(reinterpret_cast<void*>(place), &word, sizeof(word));
    }
  }
}

/// The legacy region and the header of an XSAVE area that says of each component that it is in its initial
/// state: all that XRSTOR and FXRSTOR read.
struct alignas(64) InitialXsaveArea {
  std::uint16_t fcw = 0x37f;
  std::array<std::byte, 22> before{};
  std::uint32_t mxcsr = 0x1f80;
  std::array<std::byte, 612> rest{};
};
static_assert(offsetof(InitialXsaveArea, mxcsr) == 24 && sizeof(InitialXsaveArea) >= 576);
constexpr InitialXsaveArea kInitialXsaveArea;

/// Makes segments end where the file does: what lies behind can't be looked through, it raises SIGBUS.
void end_with_file(std::span<Elf64_Phdr> segments, int fd) {
  const auto size = sys::call(__NR_lseek, fd, 0, SEEK_END);
  const std::uint64_t end = size ? align_up(static_cast<std::uint64_t>(*size), kPageSize) : 0;
  for (Elf64_Phdr& segment : segments) {
    const std::uint64_t there = segment.p_offset < end ? end - segment.p_offset : 0;
    if (segment.p_filesz > there) {
      segment.p_filesz = there;
      segment.p_memsz = there;
    }
  }
}

[[noreturn]] void load(const KernelStack& given, const Order& order) {
  ProgramFile file;
  const int fd = open_program(order);
  if (const auto read = read_program_file(fd, file); !read || file.kind != ProgramKind::Static) {
    cannot_run(order.name, "is not a static executable any more");
  }
  const auto image = map_static_image(fd, file);
  if (!image) {
    if (image.error().taken.size() != 0) {
      no_room(order.name, image.error().taken);
    }
    die_as_linux_would(order.name, image.error());
  }
  end_with_file(std::span(file.table).first(file.header.e_phnum), fd);
  adopt_static_program(image->bias, file.segments(), fd);
  if (has_libc()) {  // else no debugger looks on
    remember_path(fd);
    tell_debugger(*image);
  }
  if (image->executable_stack) {
    const std::uint64_t page = align_down(reinterpret_cast<std::uint64_t>(given.words), kPageSize);
    sys::raw(__NR_mprotect, static_cast<long>(page), kPageSize,
             PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN);
  }
  if (has_libc()) {
    forget_libc_thread(given.auxv());
  }
  set_name(order.name);
  const StackStrings strings = find_strings(given);
  const std::uint64_t loader_end = unmap_loader(given.auxv());
  const KernelStack stack = strip_stack(given);
  const bool stops = take_stop(stack.auxv());
  describe_program(stack.auxv(), file, *image, order.name);
  if (tell_kernel(fd, file, *image, strings, stack, loader_end)) {
    kernel_knows_loaded_program();
  } else if (!has_libc()) {
    remember_path(fd);  // only now: it is the process's first file in /proc, which costs more than later ones
  }
  sys::raw(__NR_close, fd);

  constexpr std::uint64_t kPkru = 1U << 9;  // stays as the kernel and the engine have set it
  const auto sp = reinterpret_cast<std::uint64_t>(stack.words);
  const std::uint64_t stack_end = align_down(sp, kPageSize) - kStackCleared;
  const ProgramStart start{.sp = sp,
                           .entry = image->entry,
                           .stack_low = stack_end - kOwnStackUse,
                           .stack_end = stack_end,
                           .xstate = machine_xstate() & ~kPkru,
                           .xsave_area = &kInitialXsaveArea,
                           .stops = stops ? 1U : 0U};
  if (!engine().watch_raw_calls()) {
    warn(engine().features.user_dispatch
             ? "there is not enough memory for the engine's part of a thread (ulimit -v or -d?), so the "
               "system "
               "calls of this static program can't be seen: it finds no SGX device"
             : "this kernel lacks syscall user dispatch (Linux 5.11 and newer have it), so the system calls "
               "of a "
               "static program can't be seen: it finds no SGX device");
  }
  set_bases(0, 0);
  enclume_start_program(&start);
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported name below is C's

ENCLUME_EXPORT void enclume_load_program(char** argv) {
  if (!engine().active) {
    return;
  }
  const KernelStack stack{reinterpret_cast<std::uint64_t*>(argv) - 1};
  Order order{load_variable(stack, kLoadName), load_variable(stack, kLoadFile),
              load_variable(stack, kLoadFd)};
  if (order.name == nullptr) {
    return;
  }
  if (order.file == nullptr) {
    order.file = order.name;
  }
  if (is_valgrind(stack, order.name)) {
    refuse_valgrind();
  }
  load(stack, order);
}
