// SPDX-License-Identifier: Apache-2.0
// Makes the vDSO image that a program sees under Enclume: all that the machine's own vDSO offers, and our
// function to enter enclaves by. A pure function from bytes to bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include "base/types.h"
#include "kernel/vdso/entry_code.h"
#include "kernel/vdso/image_layout.h"
#include "kernel/vdso/machine_vdso.h"

namespace enclume::kernel {

/// A buffer of this many bytes holds any image that the limits allow.
inline constexpr std::size_t kMaxVdsoImageSize = 64 * 1024;
inline constexpr std::size_t kMaxEntryCodeSize = 8 * 1024;
/// Where in the image the entry function begins (image_layout.h), whatever else there is.
inline constexpr std::size_t kVdsoEntryOffset = ENCLUME_VDSO_ENTRY_OFFSET;

inline constexpr std::size_t kVdsoGateSize = 4;

struct VdsoOptions {
  /// The one function to enter enclaves by; nothing: the image has none.
  std::optional<EntryCode> entry = enter_enclave_code();
  /// Where it goes in place of its ENCLU (EntryCode::direct): an address of this address space, 0: nowhere
  /// else.
  LinearAddress direct_entry{};
  /// Not 0: the function is there already, outside this image, which only tells of it.
  LinearAddress entry_elsewhere{};
  /// Not empty: the image has SYSCALL, NOP, RET behind its functions, with these call frame instructions (to
  /// be read as FrameFunction::cfi, in a signal frame). No symbol leads there.
  std::span<const std::byte> gate_cfi{};
};

/// Offsets in bytes from the start of the image.
struct VdsoImage {
  std::size_t size = 0;         ///< Whole pages.
  std::size_t enter = 0;        ///< The entry function. This and the rest are 0 in an image that has none.
  std::size_t enclu = 0;        ///< Its ENCLU: the only place at which the kernel's table has an entry.
  std::size_t direct_slot = 0;  ///< The quadword with VdsoOptions::direct_entry; 0: there is none.
  std::size_t fixup = 0;       ///< Where that entry leads: RAX leaf, RDI vector, RSI error code, RDX address.
  std::size_t slots = 0;       ///< The quadwords with addresses of the machine's vDSO, one behind the other,
  std::size_t slot_count = 0;  ///< and how many there are.
  bool movable = false;        ///< No other place has such an address.
  std::size_t gate = 0;        ///< The SYSCALL of VdsoOptions::gate_cfi; 0: there is none.
};

/// Writes the image to `out`, from `machine_vdso` (whole, see vdso_size()), which the machine has mapped at
/// `machine_address`. Every symbol of the machine's is carried with its type, binding and version: functions
/// as stubs that jump to the machine's with all registers and the stack untouched, absolute symbols as they
/// are, data as absolute addresses. An enter function of the machine's own is left out, since the kernel, not
/// the engine, would see its faults.
///
/// The image is one ELF shared object without relocations, one segment, not writable. It works mapped at any
/// page with AT_SYSINFO_EHDR pointing to it, and dlopen()ed from a file (glibc 2.35 or later). It is good for
/// one address space: it holds addresses of the machine's vDSO. Signal context: safe (about 24 KiB of stack).
[[nodiscard]] std::expected<VdsoImage, VdsoError> build_vdso_image(std::span<const std::byte> machine_vdso,
                                                                   LinearAddress machine_address,
                                                                   const VdsoOptions& options,
                                                                   std::span<std::byte> out) noexcept;

/// Makes a movable image that was built for another address space good for this one, in which the same vDSO
/// lies `distance` bytes further up, and the place that its function goes to at `direct_entry`. Signal
/// context: safe.
void move_vdso_image(const VdsoImage& image, std::uint64_t distance, LinearAddress direct_entry,
                     std::span<std::byte> bytes) noexcept;

}  // namespace enclume::kernel
