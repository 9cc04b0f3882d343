// SPDX-License-Identifier: Apache-2.0
#include "engine/start/host_cpuid.h"

#include <link.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <optional>

#include "engine/cpuid/text_writer.h"
#include "engine/decode/decoder.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {

constinit HostCpuidPatcher patcher;
constinit bool patching = false;

constexpr std::size_t kJumpSize = 5;

/// Called by the dynamic linker instead of its empty function for debuggers.
void on_link_change() {
  if (_r_debug.r_state == r_debug::RT_CONSISTENT) {
    patcher.refresh();
  }
}

bool is_nop(const decode::Instruction& in) {
  using decode::OpcodeMap;
  return in.encoding == decode::Encoding::Legacy && ((in.map == OpcodeMap::OneByte && in.opcode == 0x90) ||
                                                     (in.map == OpcodeMap::Map0F && in.opcode == 0x1f));
}

/// Where in the function a jump can stand: at its RET, if padding follows that is long enough.
std::optional<std::uint64_t> place_for_jump(std::uint64_t function) {
  constexpr std::array<std::uint8_t, 4> kEndbr64 = {0xf3, 0x0f, 0x1e, 0xfa};
  constexpr std::byte kRet{0xc3};
  const auto* code = reinterpret_cast<const std::byte*>(function);
  if (std::memcmp(code, kEndbr64.data(), kEndbr64.size()) == 0) {
    code += kEndbr64.size();
  }
  if (*code != kRet) {
    return std::nullopt;  // another linker's, or a debugger's breakpoint is there already
  }
  std::size_t room = 1;
  while (room < kJumpSize) {
    const auto in = decode::decode({code + room, decode::kMaxInstructionLength});
    if (!in || !is_nop(*in)) {
      return std::nullopt;
    }
    room += in->length;
  }
  return reinterpret_cast<std::uint64_t>(code);
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
  TextWriter writer;
  for (std::size_t i = kJumpSize; i-- > 0;) {
    if (!writer.write(*place + i, jump[i], PROT_READ | PROT_EXEC)) {
      return false;
    }
  }
  return true;
}

}  // namespace

HostCpuidPatcher& host_cpuid() {
  return patcher;
}

bool start_host_cpuid(std::uint64_t linker_address, std::uint64_t vdso_address) {
  HostPatchConfig config;
  config.iterate = &dl_iterate_phdr;
  config.branches = engine().features.amd ? decode::BranchRule::Amd : decode::BranchRule::Intel;
  config.engine_address = reinterpret_cast<std::uint64_t>(&enclume_signal_entry);
  config.linker_address = linker_address;
  config.vdso_address = vdso_address;
  patcher.configure(config);
  patching = true;
  patcher.refresh();
  return hook_dynamic_linker();
}

void refresh_host_cpuid() {
  if (patching) {
    patcher.refresh();
  }
}

}  // namespace enclume::engine
