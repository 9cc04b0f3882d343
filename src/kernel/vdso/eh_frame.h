// SPDX-License-Identifier: Apache-2.0
// Writes .eh_frame and .eh_frame_hdr (LSB Core, "Exception Frames") for functions of one image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel/vdso/elf_bytes.h"

namespace enclume::kernel {

/// A function to describe. Offsets are from the start of the image, which is where the writer began.
struct FrameFunction {
  std::size_t code = 0;
  std::size_t size = 0;
  /// Call frame instructions after the CIE's: CFA = RSP + 8, return address at CFA - 8. Empty for a function
  /// that never touches the stack.
  std::span<const std::byte> cfi;
  bool interrupts = false;  ///< a signal frame: what its rules lead to has been interrupted, and made no call
  std::size_t fde = 0;      ///< Out: where its FDE is.
};

/// Appends .eh_frame, with one CIE for each kind of function, one FDE a function and the terminator, and
/// fills in each `fde`. Signal context: safe.
void write_eh_frame(ByteWriter& out, std::span<FrameFunction> functions) noexcept;

/// Appends .eh_frame_hdr with its search table. `functions` must be in ascending order of `code` and have
/// been through write_eh_frame(). Signal context: safe.
void write_eh_frame_hdr(ByteWriter& out, std::size_t eh_frame,
                        std::span<const FrameFunction> functions) noexcept;

}  // namespace enclume::kernel
