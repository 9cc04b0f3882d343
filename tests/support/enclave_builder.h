// SPDX-License-Identifier: Apache-2.0
// Builds enclaves on a FakeMachine with the supervisor leaves, as a kernel does, and keeps book of what their
// MRENCLAVE must be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "arch/encls/encls.h"
#include "arch/structs/einittoken.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"
#include "arch/structs/sigstruct.h"
#include "arch/structs/tcs.h"
#include "support/fake_machine.h"
#include "support/reference_hash.h"
#include "support/signer.h"

namespace enclume::test {

inline constexpr std::uint64_t kEnclaveBase = 0x7e00'0000'0000;

/// What ECREATE gets if the test does not say otherwise: 16 pages, 64-bit, not debug, one-page SSA frames.
inline arch::Secs default_secs() {
  arch::Secs secs{};
  secs.size = 16 * kPageSize;
  secs.base_addr = kEnclaveBase;
  secs.ssa_frame_size = 1;
  secs.attributes = {arch::attribute::kMode64Bit, 3};
  return secs;
}

class EnclaveBuilder {
 public:
  EnclaveBuilder(FakeMachine& machine, std::size_t secs_index)
      : machine_(machine),
        secs_index_(secs_index),
        pageinfo_(machine.allocate<arch::Pageinfo>()),
        secinfo_(machine.allocate<arch::Secinfo>()),
        source_(machine.allocate_pages(1)),
        sigstruct_(machine.allocate<arch::Sigstruct>()),
        token_(machine.allocate<arch::Einittoken>()) {}

  [[nodiscard]] arch::LeafResult create(const arch::Secs& secs = default_secs()) {
    std::memcpy(source_, &secs, sizeof(secs));
    secinfo_ = {};
    pageinfo_ = {0, address_of(source_), address_of(&secinfo_), 0};
    reference_.ecreate(secs.ssa_frame_size, secs.size);
    return arch::ecreate(machine_.machine(), machine_, LinearAddress::of(&pageinfo_), secs_address());
  }

  /// `contents` may be shorter than a page. The page is also mapped at its linear address.
  [[nodiscard]] arch::LeafResult add(std::size_t index, std::uint64_t offset, std::uint64_t secinfo_flags,
                                     std::span<const std::byte> contents = {}, bool measured = true) {
    std::memset(source_, 0, kPageSize);
    std::copy(contents.begin(), contents.end(), source_);
    secinfo_ = {};
    secinfo_.flags = secinfo_flags;
    pageinfo_ = {linear(offset).value(), address_of(source_), address_of(&secinfo_), secs_address().value()};
    const auto added =
        arch::eadd(machine_.machine(), machine_, LinearAddress::of(&pageinfo_), machine_.epc_address(index));
    if (!added.has_value()) {
      return added;
    }
    machine_.map_epc(linear(offset), index);
    const bool tcs = secinfo_.type() == arch::PageType::Tcs;
    reference_.eadd(offset, tcs ? secinfo_flags & ~arch::secinfo_flags::kRwx : secinfo_flags);
    for (std::uint64_t at = 0; measured && at < kPageSize; at += 256) {
      const auto extended =
          arch::eextend(machine_.machine(), machine_, secs_address(), machine_.epc_address(index) + at);
      if (!extended.has_value()) {
        return extended;
      }
      reference_.eextend(offset + at, {source_ + at, 256});
    }
    return added;
  }
  [[nodiscard]] arch::LeafResult add_reg(std::size_t index, std::uint64_t offset, std::uint64_t rwx,
                                         std::span<const std::byte> contents = {}) {
    return add(index, offset, arch::secinfo_flags_of(arch::PageType::Reg, rwx), contents);
  }
  [[nodiscard]] arch::LeafResult add_tcs(std::size_t index, std::uint64_t offset, const arch::Tcs& tcs) {
    return add(index, offset, arch::secinfo_flags_of(arch::PageType::Tcs, 0), arch::bytes_of(tcs));
  }

  /// A certificate for the enclave as it stands, not signed yet.
  [[nodiscard]] arch::Sigstruct certificate() {
    arch::Sigstruct sig = blank_sigstruct();
    sig.enclave_hash = reference_.mrenclave();
    sig.attributes = secs().attributes;
    sig.attribute_mask = {~arch::attribute::kDebug, ~std::uint64_t{0}};
    sig.miscselect = secs().miscselect;
    sig.miscmask = ~0U;
    sig.isv_prod_id = 7;
    sig.isv_svn = 3;
    return sig;
  }
  /// Signs and initialises. The launch authority is the signer.
  [[nodiscard]] arch::LeafResult init(arch::Sigstruct sig, const Signer& signer = Signer(),
                                      const arch::Einittoken& token = {}) {
    signer.sign(sig);
    return init_signed(sig, signer.mrsigner(), token);
  }
  [[nodiscard]] arch::LeafResult init() { return init(certificate()); }
  [[nodiscard]] arch::LeafResult init_signed(const arch::Sigstruct& sig, const arch::LePubKeyHash& le_hash,
                                             const arch::Einittoken& token = {}) {
    sigstruct_ = sig;
    token_ = token;
    return arch::einit(machine_.machine(), machine_, le_hash, LinearAddress::of(&sigstruct_), secs_address(),
                       LinearAddress::of(&token_));
  }

  /// Adds a zeroed page to the running enclave.
  [[nodiscard]] arch::LeafResult augment(std::size_t index, std::uint64_t offset) {
    pageinfo_ = {linear(offset).value(), 0, 0, secs_address().value()};
    machine_.map_epc(linear(offset), index);
    return arch::eaug(machine_.machine(), machine_, LinearAddress::of(&pageinfo_),
                      machine_.epc_address(index));
  }

  [[nodiscard]] arch::EpcPage secs_page() { return machine_.epc_page(secs_index_); }
  [[nodiscard]] LinearAddress secs_address() { return machine_.epc_address(secs_index_); }
  [[nodiscard]] arch::Secs& secs() { return arch::secs_of(secs_page()); }
  [[nodiscard]] LinearAddress linear(std::uint64_t offset) {
    return LinearAddress(secs().base_addr + offset);
  }
  [[nodiscard]] const ReferenceMeasurement& reference() const { return reference_; }

 private:
  static std::uint64_t address_of(const void* p) { return LinearAddress::of(p).value(); }

  FakeMachine& machine_;
  std::size_t secs_index_;
  ReferenceMeasurement reference_;
  arch::Pageinfo& pageinfo_;
  arch::Secinfo& secinfo_;
  std::byte* source_;
  arch::Sigstruct& sigstruct_;
  arch::Einittoken& token_;
};

}  // namespace enclume::test
