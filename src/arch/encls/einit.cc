// SPDX-License-Identifier: Apache-2.0
// EINIT: ends the building of an enclave; from now on it can be entered.
#include "arch/encls/encls.h"
#include "arch/encls/operands.h"
#include "arch/identity/keys.h"
#include "arch/identity/measurement.h"
#include "arch/identity/signature.h"
#include "arch/structs/einittoken.h"
#include "arch/structs/sigstruct.h"

namespace enclume::arch {

namespace {

/// What EINIT has found out about the enclave before it looks at the token.
struct Identity {
  Hash256 mrenclave;
  Hash256 mrsigner;
};

bool token_reserved_clear(const Einittoken& token) {
  return (token.valid & ~1U) == 0 && all_zero(token.reserved1) && all_zero(token.reserved2) &&
         all_zero(token.reserved3) && all_zero(token.reserved4);
}

// Steps 10 to 14: does the signed certificate allow this enclave?
LeafCode check_certificate(Secs& secs, const Sigstruct& sig, const Identity& id,
                           const LePubKeyHash& le_hash) {
  if (id.mrenclave != sig.enclave_hash) {
    return LeafCode::InvalidMeasurement;
  }
  const Attributes attributes{secs.flags(), secs.attributes.xfrm};
  // Only the launch authority's own enclaves may make tokens.
  if ((attributes.flags & attribute::kEinitTokenKey) != 0 && id.mrsigner != le_hash) {
    return LeafCode::InvalidAttribute;
  }
  if ((attributes & sig.attribute_mask) != (sig.attributes & sig.attribute_mask) ||
      (secs.miscselect & sig.miscmask) != (sig.miscselect & sig.miscmask)) {
    return LeafCode::InvalidAttribute;
  }
  return LeafCode::Success;
}

// Steps 15 to 21: does the launch authority allow it?
LeafCode check_token(const Machine& machine, Secs& secs, const Einittoken& token, const Identity& id,
                     const LePubKeyHash& le_hash) {
  if ((token.valid & 1) == 0) {
    return id.mrsigner == le_hash ? LeafCode::Success : LeafCode::InvalidEinitToken;
  }
  // A debug launch enclave, whose token key is no secret, may launch debug enclaves only.
  if ((token.masked_attributes_le.flags & attribute::kDebug) != 0 && !secs.debug()) {
    return LeafCode::InvalidEinitToken;
  }
  if (!token_reserved_clear(token)) {
    return LeafCode::InvalidEinitToken;
  }
  if (!cpusvn_reached(machine.config, token.cpusvn_le)) {
    return LeafCode::InvalidCpusvn;
  }
  if (token_mac(launch_key(machine.config, le_hash, token), token) != token.mac) {
    return LeafCode::InvalidEinitToken;
  }
  if (token.mrenclave != id.mrenclave || token.mrsigner != id.mrsigner) {
    return LeafCode::InvalidMeasurement;
  }
  if (token.attributes != Attributes{secs.flags(), secs.attributes.xfrm}) {
    return LeafCode::InvalidAttribute;
  }
  return LeafCode::Success;
}

}  // namespace

LeafResult einit(const Machine& machine, AddressSpace& space, const LePubKeyHash& le_hash,
                 LinearAddress sigstruct_address, LinearAddress secs_address,
                 LinearAddress token_address) noexcept {
  if (!sigstruct_address.aligned(kPageSize) || !secs_address.aligned(kPageSize) ||
      !token_address.aligned(kEinittokenAlignment)) {
    return raise(general_protection());
  }
  const auto secs_page = resolve_epc(machine, space, secs_address);
  if (!secs_page.has_value()) {
    return raise(secs_page.error());
  }
  const auto sig = read_operand<Sigstruct>(space, sigstruct_address);
  if (!sig.has_value()) {
    return raise(sig.error());
  }
  const auto token = read_operand<Einittoken>(space, token_address);
  if (!token.has_value()) {
    return raise(token.error());
  }
  if (!sigstruct_well_formed(*sig)) {
    return leaf_failure(LeafCode::InvalidSigStruct);
  }
  const auto padding = verify_signature(*sig);
  if (!padding.has_value()) {
    return leaf_failure(LeafCode::InvalidSignature);
  }
  const EpcPageSharedLock lock(*secs_page);
  if (!lock) {
    return raise(general_protection());
  }
  if (!is_secs(*secs_page)) {
    return raise(epc_violation(machine, secs_address));
  }
  Secs& secs = secs_of(*secs_page);
  const bool kss = (secs.flags() & attribute::kKss) != 0;
  if (!kss && (!all_zero(sig->isv_family_id) || !all_zero(sig->isv_ext_prod_id))) {
    return leaf_failure(LeafCode::InvalidSigStruct);
  }
  const SecsFieldLock measuring(secs.internal.measurement_lock);
  if (!measuring || secs.initialised()) {
    return raise(general_protection());
  }
  const Identity id{measured_so_far(secs), signer_of(*sig)};
  if (const LeafCode code = check_certificate(secs, *sig, id, le_hash); code != LeafCode::Success) {
    return leaf_failure(code);
  }
  if (const LeafCode code = check_token(machine, secs, *token, id, le_hash); code != LeafCode::Success) {
    return leaf_failure(code);
  }

  secs.mrenclave = id.mrenclave;
  secs.mrsigner = id.mrsigner;
  secs.isv_prod_id = sig->isv_prod_id;
  secs.isv_svn = sig->isv_svn;
  secs.internal.isv_ext_prod_id = sig->isv_ext_prod_id;
  secs.internal.isv_family_id = sig->isv_family_id;
  secs.internal.padding = *padding;
  secs.set_initialised();
  return leaf_success();
}

}  // namespace enclume::arch
