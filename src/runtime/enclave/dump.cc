// SPDX-License-Identifier: Apache-2.0
#include "runtime/enclave/dump.h"

#include "enclume/edge/dump.h"
#include "enclume/enclave/memory.h"
#include "runtime/enclave/self.h"

namespace enclume::enclave {
namespace {

constexpr std::uint64_t kEreport = 0;
constexpr std::size_t kReportAttributes = 48;  // SDM volume 3D, "Report (REPORT)"
constexpr std::uint64_t kAttributeDebug = 2;

bool is_debug = false;

// What may go out: kDump*.
std::uint64_t allowed() {
  if (is_debug || (enclume_config.flags & edge::kFlagDumpRegisters) != 0)
    return edge::kDumpBacktrace | edge::kDumpRegisters;
  return (enclume_config.flags & edge::kFlagDumpBacktrace) != 0 ? edge::kDumpBacktrace : 0;
}

bool is_code(std::uint64_t address) {
  return address >= base() && address < address_of(enclume_image_end);
}

// The part of a stack of this thread in which `rbp` can be a frame pointer: above RSP, since what is there
// has been written to. RSP itself may have left its stack.
struct Range {
  std::uint64_t begin, end;
};
Range stack_of(std::uint64_t rsp, std::uint64_t rbp) {
  const edge::ThreadBlock& thread = this_thread();
  const Range stacks[] = {{thread.stack_bottom, base() + thread.seed_stack_top},
                          {base() + thread.seed_alt_end, base() + thread.seed_alt_top}};
  for (const Range& stack : stacks) {
    if (rbp < stack.begin || rbp >= stack.end) continue;
    return {rsp > stack.begin ? rsp : stack.begin, stack.end};
  }
  return {0, 0};
}

// Follows the frame pointers: upwards only, within the stack, as long as they lead to code of the image.
// `each` gets each return address and says whether it wants another.
template <typename F>
void walk(const Registers& registers, F each) {
  std::uint64_t rbp = registers.rbp;
  Range range = stack_of(registers.rsp, rbp);
  while (rbp % 8 == 0 && rbp >= range.begin && rbp < range.end && range.end - rbp >= 16) {
    const auto* const frame = reinterpret_cast<const std::uint64_t*>(rbp);
    if (!is_code(frame[1]) || !each(frame[1])) return;
    range.begin = rbp + 16;
    rbp = frame[0];
  }
}

}  // namespace

void learn_whether_debug() noexcept {
  // All zeros are a valid TARGETINFO; nobody is to verify the report.
  alignas(512) static std::byte target[512], report[512];
  alignas(128) static std::byte data[64];
  asm volatile(".byte 0x0f, 0x01, 0xd7"
               :
               : "a"(kEreport), "b"(target), "c"(data), "d"(report)
               : "cc", "memory");
  std::uint64_t attributes;
  __builtin_memcpy(&attributes, report + kReportAttributes, sizeof attributes);
  is_debug = (attributes & kAttributeDebug) != 0;
}

void dump(const Exception& exception, std::uint64_t level, std::uint64_t records) noexcept {
  std::uint64_t contents = allowed();
  const std::uint64_t bytes = enclume_config.frames * sizeof(edge::DumpRecord);
  if (contents == 0 || records == 0 || records % 8 != 0 || level >= enclume_config.frames ||
      !is_outside(records, bytes)) {
    return;
  }
  const std::uint64_t record = records + level * sizeof(edge::DumpRecord);
  const auto put = [&](std::size_t offset, std::uint64_t value) { copy_out(record + offset, &value, 8); };
  put(offsetof(edge::DumpRecord, vector), exception.vector);
  if ((contents & edge::kDumpRegisters) != 0) {
    copy_out(record + offsetof(edge::DumpRecord, registers), &exception.registers, sizeof(Registers));
    if (exception.address) {
      contents |= edge::kDumpAddress;
      put(offsetof(edge::DumpRecord, address), *exception.address);
      put(offsetof(edge::DumpRecord, error_code), exception.error_code);
    }
  }
  std::uint64_t depth = 0;
  const auto add = [&](std::uint64_t address) {
    put(offsetof(edge::DumpRecord, frames) + 8 * depth, address);
    return ++depth < edge::kMaxDumpFrames;
  };
  add(exception.registers.rip);
  walk(exception.registers, add);
  put(offsetof(edge::DumpRecord, depth), depth);
  put(offsetof(edge::DumpRecord, contents), contents);
}

}  // namespace enclume::enclave
