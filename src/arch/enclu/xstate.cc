// SPDX-License-Identifier: Apache-2.0
#include "arch/enclu/xstate.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace enclume::arch {

namespace {

// MXCSR_MASK = 0 in an image stands for this (SDM Vol. 1, 11.6.6).
constexpr std::uint32_t kDefaultMxcsrMask = 0xffbf;

// SDM Vol. 3D, "Synthetic State on Asynchronous Enclave Exit".
constexpr std::uint16_t kSyntheticFcw = xsave::kInitFcw;
constexpr std::uint16_t kSyntheticFcwMf = 0x037e;
constexpr std::uint16_t kSyntheticFswMf = 0x8081;
constexpr std::uint32_t kSyntheticMxcsr = 0x1fb0;
constexpr std::uint32_t kSyntheticMxcsrXm = 0x1f01;

template <typename T>
T get(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

template <typename T>
void put(std::byte* p, T value) {
  std::memcpy(p, &value, sizeof(T));
}

// Calls f(component, span size left in its page, …) for each piece of [offset, offset + size) of a frame,
// whose pages need not lie side by side.
template <typename F>
void for_each_piece(const SsaFrameCache& frame, XsaveComponent where, F f) {
  std::uint32_t done = 0;
  while (done < where.size) {
    const std::uint32_t at = where.offset + done;
    const std::uint32_t in_page = at % kPageSize;
    const std::uint32_t n = std::min(where.size - done, static_cast<std::uint32_t>(kPageSize - in_page));
    f(frame.xsave_page[at / kPageSize] + in_page, done, n);
    done += n;
  }
}

// Where `image` keeps component `i`; null if it has no room for it, which also means that the component can't
// be in use.
std::byte* component_in(const MachineConfig& config, const XsaveImage& image, unsigned i) {
  const XsaveComponent c = image.layout != nullptr ? image.layout[i] : config.xsave[i];
  if ((image.features >> i & 1) == 0 || c.offset + c.size > image.size || c.size < config.xsave[i].size) {
    return nullptr;
  }
  return image.area + c.offset;
}

template <typename F>
void for_each_extended(std::uint64_t components, F f) {
  for (std::uint64_t left = components & ~xfeature::kLegacy; left != 0; left &= left - 1) {
    f(static_cast<unsigned>(std::countr_zero(left)));
  }
}

void init_x87(std::byte* legacy) {
  std::memset(legacy + xsave::kX87Control, 0, xsave::kX87ControlSize);
  put(legacy + xsave::kFcw, xsave::kInitFcw);
  std::memset(legacy + xsave::kX87Registers, 0, xsave::kX87RegistersSize);
}

void copy_x87(std::byte* to, const std::byte* from) {
  std::memcpy(to + xsave::kX87Control, from + xsave::kX87Control, xsave::kX87ControlSize);
  std::memcpy(to + xsave::kX87Registers, from + xsave::kX87Registers, xsave::kX87RegistersSize);
}

}  // namespace

void save_xstate(const MachineConfig& config, std::uint64_t xfrm, const XsaveImage& image,
                 const SsaFrameCache& frame) noexcept {
  std::byte* const to = frame.xsave_page[0];
  const std::byte* const from = image.area;
  const auto in_use = get<std::uint64_t>(from + xsave::kXstateBv) & xfrm;

  if ((in_use & xfeature::kX87) != 0) {
    copy_x87(to, from);
  } else {
    init_x87(to);
  }
  // XSAVE stores MXCSR and its mask whatever XSTATE_BV says of the XMM registers.
  std::memcpy(to + xsave::kMxcsr, from + xsave::kMxcsr, 8);
  if ((in_use & xfeature::kSse) != 0) {
    std::memcpy(to + xsave::kXmm, from + xsave::kXmm, xsave::kXmmSize);
  } else {
    std::memset(to + xsave::kXmm, 0, xsave::kXmmSize);
  }

  for_each_extended(xfrm, [&](unsigned i) {
    const std::byte* const source = (in_use >> i & 1) != 0 ? component_in(config, image, i) : nullptr;
    for_each_piece(frame, config.xsave[i], [&](std::byte* piece, std::uint32_t done, std::uint32_t n) {
      if (source != nullptr) {
        std::memcpy(piece, source + done, n);
      } else {
        std::memset(piece, 0, n);
      }
    });
  });

  put(to + xsave::kXstateBv, in_use);
  std::memset(to + xsave::kXcompBv, 0, 16);
}

std::optional<XrstorHeader> check_xrstor(std::uint64_t xfrm, const XsaveImage& image,
                                         const SsaFrameCache& frame) noexcept {
  const std::byte* const from = frame.xsave_page[0];
  const XrstorHeader header{get<std::uint64_t>(from + xsave::kXstateBv),
                            get<std::uint32_t>(from + xsave::kMxcsr)};
  const auto reserved =
      get<std::uint64_t>(from + xsave::kXcompBv) | get<std::uint64_t>(from + xsave::kXcompBv + 8);
  const auto mask = get<std::uint32_t>(image.area + xsave::kMxcsrMask);
  if ((header.xstate_bv & ~xfrm) != 0 || reserved != 0 ||
      (header.mxcsr & ~(mask != 0 ? mask : kDefaultMxcsrMask)) != 0) {
    return std::nullopt;
  }
  return header;
}

void restore_xstate(const MachineConfig& config, std::uint64_t xfrm, const XrstorHeader& header,
                    const SsaFrameCache& frame, XsaveImage& image) noexcept {
  const std::byte* const from = frame.xsave_page[0];
  std::byte* const to = image.area;

  if ((header.xstate_bv & xfeature::kX87) != 0) {
    copy_x87(to, from);
  } else {
    init_x87(to);
  }
  put(to + xsave::kMxcsr, header.mxcsr);
  if ((header.xstate_bv & xfeature::kSse) != 0) {
    std::memcpy(to + xsave::kXmm, from + xsave::kXmm, xsave::kXmmSize);
  } else {
    std::memset(to + xsave::kXmm, 0, xsave::kXmmSize);
  }

  for_each_extended(header.xstate_bv, [&](unsigned i) {
    if (std::byte* const target = component_in(config, image, i); target != nullptr) {
      for_each_piece(frame, config.xsave[i],
                     [&](const std::byte* piece, std::uint32_t done, std::uint32_t n) {
                       std::memcpy(target + done, piece, n);
                     });
    }
  });

  // Where the image has no room for a component, its bit would make the caller's XRSTOR fault.
  const auto kept = get<std::uint64_t>(to + xsave::kXstateBv) & ~xfrm;
  put(to + xsave::kXstateBv, kept | (header.xstate_bv & (image.features | xfeature::kLegacy)));
}

void load_synthetic_xstate(const MachineConfig& config, std::uint64_t xfrm, std::optional<Vector> exception,
                           XsaveImage& image) noexcept {
  std::byte* const to = image.area;
  const auto before = get<std::uint64_t>(to + xsave::kXstateBv);

  // INIT is written out as well as said in XSTATE_BV: who looks at the image sees what XSAVE would have
  // stored after the exit, and nothing of the enclave's.
  for_each_extended(before & xfrm, [&](unsigned i) {
    if (std::byte* const target = component_in(config, image, i); target != nullptr) {
      std::memset(target, 0, config.xsave[i].size);
    }
  });
  init_x87(to);
  put(to + xsave::kFcw, exception == Vector::MF ? kSyntheticFcwMf : kSyntheticFcw);
  put(to + xsave::kFsw, exception == Vector::MF ? kSyntheticFswMf : std::uint16_t{0});
  put(to + xsave::kMxcsr, exception == Vector::XM ? kSyntheticMxcsrXm : kSyntheticMxcsr);
  std::memset(to + xsave::kXmm, 0, xsave::kXmmSize);

  // The legacy bits are set: their bytes are good, and with x87's clear the synthetic FCW of #MF would be
  // lost.
  put(to + xsave::kXstateBv, (before & ~xfrm) | xfeature::kLegacy);
}

}  // namespace enclume::arch
