// SPDX-License-Identifier: Apache-2.0
#include "kernel/vdso/eh_frame.h"

#include <algorithm>
#include <array>

namespace enclume::kernel {
namespace {

// Pointer encodings (LSB Core, "DWARF Exception Header Encoding").
constexpr std::uint8_t kUdata4 = 0x03;
constexpr std::uint8_t kPcRelativeSdata4 = 0x10 | 0x0b;
constexpr std::uint8_t kTableRelativeSdata4 = 0x30 | 0x0b;

constexpr std::size_t kRecordAlignment = 8;

/// The CIE after its length field. cfi_macros.inc counts on these factors and rules.
// clang-format off
constexpr std::array<std::uint8_t, 18> kCie = {
    0, 0, 0, 0,         // CIE, not FDE
    1,                  // version
    'z', 'R', '\0',     // augmentation: has data, which is the pointer encoding
    1,                  // code alignment factor
    0x78,               // data alignment factor, SLEB128 -8
    16,                 // return address column
    1,                  // augmentation data length
    kPcRelativeSdata4,  // of the FDEs' start addresses
    0x0c, 7, 8,         // DW_CFA_def_cfa RSP + 8
    0x90, 1,            // DW_CFA_offset return address, CFA - 8
};
/// The same for signal frames.
constexpr std::array<std::uint8_t, 19> kInterruptingCie = {
    0, 0, 0, 0,
    1,
    'z', 'R', 'S', '\0',
    1,
    0x78,
    16,
    1,
    kPcRelativeSdata4,
    0x0c, 7, 8,
    0x90, 1,
};
// clang-format on

/// `to` as seen from a field at `from`, both offsets in one image.
std::int32_t relative(std::size_t to, std::size_t from) {
  return static_cast<std::int32_t>(static_cast<std::int64_t>(to) - static_cast<std::int64_t>(from));
}

/// Reserves a record's length field; the record is closed by end_record().
std::size_t begin_record(ByteWriter& out) {
  const std::size_t length_field = out.place();
  out.put(std::uint32_t{0});
  return length_field;
}

/// Pads with DW_CFA_nop (0) and fills in the length, which does not count itself.
void end_record(ByteWriter& out, std::size_t length_field) {
  out.align(kRecordAlignment);
  out.patch(length_field, static_cast<std::uint32_t>(out.place() - length_field - sizeof(std::uint32_t)));
}

}  // namespace

void write_eh_frame(ByteWriter& out, std::span<FrameFunction> functions) noexcept {
  const std::size_t cie = begin_record(out);
  out.put(kCie);
  end_record(out, cie);
  std::size_t interrupting_cie = 0;
  if (std::ranges::any_of(functions, &FrameFunction::interrupts)) {
    interrupting_cie = begin_record(out);
    out.put(kInterruptingCie);
    end_record(out, interrupting_cie);
  }
  for (FrameFunction& function : functions) {
    function.fde = begin_record(out);
    out.put(static_cast<std::uint32_t>(out.place() - (function.interrupts ? interrupting_cie : cie)));
    out.put(relative(function.code, out.place()));
    out.put(static_cast<std::uint32_t>(function.size));
    out.put(std::uint8_t{0});  // no augmentation data
    out.bytes(function.cfi);
    end_record(out, function.fde);
  }
  out.put(std::uint32_t{0});
}

void write_eh_frame_hdr(ByteWriter& out, std::size_t eh_frame,
                        std::span<const FrameFunction> functions) noexcept {
  const std::size_t start = out.place();
  out.put(std::array<std::uint8_t, 4>{1, kPcRelativeSdata4, kUdata4, kTableRelativeSdata4});
  out.put(relative(eh_frame, out.place()));
  out.put(static_cast<std::uint32_t>(functions.size()));
  for (const FrameFunction& function : functions) {
    out.put(relative(function.code, start));
    out.put(relative(function.fde, start));
  }
}

}  // namespace enclume::kernel
