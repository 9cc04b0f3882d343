// SPDX-License-Identifier: Apache-2.0
// unseal() on bytes from a hostile host: any, or what seal() has made with changes. Nothing but what seal()
// has made opens, and what does not open leaves the output alone.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "enclume/enclave/sealing.h"
#include "runtime/fake_processor.h"

namespace {

using namespace enclume;
using Bytes = std::vector<std::byte>;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Sealed {
  Bytes data, label, bytes;
};

// Of several lengths, by both policies.
std::vector<Sealed> make_sealed() {
  test::processor = {};
  ReportBody& self = test::processor.self;
  self.identity.mrenclave.fill(std::byte{0xe0});
  self.identity.mrsigner.fill(std::byte{0x51});
  self.attributes = {kAttributeInit | 4, 3};
  self.version.isv_svn = 5;
  self.cpu_svn[0] = std::byte{9};
  std::vector<Sealed> all;
  for (const std::size_t size : {0U, 1U, 16U, 100U, 130U, 300U}) {
    Sealed one;
    one.data.resize(size, static_cast<std::byte>(size));
    one.label.resize(size % 7, std::byte{'l'});
    one.bytes.resize(sealed_size(size));
    const auto policy = size % 2 == 0 ? SealPolicy::kEnclave : SealPolicy::kSigner;
    require(seal(one.data, one.label, policy, one.bytes).has_value());
    all.push_back(std::move(one));
  }
  return all;
}

void open(std::span<const std::byte> bytes, std::span<const std::byte> label, const Sealed* original) {
  const Bytes untouched(unsealed_size(bytes), std::byte{0x77});
  Bytes out = untouched;
  const auto data = unseal(bytes, label, out);
  const bool is_original = original != nullptr && std::ranges::equal(bytes, original->bytes) &&
                           std::ranges::equal(label, original->label);
  require(data.has_value() == is_original);
  if (data.has_value()) {
    require(std::ranges::equal(*data, original->data));
  } else {
    require(out == untouched && data.error().code != Code::kOk);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Sealed> all = make_sealed();
  if (size == 0) return 0;
  const std::span<const std::uint8_t> input(data + 1, size - 1);
  if (data[0] % 8 == 7) {
    open(std::as_bytes(input), {}, nullptr);
    return 0;
  }
  // Each three bytes: where to change what.
  const Sealed& original = all[data[0] % 8 % all.size()];
  Bytes bytes = original.bytes, label = original.label;
  for (std::size_t i = 0; i + 3 <= input.size(); i += 3) {
    const std::size_t at = input[i] | std::size_t{input[i + 1]} << 8;
    const auto change = static_cast<std::byte>(input[i + 2]);
    if (at < bytes.size()) {
      bytes[at] ^= change;
    } else if (at % 4 == 0) {
      bytes.resize(bytes.size() - std::min(bytes.size(), at / 4 % 200));
    } else if (at % 4 == 1) {
      bytes.resize(bytes.size() + at / 4 % 64, change);
    } else if (!label.empty()) {
      label[at / 4 % label.size()] ^= change;
    } else {
      label.push_back(change);
    }
  }
  open(bytes, label, &original);
  return 0;
}
