// SPDX-License-Identifier: Apache-2.0
#include "engine/signals/pkru.h"

#include <cstring>

#include "engine/entry/entry.h"

extern "C" {
std::uint8_t enclume_has_pkeys = 0;
std::uint32_t enclume_epc_fence = 0;
std::uint32_t enclume_handler_pkru = 0;
}

namespace enclume::engine {

namespace {

constexpr std::size_t kXstateBv = 512;

}  // namespace

Pkru xsave_pkru(const std::byte* image, std::uint32_t offset) {
  std::uint64_t in_use;
  std::memcpy(&in_use, image + kXstateBv, sizeof(in_use));
  if ((in_use & kPkruFeature) == 0) {
    return 0;
  }
  Pkru pkru;
  std::memcpy(&pkru, image + offset, sizeof(pkru));
  return pkru;
}

void set_xsave_pkru(std::byte* image, std::uint32_t offset, Pkru pkru) {
  std::uint64_t in_use;
  std::memcpy(&in_use, image + kXstateBv, sizeof(in_use));
  in_use |= kPkruFeature;
  std::memcpy(image + kXstateBv, &in_use, sizeof(in_use));
  std::memcpy(image + offset, &pkru, sizeof(pkru));
}

}  // namespace enclume::engine
