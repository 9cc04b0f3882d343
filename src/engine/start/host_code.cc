// SPDX-License-Identifier: Apache-2.0
#include "engine/start/host_code.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <optional>

#include "base/fd_path.h"
#include "engine/calls/call.h"
#include "engine/cpuid/text_writer.h"
#include "engine/cpuid_emulation.h"
#include "engine/decode/decoder.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/front/deep_binding.h"
#include "engine/front/object_symbols.h"
#include "engine/start/alone.h"
#include "engine/start/processor.h"

namespace enclume::engine {

namespace {

constinit HostPatcher patcher;
constinit HostPatchConfig config;
constinit const SiteCache* start_cache = nullptr;
constinit bool patching = false;

constexpr std::size_t kJumpSize = 5;

/// The static program of this process, of which the dynamic linker does not know. From its first instruction
/// on nothing can be asked of the dynamic linker any more: FS is the program's.
constinit dl_phdr_info static_program{};
constinit bool static_program_runs = false;

struct Iteration {
  int (*callback)(dl_phdr_info*, std::size_t, void*);
  void* data;
};

int count_program_in(dl_phdr_info* info, std::size_t size, void* iteration) {
  const auto& next = *static_cast<const Iteration*>(iteration);
  info->dlpi_adds += static_program.dlpi_adds;
  return next.callback(info, size, next.data);
}

int for_each_object(int (*callback)(dl_phdr_info*, std::size_t, void*), void* data) {
  if (static_program_runs) {
    return 0;
  }
  if (static_program.dlpi_phdr == nullptr) {
    return has_libc() ? dl_iterate_phdr(callback, data) : 0;
  }
  if (!has_libc()) {
    return callback(&static_program, sizeof(static_program), data);
  }
  Iteration iteration{callback, data};
  const int result = dl_iterate_phdr(&count_program_in, &iteration);
  return result != 0 ? result : callback(&static_program, sizeof(static_program), data);
}

void refresh() {
  const HostPatchReport report = patcher.refresh();
  if (report.patched_calls != 0 && engine().events.on()) {
    engine().events.emit(trace::RawCalls{report.patched_calls, report.caller.data()});
  }
}

/// Called by the dynamic linker instead of its empty function for debuggers.
void on_link_change() {
  if (_r_debug.r_state == r_debug::RT_CONSISTENT) {
    bind_front_doors();
    refresh();
  }
}

/// The length of the NOP that stands there, as assemblers pad with it; 0 if something else does. Not by the
/// decoder, which is much code for a process's start.
std::size_t length_of_nop(const std::uint8_t* code) {
  std::size_t at = 0;
  while (code[at] == 0x66 || code[at] == 0x2e) {  // at most 15, before what begins no NOP
    if (++at == decode::kMaxInstructionLength) {
      return 0;
    }
  }
  if (code[at] == 0x90) {
    return at + 1;
  }
  if (code[at] != 0x0f || code[at + 1] != 0x1f) {
    return 0;
  }
  switch (code[at + 2]) {  // ModRM, of a memory operand by RAX: displacement and SIB byte
    case 0x00:
      return at + 3;
    case 0x40:
      return at + 4;
    case 0x44:
      return at + 5;
    case 0x80:
      return at + 7;
    case 0x84:
      return at + 8;
    default:
      return 0;
  }
}

/// Where in the function a jump can stand: at its RET, if padding follows that is long enough.
std::optional<std::uint64_t> place_for_jump(std::uint64_t function) {
  constexpr std::array<std::uint8_t, 4> kEndbr64 = {0xf3, 0x0f, 0x1e, 0xfa};
  constexpr std::uint8_t kRet = 0xc3;
  const auto* code = reinterpret_cast<const std::uint8_t*>(function);
  if (std::memcmp(code, kEndbr64.data(), kEndbr64.size()) == 0) {
    code += kEndbr64.size();
  }
  if (*code != kRet) {
    return std::nullopt;  // another linker's, or a debugger's breakpoint is there already
  }
  std::size_t room = 1;
  while (room < kJumpSize) {
    const std::size_t length = length_of_nop(code + room);
    if (length == 0) {
      return std::nullopt;
    }
    room += length;
  }
  return reinterpret_cast<std::uint64_t>(code);
}

/// `address` itself, if that is unknown or far away.
std::uint64_t beginning_of_linker_code(std::uint64_t address) {
  constexpr std::uint64_t kNear = 4 * kPageSize;
  if (config.linker_address == 0) {
    return address;
  }
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(config.linker_address);
  const std::span segments(reinterpret_cast<const Elf64_Phdr*>(config.linker_address + header.e_phoff),
                           header.e_phnum);
  const auto code = ObjectImage(config.linker_address, segments, nullptr).executable_around(address);
  return code && address - code->begin < kNear ? code->begin : address;
}

/// glibc calls the function that _r_debug.r_brk names, which does nothing, after it has mapped new objects
/// and before it relocates them and runs their constructors; and after it has unmapped some.
bool hook_dynamic_linker() {
  const auto place = place_for_jump(_r_debug.r_brk);
  if (!place) {
    return false;
  }
  const std::int64_t distance =
      static_cast<std::int64_t>(reinterpret_cast<std::uint64_t>(&on_link_change) - (*place + kJumpSize));
  const auto distance32 = static_cast<std::int32_t>(distance);
  if (distance32 != distance) {
    return false;
  }
  std::array<std::uint8_t, kJumpSize> jump = {0xe9};
  std::memcpy(&jump[1], &distance32, sizeof(distance32));
  // The first byte last: until then the function still is what it was.
  TextWriter writer(true);
  // From the segment's beginning on, which is near: its mapping is divided in two then and not in three.
  writer.announce(beginning_of_linker_code(*place), *place + kJumpSize - 1, PROT_READ | PROT_EXEC);
  for (std::size_t i = kJumpSize; i-- > 0;) {
    if (!writer.write(*place + i, jump[i], PROT_READ | PROT_EXEC)) {
      return false;
    }
  }
  return true;
}

}  // namespace

HostPatcher& host_patcher() {
  return patcher;
}

bool start_host_code(const HostCodeRequest& request) {
  config.iterate = &for_each_object;
  config.branches = engine().features.amd ? decode::BranchRule::Amd : decode::BranchRule::Intel;
  config.cpuid = request.cpuid;
  config.untrapped_max_leaf = request.untrapped_max_leaf;
  config.traps_call = request.calls ? &concerns_engine : nullptr;
  config.engine_address = reinterpret_cast<std::uint64_t>(&enclume_signal_entry);
  config.linker_address = request.linker_address;
  config.vdso_address = request.vdso_address;
  config.image_address = request.image_address;
  // Not &gnu_get_libc_version: that might be an entry of our own procedure linkage table.
  config.libc_address =
      has_libc() ? reinterpret_cast<std::uint64_t>(next_function_at_start("gnu_get_libc_version")) : 0;
  config.cache = request.cache;
  config.undisturbed = true;  // but for this thread, which runs in the engine
  patcher.configure(config);
  patching = true;
  refresh();
  // A program that is at work may be in a sandbox that no file can be opened from.
  config.cache = nullptr;
  config.undisturbed = false;
  start_cache = request.cache;
  patcher.configure(config);
  return has_libc() && hook_dynamic_linker();
}

void adopt_static_program(std::uint64_t bias, std::span<const Elf64_Phdr> headers, int fd) {
  const FdPath path(fd);
  static_program = {};
  static_program.dlpi_addr = bias;
  static_program.dlpi_name = path.c_str();
  static_program.dlpi_phdr = headers.data();
  static_program.dlpi_phnum = static_cast<Elf64_Half>(headers.size());
  static_program.dlpi_adds = 1;
  config.traps_call = nullptr;
  config.cache = start_cache;
  config.undisturbed = true;
  // With libc there is a debugger, who would wonder at the jumps.
  config.constant_cpuid = has_libc() ? nullptr : &constant_cpuid;
  patcher.configure(config);
  refresh_host_code();
  keep_start_facts();
  static_program = {};
  static_program_runs = true;
}

void refresh_host_code() {
  if (patching) {
    refresh();
  }
}

}  // namespace enclume::engine
