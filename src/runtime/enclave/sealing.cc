// SPDX-License-Identifier: Apache-2.0
#include "enclume/enclave/sealing.h"

#include <algorithm>
#include <cstring>

#include "runtime/enclave/processor.h"
#include "runtime/enclave/wipe.h"

namespace enclume {
namespace {

using enclave::AesKey;
using enclave::KeyRequest;
using Bytes = std::span<const std::byte>;

// What the key depends on, of the attributes: INIT, DEBUG and those without a meaning yet, which may come to
// be of weight for security; and likewise of MISCSELECT. Intel's SDK does the same (sgx_attributes.h,
// TSEAL_DEFAULT_FLAGSMASK and TSEAL_DEFAULT_MISCMASK). Part of the format.
constexpr std::uint64_t kAttributeMask = 0xff00'0000'0000'000b;
constexpr std::uint32_t kMiscMask = 0xf000'0000;
// What enclaves with KSS add to either policy.
constexpr std::uint16_t kKssPolicy =
    enclave::kPolicyConfigId | enclave::kPolicyFamilyId | enclave::kPolicyExtProdId;

std::uint16_t key_policy(std::uint16_t policy, const ReportBody& me) noexcept {
  const std::uint16_t more = (me.attributes.flags & kAttributeKss) != 0 ? kKssPolicy : std::uint16_t{0};
  return static_cast<std::uint16_t>(policy | more);
}

const Measurement& identity_of(const ReportBody& me, std::uint16_t policy) noexcept {
  return (policy & enclave::kPolicyMrenclave) != 0 ? me.identity.mrenclave : me.identity.mrsigner;
}

// EGETKEY's code.
std::uint32_t key_for(const SealedHeader& header, AesKey& key) noexcept {
  KeyRequest request{};
  request.name = enclave::kSealKey;
  request.policy = header.policy;
  request.isv_svn = header.isv_svn;
  request.cpu_svn = header.cpu_svn;
  request.attribute_mask.flags = kAttributeMask;
  request.key_id = header.key_id;
  request.miscmask = kMiscMask;
  request.config_svn = header.config_svn;
  return enclave::get_key(request, key);
}

Bytes authenticated(const SealedHeader& header) noexcept {
  return {reinterpret_cast<const std::byte*>(&header), offsetof(SealedHeader, tag)};
}

bool overlap(Bytes a, Bytes b) noexcept {
  return !a.empty() && !b.empty() && a.data() < b.data() + b.size() && b.data() < a.data() + a.size();
}

// Whether memory that is read and memory that is written can be what the caller says.
bool ranges_are_good(Bytes in, Bytes additional, Bytes out) noexcept {
  return enclave::is_inside(in) && enclave::is_inside(additional) && enclave::is_inside(out) &&
         !overlap(in, out) && !overlap(additional, out);
}

std::unexpected<Error> fail(Code code, std::int32_t system = 0) noexcept {
  return std::unexpected(Error(code, system));
}

// What the header says of who can open it, against who this is.
Code check_owner(const SealedHeader& header, const ReportBody& me, std::uint16_t least_svn) noexcept {
  const std::uint16_t policy = header.policy & (enclave::kPolicyMrenclave | enclave::kPolicyMrsigner);
  if (policy != enclave::kPolicyMrenclave && policy != enclave::kPolicyMrsigner) return Code::kNotSealed;
  if (header.identity != identity_of(me, policy)) {
    return policy == enclave::kPolicyMrenclave ? Code::kWrongEnclave : Code::kWrongSigner;
  }
  if (header.isv_prod_id != me.version.isv_prod_id) return Code::kWrongProduct;
  if (header.attributes != (me.attributes.flags & kAttributeMask)) return Code::kWrongMode;
  // With KSS or without: EGETKEY would raise #GP for a policy that the enclave cannot have.
  if (header.policy != key_policy(policy, me)) return Code::kWrongMode;
  if (header.isv_svn > me.version.isv_svn) return Code::kNewerEnclave;
  if (header.config_svn > me.version.config_svn) return Code::kNewerConfiguration;
  if (header.isv_svn < least_svn) return Code::kOlderEnclave;
  return Code::kOk;
}

}  // namespace

std::size_t unsealed_size(Bytes sealed) noexcept {
  return sealed.size() < sizeof(SealedHeader) ? 0 : sealed.size() - sizeof(SealedHeader);
}

std::expected<std::span<std::byte>, Error> seal(Bytes data, Bytes additional, SealPolicy policy,
                                                std::span<std::byte> out) noexcept {
  const enclave::WipedStack wiped;
  if (data.size() > kMaxSealedData || additional.size() > kMaxSealedData) return fail(Code::kTooBig);
  if (out.size() < sealed_size(data.size())) return fail(Code::kNoRoom);
  if (!ranges_are_good(data, additional, out)) return fail(Code::kBadRange);
  if (!enclave::has_aes()) return fail(Code::kNoCryptography);

  const ReportBody me = enclave::own_report();
  SealedHeader header{};
  header.magic = kSealedMagic;
  header.format = kSealedFormat;
  header.policy = key_policy(static_cast<std::uint16_t>(policy), me);
  header.isv_prod_id = me.version.isv_prod_id;
  header.isv_svn = me.version.isv_svn;
  header.config_svn = me.version.config_svn;
  header.attributes = me.attributes.flags & kAttributeMask;
  header.data_size = data.size();
  header.additional_size = additional.size();
  header.cpu_svn = me.cpu_svn;
  header.identity = identity_of(me, header.policy);
  if (!enclave::random_bytes(header.key_id) || !enclave::random_bytes(header.nonce)) {
    return fail(Code::kNoRandomness);
  }
  enclave::Wiped<AesKey> key;
  if (const std::uint32_t code = key_for(header, key.value); code != 0) {
    return fail(Code::kNoKey, static_cast<std::int32_t>(code));
  }
  header.tag = enclave::gcm_encrypt(key.value, header.nonce, authenticated(header), additional, data,
                                    out.data() + sizeof header);
  std::memcpy(out.data(), &header, sizeof header);
  return out.first(sealed_size(data.size()));
}

std::expected<std::span<std::byte>, Error> unseal(Bytes sealed, Bytes additional, std::span<std::byte> out,
                                                  std::uint16_t least_svn) noexcept {
  const enclave::WipedStack wiped;
  if (!ranges_are_good(sealed, additional, out)) return fail(Code::kBadRange);
  if (sealed.size() < sizeof(SealedHeader)) return fail(Code::kNotSealed);
  SealedHeader header;
  std::memcpy(&header, sealed.data(), sizeof header);
  if (header.magic != kSealedMagic || header.format == 0) return fail(Code::kNotSealed);
  if (header.format > kSealedFormat) return fail(Code::kNewerFormat);
  const Bytes data = sealed.subspan(sizeof header);
  if (header.data_size != data.size() || data.size() > kMaxSealedData) return fail(Code::kWrongSize);
  if (out.size() < data.size()) return fail(Code::kNoRoom);
  if (header.additional_size != additional.size()) return fail(Code::kAltered);
  if (!enclave::has_aes()) return fail(Code::kNoCryptography);
  if (const Code code = check_owner(header, enclave::own_report(), least_svn); code != Code::kOk)
    return fail(code);

  enclave::Wiped<AesKey> key;
  switch (const std::uint32_t code = key_for(header, key.value); code) {
    case 0:
      break;
    case enclave::kInvalidCpuSvn:
      return fail(Code::kNewerProcessor);
    default:
      return fail(Code::kNoKey, static_cast<std::int32_t>(code));
  }
  if (!enclave::gcm_decrypt(key.value, header.nonce, authenticated(header), additional, data, header.tag,
                            out.data())) {
    return fail(Code::kAltered);
  }
  return out.first(data.size());
}

}  // namespace enclume
