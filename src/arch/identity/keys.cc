// SPDX-License-Identifier: Apache-2.0
#include "arch/identity/keys.h"

#include <algorithm>
#include <string_view>

#include "arch/identity/crypto.h"
#include "arch/identity/signature.h"

namespace enclume::arch {

namespace {

ByteView view(std::string_view text) {
  return std::as_bytes(std::span(text));
}

Hash256 root(const MachineConfig& config, std::string_view purpose, ByteView more = {}) {
  return sha256({view("enclume key root"), view(purpose), config.secret, more});
}

Block128 first_half(const Hash256& hash) {
  Block128 key;
  std::copy_n(hash.begin(), key.size(), key.begin());
  return key;
}

// CR_SEAL_FUSES; OWNEREPOCH is zero, as it is until an owner sets one.
Bytes<16> seal_fuses(const MachineConfig& config) {
  return first_half(root(config, "fuses"));
}

// INIT and DEBUG always enter: a debug enclave never gets a production enclave's key.
Attributes masked(const Attributes& attributes, const Attributes& mask) {
  return attributes & Attributes{mask.flags | attribute::kInit | attribute::kDebug, mask.xfrm};
}

Attributes attributes_of(Secs& secs) {
  return {secs.flags(), secs.attributes.xfrm};
}

// What SEAL and PROVISION_SEAL take from the policy beyond MRENCLAVE and MRSIGNER.
void add_policy(KeyDependencies& d, const Secs& secs, const Keyrequest& request) {
  d.keypolicy = request.keypolicy;
  if ((request.keypolicy & key_policy::kNoIsvProdId) == 0) {
    d.isv_prod_id = secs.isv_prod_id;
  }
  if ((request.keypolicy & key_policy::kConfigId) != 0) {
    d.config_id = secs.config_id;
    d.config_svn = request.config_svn;
  }
  if ((request.keypolicy & key_policy::kIsvFamilyId) != 0) {
    d.isv_family_id = secs.internal.isv_family_id;
  }
  if ((request.keypolicy & key_policy::kIsvExtProdId) != 0) {
    d.isv_ext_prod_id = secs.internal.isv_ext_prod_id;
  }
}

// All keys but REPORT bind to what the request names.
void add_request(KeyDependencies& d, Secs& secs, const Keyrequest& request) {
  d.isv_svn = request.isv_svn;
  d.cpusvn = request.cpusvn;
  d.attributes = masked(attributes_of(secs), request.attribute_mask);
  d.miscselect = secs.miscselect & request.miscmask;
}

// The masks themselves enter too, so that a weaker mask never leads to the same key.
void add_masks(KeyDependencies& d, const Keyrequest& request) {
  d.attribute_mask = request.attribute_mask;
  d.miscmask = ~request.miscmask;
}

}  // namespace

Block128 derive_key(const MachineConfig& config, const KeyDependencies& dependencies) noexcept {
  return aes_cmac(first_half(root(config, "enclave keys")), bytes_of(dependencies));
}

KeyDependencies key_dependencies(const MachineConfig& config, Secs& secs,
                                 const Keyrequest& request) noexcept {
  KeyDependencies d{};
  d.keyname = request.keyname;
  d.padding = secs.internal.padding;
  switch (static_cast<KeyName>(request.keyname)) {
    case KeyName::EinitToken:
      add_request(d, secs, request);
      d.seal_fuses = seal_fuses(config);
      d.isv_prod_id = secs.isv_prod_id;
      d.mrsigner = secs.mrsigner;
      d.keyid = request.keyid;
      break;
    case KeyName::Provision:
      add_request(d, secs, request);
      add_masks(d, request);
      d.isv_prod_id = secs.isv_prod_id;
      d.mrsigner = secs.mrsigner;
      break;
    case KeyName::ProvisionSeal:
      add_request(d, secs, request);
      add_masks(d, request);
      add_policy(d, secs, request);
      d.seal_fuses = seal_fuses(config);
      d.mrsigner = secs.mrsigner;
      break;
    case KeyName::Report:
      d.seal_fuses = seal_fuses(config);
      d.cpusvn = config.cpusvn;
      d.attributes = attributes_of(secs);
      d.miscselect = secs.miscselect;
      d.mrenclave = secs.mrenclave;
      d.keyid = request.keyid;
      d.config_id = secs.config_id;
      d.config_svn = secs.config_svn;
      d.padding = pkcs1_padding();
      break;
    case KeyName::Seal:
      add_request(d, secs, request);
      add_masks(d, request);
      add_policy(d, secs, request);
      d.seal_fuses = seal_fuses(config);
      if ((request.keypolicy & key_policy::kMrenclave) != 0) {
        d.mrenclave = secs.mrenclave;
      }
      if ((request.keypolicy & key_policy::kMrsigner) != 0) {
        d.mrsigner = secs.mrsigner;
      }
      d.keyid = request.keyid;
      break;
  }
  return d;
}

Block128 requested_key(const MachineConfig& config, Secs& secs, const Keyrequest& request) noexcept {
  return derive_key(config, key_dependencies(config, secs, request));
}

Block128 report_key(const MachineConfig& config, Secs& secs, const Targetinfo& target,
                    const Bytes<32>& keyid) noexcept {
  KeyDependencies d{};
  d.keyname = static_cast<std::uint16_t>(KeyName::Report);
  d.seal_fuses = seal_fuses(config);
  d.cpusvn = config.cpusvn;
  d.attributes = target.attributes;
  d.miscselect = target.miscselect;
  d.mrenclave = target.measurement;
  d.keyid = keyid;
  d.config_id = target.config_id;
  d.config_svn = target.config_svn;
  d.padding = secs.internal.padding;
  return derive_key(config, d);
}

Block128 report_mac(const Block128& key, const Report& report) noexcept {
  return aes_cmac(key, ByteView(bytes_of(report)).first(kReportMacedSize));
}

Block128 launch_key(const MachineConfig& config, const LePubKeyHash& le_pub_key_hash,
                    const Einittoken& token) noexcept {
  KeyDependencies d{};
  d.keyname = static_cast<std::uint16_t>(KeyName::EinitToken);
  d.isv_prod_id = token.isv_prod_id_le;
  d.isv_svn = token.isv_svn_le;
  d.seal_fuses = seal_fuses(config);
  d.cpusvn = token.cpusvn_le;
  d.attributes = token.masked_attributes_le;
  d.miscselect = token.masked_miscselect_le;
  d.mrsigner = le_pub_key_hash;
  d.keyid = token.keyid;
  d.padding = pkcs1_padding();
  return derive_key(config, d);
}

Block128 token_mac(const Block128& key, const Einittoken& token) noexcept {
  return aes_cmac(key, ByteView(bytes_of(token)).first(kEinittokenMacedSize));
}

Bytes<32> report_keyid(const Machine& machine) noexcept {
  return root(machine.config, "report keyid", machine.shared.boot_nonce);
}

Block128 paging_key(const Machine& machine) noexcept {
  return first_half(root(machine.config, "evicted pages", machine.shared.boot_nonce));
}

bool cpusvn_reached(const MachineConfig& config, const Bytes<16>& asked) noexcept {
  return std::equal(asked.begin(), asked.end(), config.cpusvn.begin(),
                    [](std::byte a, std::byte have) { return a <= have; });
}

}  // namespace enclume::arch
