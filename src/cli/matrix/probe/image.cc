// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/probe/image.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "cli/matrix/probe/host.h"

namespace enclume::cli::matrix::probe {
namespace {

void add(Image& image, std::uint64_t offset, std::uint64_t size, std::uint64_t permissions) {
  for (std::uint64_t at = offset; at < offset + size; at += kPage) {
    image[at] = {.secinfo = kSecinfoReg | permissions, .bytes = {}};
  }
}

// TCS (SDM Vol. 3D, table 38-5)
constexpr std::size_t kFlags = 8, kOssa = 16, kNssa = 28, kOentry = 32, kOfsbase = 48, kOgsbase = 56;

PageBytes good_tcs() {
  PageBytes tcs{};
  put<std::uint64_t>(tcs, kOssa, ENCLAVE_SSA);
  put<std::uint32_t>(tcs, kNssa, ENCLAVE_FRAMES);
  put<std::uint64_t>(tcs, kOentry, static_cast<std::uint64_t>(matrix_enclave_entry - matrix_enclave_begin));
  put<std::uint64_t>(tcs, kOfsbase, ENCLAVE_THREAD);
  put<std::uint64_t>(tcs, kOgsbase, ENCLAVE_THREAD);
  put<std::uint32_t>(tcs, 64, 0xffffffff);  // FSLIMIT, GSLIMIT: for 32-bit enclaves
  put<std::uint32_t>(tcs, 68, 0xffffffff);
  return tcs;
}

PageBytes odd_tcs(OddTcs which) {
  constexpr std::uint64_t kFar = 0x0000'8000'0000'0000;  // from any base it is outside of both halves
  PageBytes tcs = good_tcs();
  switch (which) {
    case OddTcs::kOssaUnaligned:
      put<std::uint64_t>(tcs, kOssa, ENCLAVE_SSA + 8);
      break;
    case OddTcs::kOfsbaseUnaligned:
      put<std::uint64_t>(tcs, kOfsbase, ENCLAVE_THREAD + 8);
      break;
    case OddTcs::kOgsbaseUnaligned:
      put<std::uint64_t>(tcs, kOgsbase, ENCLAVE_THREAD + 8);
      break;
    case OddTcs::kFlagsReserved:
      put<std::uint64_t>(tcs, kFlags, 1 << 7);
      break;
    case OddTcs::kFlagsAexNotify:
      put<std::uint64_t>(tcs, kFlags, 1 << 1);
      break;
    case OddTcs::kNoFrames:
      put<std::uint32_t>(tcs, kNssa, 0);
      break;
    case OddTcs::kOneFrame:
      put<std::uint32_t>(tcs, kNssa, 1);
      break;
    case OddTcs::kEntryNonCanonical:
      put<std::uint64_t>(tcs, kOentry, kFar);
      break;
    case OddTcs::kFsBaseNonCanonical:
      put<std::uint64_t>(tcs, kOfsbase, kFar);
      break;
    case OddTcs::kGsBaseNonCanonical:
      put<std::uint64_t>(tcs, kOgsbase, kFar);
      break;
    case OddTcs::kSsaInHole:
      put<std::uint64_t>(tcs, kOssa, ENCLAVE_HOLE);
      break;
    case OddTcs::kSsaReadOnly:
      put<std::uint64_t>(tcs, kOssa, ENCLAVE_READ_ONLY);
      break;
    case OddTcs::kSsaIsTcs:
      put<std::uint64_t>(tcs, kOssa, ENCLAVE_TCS);
      break;
    case OddTcs::kSpare:
    case OddTcs::kCount:
      break;
  }
  return tcs;
}

}  // namespace

Image make_image() {
  const std::vector<std::uint8_t> code(matrix_enclave_begin, matrix_enclave_end);
  if (code.size() > ENCLAVE_CODE_SIZE) throw std::length_error("the enclave's code exceeds its pages");

  Image image;
  add(image, 0, ENCLAVE_CODE_SIZE, kSecinfoR | kSecinfoX);
  for (std::size_t at = 0; at < code.size(); at += kPage) {
    const auto size = std::min<std::size_t>(kPage, code.size() - at);
    std::copy_n(code.data() + at, size, image[at].bytes.data());
  }
  add(image, ENCLAVE_DATA, 2 * kPage, kSecinfoR | kSecinfoW);
  add(image, ENCLAVE_READ_ONLY, kPage, kSecinfoR);
  image[ENCLAVE_TCS] = {.secinfo = kSecinfoTcs, .bytes = good_tcs()};
  add(image, ENCLAVE_THREAD, kPage, kSecinfoR | kSecinfoW);
  add(image, ENCLAVE_STACKS, ENCLAVE_STACK_TOP - ENCLAVE_STACKS, kSecinfoR | kSecinfoW);
  add(image, ENCLAVE_SSA, ENCLAVE_FRAMES * kPage, kSecinfoR | kSecinfoW);
  add(image, ENCLAVE_BUFFER, ENCLAVE_BUFFER_SIZE, kSecinfoR | kSecinfoW);
  for (int i = 0; i < static_cast<int>(OddTcs::kCount); ++i) {
    const auto tcs = static_cast<OddTcs>(i);
    image[offset_of(tcs)] = {.secinfo = kSecinfoTcs, .bytes = odd_tcs(tcs)};
  }
  return image;
}

}  // namespace enclume::cli::matrix::probe
