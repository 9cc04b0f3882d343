// SPDX-License-Identifier: Apache-2.0
// ENCLS, supervisor leaves: what the kernel's half executes. Operands are linear addresses of the kernel's
// own address space, which `space` translates; every check is in the architecture's order.
// Signal context: safe for all of them (no allocation, no wait: a conflict is a result).
#pragma once

#include "arch/fault.h"
#include "arch/machine.h"
#include "arch/ports.h"
#include "base/types.h"

namespace enclume::arch {

/// RBX = PAGEINFO, RCX = free EPC page.
[[nodiscard]] LeafResult ecreate(const Machine&, AddressSpace&, LinearAddress pageinfo,
                                 LinearAddress page) noexcept;
[[nodiscard]] LeafResult eadd(const Machine&, AddressSpace&, LinearAddress pageinfo,
                              LinearAddress page) noexcept;
/// RBX = SECS, RCX = 256-byte chunk of an EPC page.
[[nodiscard]] LeafResult eextend(const Machine&, AddressSpace&, LinearAddress secs,
                                 LinearAddress chunk) noexcept;
/// EEXTEND of all 16 chunks of a page in order, with the checks, which are the same for each, made once. What
/// a kernel executes to measure a page.
[[nodiscard]] LeafResult eextend_page(const Machine&, AddressSpace&, LinearAddress secs,
                                      LinearAddress page) noexcept;
/// RBX = SIGSTRUCT, RCX = SECS, RDX = EINITTOKEN.
[[nodiscard]] LeafResult einit(const Machine&, AddressSpace&, const LePubKeyHash&, LinearAddress sigstruct,
                               LinearAddress secs, LinearAddress token) noexcept;
[[nodiscard]] LeafResult eremove(const Machine&, AddressSpace&, LinearAddress page) noexcept;
[[nodiscard]] LeafResult eblock(const Machine&, AddressSpace&, LinearAddress page) noexcept;
[[nodiscard]] LeafResult etrack(const Machine&, AddressSpace&, LinearAddress secs) noexcept;
/// RBX = PT_VA, RCX = free EPC page.
[[nodiscard]] LeafResult epa(const Machine&, AddressSpace&, std::uint64_t rbx, LinearAddress page) noexcept;
/// RBX = PAGEINFO, RCX = EPC page, RDX = version array slot.
[[nodiscard]] LeafResult ewb(const Machine&, AddressSpace&, LinearAddress pageinfo, LinearAddress page,
                             LinearAddress va_slot) noexcept;
[[nodiscard]] LeafResult eldu(const Machine&, AddressSpace&, LinearAddress pageinfo, LinearAddress page,
                              LinearAddress va_slot) noexcept;
[[nodiscard]] LeafResult eldb(const Machine&, AddressSpace&, LinearAddress pageinfo, LinearAddress page,
                              LinearAddress va_slot) noexcept;
[[nodiscard]] LeafResult eaug(const Machine&, AddressSpace&, LinearAddress pageinfo,
                              LinearAddress page) noexcept;
/// RBX = SECINFO, RCX = EPC page.
[[nodiscard]] LeafResult emodpr(const Machine&, AddressSpace&, LinearAddress secinfo,
                                LinearAddress page) noexcept;
[[nodiscard]] LeafResult emodt(const Machine&, AddressSpace&, LinearAddress secinfo,
                               LinearAddress page) noexcept;
/// RCX = 8-byte aligned EPC address; the value goes to or comes from RBX.
[[nodiscard]] LeafResult edbgrd(const Machine&, AddressSpace&, LinearAddress address,
                                std::uint64_t& value) noexcept;
[[nodiscard]] LeafResult edbgwr(const Machine&, AddressSpace&, LinearAddress address,
                                std::uint64_t value) noexcept;

}  // namespace enclume::arch
