// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/find_sigstruct.h"

#include <gmp.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "arch/identity/crypto.h"
#include "arch/identity/signature.h"

namespace enclume::cli {
namespace {

constexpr std::array<std::uint8_t, 12> kHeaderStart = {0x06, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 0x01, 0};
constexpr std::array<std::uint8_t, 16> kHeader2 = {0x01, 0x01, 0, 0, 0x60, 0, 0, 0,
                                                   0x60, 0,    0, 0, 0x01, 0, 0, 0};
constexpr std::size_t kMaxFound = 64;

// A big number of GMP's, little endian outside.
class BigNumber {
 public:
  explicit BigNumber(const arch::Bytes<arch::kRsaSize>& bytes) {
    mpz_init(value_);
    mpz_import(value_, bytes.size(), -1, 1, 0, 0, bytes.data());
  }
  ~BigNumber() { mpz_clear(value_); }
  BigNumber(const BigNumber&) = delete;
  BigNumber& operator=(const BigNumber&) = delete;

  mpz_ptr get() { return value_; }

 private:
  mpz_t value_;
};

FoundSigstruct judge(std::uint64_t offset, const arch::Sigstruct& sigstruct) {
  auto signature = SignatureState::kInvalid;
  if (arch::verify_signature(sigstruct).has_value()) {
    signature = SignatureState::kValid;
  } else if (rsa_signature_matches(sigstruct)) {
    signature = SignatureState::kWrongHelpers;
  }
  return {.offset = offset,
          .sigstruct = sigstruct,
          .is_well_formed = arch::sigstruct_well_formed(sigstruct),
          .signature = signature,
          .mrsigner = arch::signer_of(sigstruct)};
}

}  // namespace

bool rsa_signature_matches(const arch::Sigstruct& sigstruct) {
  BigNumber modulus(sigstruct.modulus);
  BigNumber signature(sigstruct.signature);
  if (mpz_sgn(modulus.get()) == 0 || mpz_cmp(signature.get(), modulus.get()) >= 0) return false;

  const auto bytes = arch::bytes_of(sigstruct);
  const auto digest =
      arch::sha256({bytes.first(arch::kSigstructSignedPart),
                    bytes.subspan(offsetof(arch::Sigstruct, miscselect), arch::kSigstructSignedPart)});
  arch::Bytes<arch::kRsaSize> block{};
  std::ranges::reverse_copy(digest, block.begin());
  std::ranges::copy(arch::pkcs1_padding(), block.begin() + digest.size());

  BigNumber expected(block);
  mpz_powm_ui(signature.get(), signature.get(), 3, modulus.get());
  return mpz_cmp(signature.get(), expected.get()) == 0;
}

std::vector<FoundSigstruct> find_sigstructs(std::span<const std::byte> file) {
  std::vector<FoundSigstruct> found;
  const auto start = std::as_bytes(std::span(kHeaderStart));
  const auto header2 = std::as_bytes(std::span(kHeader2));
  auto from = file.begin();
  while (found.size() < kMaxFound) {
    const auto match = std::search(from, file.end(), start.begin(), start.end());
    if (static_cast<std::size_t>(file.end() - match) < sizeof(arch::Sigstruct)) break;
    from = match + 1;
    if (!std::equal(header2.begin(), header2.end(), match + offsetof(arch::Sigstruct, header2))) continue;
    const auto offset = static_cast<std::size_t>(match - file.begin());
    arch::Sigstruct sigstruct;
    std::memcpy(&sigstruct, file.data() + offset, sizeof sigstruct);
    found.push_back(judge(offset, sigstruct));
    from = match + sizeof sigstruct;
  }
  return found;
}

}  // namespace enclume::cli
