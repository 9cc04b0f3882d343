// SPDX-License-Identifier: Apache-2.0
// Evicted pages: what EWB makes of a page and ELDU turns back (SDM Vol. 3D, EWB, ELDB/ELDU).
#pragma once

#include <cstdint>
#include <type_traits>

#include "arch/identity/crypto.h"
#include "arch/identity/page_cipher.h"
#include "arch/machine.h"
#include "arch/structs/bytes.h"
#include "arch/structs/secinfo.h"

namespace enclume::arch {

/// TMP_HEADER: what the MAC covers besides the page. The SDM gives its size and fields.
struct SealedPageHeader {
  std::uint64_t eid;
  std::uint64_t linaddr;
  Secinfo secinfo;
  Bytes<48> reserved;
};
static_assert(sizeof(SealedPageHeader) == 128 && std::is_trivially_copyable_v<SealedPageHeader>);
static_assert(std::has_unique_object_representations_v<SealedPageHeader>);
static_assert(sizeof(SealedPageHeader) == kPageHeaderSize);

/// Which code encrypts pages: what the processor has for it. All do the same. Called once, before the first
/// leaf runs; without it, PageCipher::Portable.
void set_page_cipher(PageCipher which) noexcept;

/// Encrypts a page as version `version`, which is never used twice under one boot. Returns the MAC.
/// Signal context: safe.
[[nodiscard]] Block128 seal_page(const Machine&, std::uint64_t version, const SealedPageHeader&,
                                 PageView plain, PageSpan sealed) noexcept;

/// Decrypts `page` where it lies. False, with the page zeroed, if page, header, version and MAC don't belong
/// together. Signal context: safe.
[[nodiscard]] bool unseal_page(const Machine&, std::uint64_t version, const SealedPageHeader&,
                               const Block128& mac, PageSpan page) noexcept;

}  // namespace enclume::arch
