// SPDX-License-Identifier: Apache-2.0
#include "runtime/fake_processor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace enclume::test {

FakeProcessor processor;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

// What a sealing key depends on (SDM volume 3D, EGETKEY). Which function of it makes no difference here.
struct Dependencies {
  enclave::KeyRequest request;
  Measurement mrenclave, mrsigner;
  std::uint64_t attributes, xfrm;
  std::array<std::byte, 64> config_id;
  std::array<std::byte, 16> family_id, ext_prod_id;
  std::uint32_t miscselect;
  std::uint16_t isv_prod_id;
  std::uint16_t zero;
};

}  // namespace
}  // namespace enclume::test

namespace enclume::enclave {

using test::processor;

std::uint32_t get_key(const KeyRequest& request, AesKey& key) noexcept {
  const ReportBody& self = processor.self;
  constexpr std::uint16_t kKssOnly = 0x3c, kReserved = 0xffc0;
  test::require(test::is_zero(request.reserved1) && test::is_zero(request.reserved2));
  test::require((request.policy & kReserved) == 0);
  if ((self.attributes.flags & kAttributeKss) == 0) {
    test::require((request.policy & kKssOnly) == 0 && request.config_svn == 0);
  }
  test::require(request.name == kSealKey);
  for (std::size_t i = 0; i < request.cpu_svn.size(); ++i) {
    if (request.cpu_svn[i] > self.cpu_svn[i]) return kInvalidCpuSvn;
  }
  if (request.isv_svn > self.version.isv_svn || request.config_svn > self.version.config_svn) {
    return kInvalidIsvSvn;
  }
  test::Dependencies from{};
  from.request = request;
  if ((request.policy & kPolicyMrenclave) != 0) from.mrenclave = self.identity.mrenclave;
  if ((request.policy & kPolicyMrsigner) != 0) from.mrsigner = self.identity.mrsigner;
  from.attributes = self.attributes.flags & (request.attribute_mask.flags | 3);
  from.xfrm = self.attributes.xfrm & request.attribute_mask.xfrm;
  from.miscselect = self.miscselect & request.miscmask;
  from.isv_prod_id = self.version.isv_prod_id;
  if ((request.policy & kPolicyConfigId) != 0) from.config_id = self.config_id;
  if ((request.policy & kPolicyFamilyId) != 0) from.family_id = self.isv_family_id;
  if ((request.policy & kPolicyExtProdId) != 0) from.ext_prod_id = self.isv_ext_prod_id;
  constexpr AesKey kRoot{std::byte{0x5e}, std::byte{0xa1}};
  key = cmac(kRoot, std::as_bytes(std::span(&from, 1)));
  return 0;
}

Report make_report(const TargetInfo&, const ReportData& data) noexcept {
  Report report{};
  report.body = processor.self;
  report.body.report_data = data;
  return report;
}

ReportBody own_report() noexcept {
  return processor.self;
}

void wipe_stack() noexcept {}

bool random_bytes(std::span<std::byte> to) noexcept {
  if (!processor.has_random) return false;
  for (std::byte& b : to) {
    processor.random_state = processor.random_state * 6364136223846793005U + 1442695040888963407U;
    b = static_cast<std::byte>(processor.random_state >> 56);
  }
  return true;
}

bool has_aes() noexcept {
  return processor.has_aes;
}

bool is_inside(std::span<const std::byte> bytes) noexcept {
  return processor.all_is_inside || bytes.empty();
}

}  // namespace enclume::enclave
