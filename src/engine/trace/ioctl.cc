// SPDX-License-Identifier: Apache-2.0
// The arguments of ioctls, read back from the program. It may have given any pointer.
#include <cstring>

#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"
#include "arch/structs/sigstruct.h"
#include "engine/entry/entry.h"
#include "engine/trace/hooks.h"
#include "kernel/uapi/sgx.h"

namespace enclume::engine {

namespace {

namespace uapi = kernel::uapi;

template <typename T>
std::optional<T> read(std::uint64_t address) {
  T value;
  if (enclume_guarded_copy(&value, reinterpret_cast<const void*>(address), sizeof(value)) != 0) {
    return std::nullopt;
  }
  return value;
}

/// The first bytes of a structure that is a page long.
struct SecsHead {
  std::byte bytes[offsetof(arch::Secs, attributes) + sizeof(arch::Attributes)];
};

template <typename T>
T field(const std::byte* structure, std::size_t offset) {
  T value;
  std::memcpy(&value, structure + offset, sizeof(value));
  return value;
}

std::optional<trace::SecsFields> secs_at(std::uint64_t address) {
  const auto head = read<SecsHead>(address);
  if (!head) {
    return std::nullopt;
  }
  const std::byte* s = head->bytes;
  const auto attributes = field<arch::Attributes>(s, offsetof(arch::Secs, attributes));
  return trace::SecsFields{
      .size = field<std::uint64_t>(s, offsetof(arch::Secs, size)),
      .base = LinearAddress(field<std::uint64_t>(s, offsetof(arch::Secs, base_addr))),
      .ssa_frame_size = field<std::uint32_t>(s, offsetof(arch::Secs, ssa_frame_size)),
      .miscselect = field<std::uint32_t>(s, offsetof(arch::Secs, miscselect)),
      .attributes = attributes.flags,
      .xfrm = attributes.xfrm,
  };
}

std::optional<trace::SigstructFields> sigstruct_at(std::uint64_t address) {
  trace::SigstructFields fields;
  const auto hash = read<decltype(fields.enclave_hash)>(address + offsetof(arch::Sigstruct, enclave_hash));
  const auto product = read<std::uint16_t>(address + offsetof(arch::Sigstruct, isv_prod_id));
  const auto version = read<std::uint16_t>(address + offsetof(arch::Sigstruct, isv_svn));
  if (!hash || !product || !version) {
    return std::nullopt;
  }
  return trace::SigstructFields{*hash, *product, *version};
}

void decode_argument(trace::Ioctl& event) {
  const std::uint64_t argument = event.argument;
  switch (static_cast<uapi::Command>(event.command)) {
    case uapi::Command::Create:
      if (const auto a = read<uapi::EnclaveCreate>(argument)) {
        auto& out = event.decoded.emplace<trace::CreateArgument>();
        out.src = LinearAddress(a->src);
        out.secs = secs_at(a->src);
      }
      break;
    case uapi::Command::AddPages:
      if (const auto a = read<uapi::EnclaveAddPages>(argument)) {
        auto& out = event.decoded.emplace<trace::AddPagesArgument>();
        out.src = LinearAddress(a->src);
        out.offset = a->offset;
        out.length = a->length;
        out.secinfo = LinearAddress(a->secinfo);
        out.secinfo_flags = read<std::uint64_t>(a->secinfo);
        out.flags = a->flags;
        out.count = a->count;
      }
      break;
    case uapi::Command::Init:
      if (const auto a = read<uapi::EnclaveInit>(argument)) {
        auto& out = event.decoded.emplace<trace::InitArgument>();
        out.sigstruct = LinearAddress(a->sigstruct);
        out.fields = sigstruct_at(a->sigstruct);
      }
      break;
    case uapi::Command::Provision:
      if (const auto a = read<uapi::EnclaveProvision>(argument)) {
        event.decoded = trace::ProvisionArgument{a->fd};
      }
      break;
    case uapi::Command::RestrictPermissions:
      if (const auto a = read<uapi::EnclaveRestrictPermissions>(argument)) {
        event.decoded =
            trace::RestrictPermissionsArgument{a->offset, a->length, a->permissions, a->result, a->count};
      }
      break;
    case uapi::Command::ModifyTypes:
      if (const auto a = read<uapi::EnclaveModifyTypes>(argument)) {
        event.decoded = trace::ModifyTypesArgument{a->offset, a->length, a->page_type, a->result, a->count};
      }
      break;
    case uapi::Command::RemovePages:
      if (const auto a = read<uapi::EnclaveRemovePages>(argument)) {
        event.decoded = trace::RemovePagesArgument{a->offset, a->length, a->count};
      }
      break;
    case uapi::Command::VepcRemoveAll:
      break;
  }
}

}  // namespace

void trace_ioctl_now(int fd, std::uint32_t command, std::uint64_t argument, const SysResult<long>& result,
                     std::uint64_t began) noexcept {
  trace::Ioctl event{fd, command, argument, {}, result};
  decode_argument(event);
  engine().events.emit(event, began);
}

}  // namespace enclume::engine
