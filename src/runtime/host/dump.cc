// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/dump.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "enclume/edge/dump.h"

namespace enclume {
namespace host {

Dump::Level read_record(const edge::DumpRecord& record, std::uint64_t base) {
  Dump::Level level;
  level.vector = static_cast<std::uint8_t>(record.vector);
  if ((record.contents & edge::kDumpRegisters) != 0) {
    level.registers = record.registers;
    if ((record.contents & edge::kDumpAddress) != 0) {
      level.address = record.address;
      level.error_code = static_cast<std::uint32_t>(record.error_code);
    }
  }
  const std::uint64_t depth = std::min<std::uint64_t>(record.depth, edge::kMaxDumpFrames);
  for (std::uint64_t i = 0; i < depth; ++i) level.frames.push_back(record.frames[i] - base);
  return level;
}

std::vector<Dump::Level> take_records(std::span<edge::DumpRecord> records, std::uint64_t base) {
  std::vector<Dump::Level> levels;
  for (edge::DumpRecord& record : records) {
    if (record.contents != 0) levels.push_back(read_record(record, base));
    record.contents = 0;
  }
  return levels;
}

}  // namespace host

namespace {

std::string_view name_of(std::uint8_t vector) {
  switch (vector) {
    case 0:
      return "#DE, divide error";
    case 1:
      return "#DB, debug exception";
    case 3:
      return "#BP, breakpoint";
    case 5:
      return "#BR, bound range";
    case 6:
      return "#UD, undefined instruction";
    case 13:
      return "#GP, general protection";
    case 14:
      return "#PF, page fault";
    case 16:
      return "#MF, x87";
    case 17:
      return "#AC, alignment check";
    case 19:
      return "#XM, SIMD";
    case 21:
      return "#CP, control protection";
    default:
      return "unknown";
  }
}

template <typename... A>
void append(std::string& text, const char* format, A... arguments) {
  char line[160];
  std::snprintf(line, sizeof line, format, arguments...);
  text += line;
}

void append_registers(std::string& text, const Registers& r) {
  const struct {
    const char* name;
    std::uint64_t value;
  } all[] = {{"rax", r.rax}, {"rbx", r.rbx}, {"rcx", r.rcx},   {"rdx", r.rdx}, {"rsi", r.rsi},
             {"rdi", r.rdi}, {"rbp", r.rbp}, {"rsp", r.rsp},   {"r8", r.r8},   {"r9", r.r9},
             {"r10", r.r10}, {"r11", r.r11}, {"r12", r.r12},   {"r13", r.r13}, {"r14", r.r14},
             {"r15", r.r15}, {"rip", r.rip}, {"rfl", r.rflags}};
  for (std::size_t i = 0; i < std::size(all); ++i) {
    append(text, "  %3s %016lx%s", all[i].name, all[i].value,
           i % 4 == 3 || i + 1 == std::size(all) ? "\n" : "");
  }
}

}  // namespace

std::string to_text(const Dump& dump, const Symbolizer* symbolizer) {
  std::unique_ptr<Symbolizer> own;
  if (symbolizer == nullptr) {
    own = symbols_of(dump.image);
    symbolizer = own.get();
  }
  std::string text = "enclave " + dump.image;
  append(text, " at %#lx:\n", dump.base);
  for (const Dump::Level& level : dump.levels) {
    text += &level == dump.levels.data() ? "exception " : "in its handler, exception ";
    append(text, "%u (%.*s)", unsigned{level.vector}, static_cast<int>(name_of(level.vector).size()),
           name_of(level.vector).data());
    if (level.address) append(text, ", address %#lx, error code %#x", *level.address, level.error_code);
    text += '\n';
    if (level.registers) append_registers(text, *level.registers);
    for (std::size_t i = 0; i < level.frames.size(); ++i) {
      const std::uint64_t offset = level.frames[i];
      append(text, "  #%zu %#lx", i, offset);
      // A return address is behind its call, which may be the last instruction of its function.
      const std::string place =
          symbolizer == nullptr ? "" : symbolizer->describe(i == 0 ? offset : offset - 1);
      if (!place.empty()) text += " " + place;
      text += '\n';
    }
  }
  return text;
}

void print_dump(const Dump& dump) {
  const std::string text = to_text(dump);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace enclume
