// SPDX-License-Identifier: Apache-2.0
// EGETKEY (SDM Vol. 3D, "ENCLU[EGETKEY]"): RBX = KEYREQUEST, RCX = where the key goes.
#include <cstring>

#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"
#include "arch/identity/keys.h"
#include "arch/structs/keyrequest.h"
#include "arch/structs/secs.h"

namespace enclume::arch {

namespace {

// CET is not offered, so its mask is reserved too.
bool reserved_clear(const Keyrequest& r) {
  return (r.keypolicy & key_policy::kReserved) == 0 && r.cet_attributes_mask == 0 && all_zero(r.reserved1) &&
         all_zero(r.reserved2);
}

bool asks_for_kss(const Keyrequest& r) {
  return (r.keypolicy & key_policy::kKssOnly) != 0 || r.config_svn != 0;
}

// Whether the enclave may have the key: attributes first, then the versions that it must have reached.
LeafCode entitlement(const MachineConfig& config, Secs& secs, const Keyrequest& request) {
  std::uint64_t needed = 0;
  switch (static_cast<KeyName>(request.keyname)) {
    case KeyName::Report:
      return LeafCode::Success;
    case KeyName::Seal:
      break;
    case KeyName::EinitToken:
      needed = attribute::kEinitTokenKey;
      break;
    case KeyName::Provision:
    case KeyName::ProvisionSeal:
      needed = attribute::kProvisionKey;
      break;
    default:
      return LeafCode::InvalidKeyname;
  }
  if ((secs.flags() & needed) != needed) {
    return LeafCode::InvalidAttribute;
  }
  if (!cpusvn_reached(config, request.cpusvn)) {
    return LeafCode::InvalidCpusvn;
  }
  const bool configured = static_cast<KeyName>(request.keyname) == KeyName::Seal;
  if (request.isv_svn > secs.isv_svn || (configured && request.config_svn > secs.config_svn)) {
    return LeafCode::InvalidIsvsvn;
  }
  return LeafCode::Success;
}

}  // namespace

LeafResult egetkey(const Machine& machine, LogicalProcessor& lp, CpuState& cpu,
                   AddressSpace& space) noexcept {
  const auto keyrequest =
      enclave_operand(lp, space, cpu.address(Reg::Rbx), kKeyrequestAlignment, Access::Read);
  if (!keyrequest.has_value()) {
    return raise(keyrequest.error());
  }
  const auto output = enclave_operand(lp, space, cpu.address(Reg::Rcx), sizeof(Block128), Access::Write);
  if (!output.has_value()) {
    return raise(output.error());
  }
  Secs& secs = secs_of(lp.secs);
  const auto request = snapshot<Keyrequest>(keyrequest->data);
  if (!reserved_clear(request) || ((secs.flags() & attribute::kKss) == 0 && asks_for_kss(request))) {
    return raise(general_protection());
  }
  if (const LeafCode code = entitlement(machine.config, secs, request); code != LeafCode::Success) {
    return retire_with(lp, cpu, code);
  }

  const Block128 key = requested_key(machine.config, secs, request);
  std::memcpy(output->data, &key, sizeof(key));
  return retire_with(lp, cpu, LeafCode::Success);
}

}  // namespace enclume::arch
