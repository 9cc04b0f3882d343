// SPDX-License-Identifier: Apache-2.0
// What every sink shows of an event, as names and values, whatever the form that it gives them.
#pragma once

#include <string_view>

#include "base/format.h"
#include "trace/event.h"
#include "trace/names.h"

namespace enclume::trace {

/// A name, or the number where there is none. Signal context: safe, like all of these.
void put_name(LineBuffer& line, std::string_view name, std::uint64_t value);

/// 3, 0x7f0000002000, EACCES with -1 in front.
enum class Number : std::uint8_t {
  Decimal,
  Address
};
void put_result(LineBuffer& line, const SysResult<long>& result, Number how = Number::Decimal);

/// #PF(0x7), #UD
void put_exception(LineBuffer& line, const Exception& e);
/// #PF hardware; `none` if EXITINFO is not valid
void put_exitinfo(LineBuffer& line, std::uint32_t exitinfo);
/// EENTER, ERESUME, 0x2a
void put_leaf(LineBuffer& line, std::uint32_t leaf);
void put_receiver(LineBuffer& line, const Receiver& receiver);
/// 0f a2
void put_bytes(LineBuffer& line, std::span<const std::byte> bytes);
std::string_view page_fault_end(PageFault::How how);

constexpr bool is_page_fault(const Exception& e) {
  return e.vector == 14;
}

/// Calls `field(name, put)` for each field of an ioctl's argument; `put(line)` appends the value.
template <typename F>
void fields_of(const CreateArgument& a, F&& field) {
  field("src", [&](LineBuffer& l) { l.hex(a.src); });
  if (a.secs) {
    field("base", [&](LineBuffer& l) { l.hex(a.secs->base); });
    field("size", [&](LineBuffer& l) { l.hex(a.secs->size); });
    field("ssaframesize", [&](LineBuffer& l) { l.dec(a.secs->ssa_frame_size); });
    field("miscselect", [&](LineBuffer& l) { l.hex(a.secs->miscselect); });
    field("attributes", [&](LineBuffer& l) { l.hex(a.secs->attributes); });
    field("xfrm", [&](LineBuffer& l) { l.hex(a.secs->xfrm); });
  }
}

template <typename F>
void range_fields(std::uint64_t offset, std::uint64_t length, F&& field) {
  field("offset", [=](LineBuffer& l) { l.hex(offset); });
  field("length", [=](LineBuffer& l) { l.hex(length); });
}

void put_leaf_code(LineBuffer& line, std::uint64_t code);
void put_add_flags(LineBuffer& line, std::uint64_t flags);
void put_permissions(LineBuffer& line, std::uint64_t permissions);
void put_hash(LineBuffer& line, const std::array<std::uint8_t, 32>& hash);

template <typename F>
void fields_of(const AddPagesArgument& a, F&& field) {
  field("src", [&](LineBuffer& l) { l.hex(a.src); });
  range_fields(a.offset, a.length, field);
  field("secinfo", [&](LineBuffer& l) {
    if (a.secinfo_flags) {
      put_secinfo(l, *a.secinfo_flags);
    } else {
      l.hex(a.secinfo);
    }
  });
  field("flags", [&](LineBuffer& l) { put_add_flags(l, a.flags); });
}

template <typename F>
void fields_of(const InitArgument& a, F&& field) {
  field("sigstruct", [&](LineBuffer& l) { l.hex(a.sigstruct); });
  if (a.fields) {
    field("enclavehash", [&](LineBuffer& l) { put_hash(l, a.fields->enclave_hash); });
    field("isvprodid", [&](LineBuffer& l) { l.dec(static_cast<unsigned>(a.fields->product_id)); });
    field("isvsvn", [&](LineBuffer& l) { l.dec(static_cast<unsigned>(a.fields->security_version)); });
  }
}

template <typename F>
void fields_of(const ProvisionArgument& a, F&& field) {
  field("fd", [&](LineBuffer& l) { l.dec(static_cast<std::int64_t>(a.fd)); });
}

template <typename F>
void fields_of(const RestrictPermissionsArgument& a, F&& field) {
  range_fields(a.offset, a.length, field);
  field("permissions", [&](LineBuffer& l) { put_permissions(l, a.permissions); });
  field("result", [&](LineBuffer& l) { put_leaf_code(l, a.result); });
}

template <typename F>
void fields_of(const ModifyTypesArgument& a, F&& field) {
  range_fields(a.offset, a.length, field);
  field("page_type", [&](LineBuffer& l) { put_name(l, page_type_name(a.page_type), a.page_type); });
  field("result", [&](LineBuffer& l) { put_leaf_code(l, a.result); });
}

template <typename F>
void fields_of(const RemovePagesArgument& a, F&& field) {
  range_fields(a.offset, a.length, field);
}

}  // namespace enclume::trace
