// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/sgxs.h"

#include <fmt/format.h>
#include <nettle/sha2.h>

#include <cstring>
#include <string_view>

#include "arch/identity/measurement.h"
#include "arch/structs/secinfo.h"

namespace enclume::cli {
namespace {

constexpr std::size_t kRecordSize = 64;
constexpr std::size_t kTagSize = 8;
constexpr std::uint64_t kPageMask = 0xfff;
constexpr unsigned kChunksPerPage = 4096 / arch::kMeasuredChunk;

using namespace std::string_view_literals;
constexpr auto kEcreate = "ECREATE\0"sv;
constexpr auto kUnsized = "UNSIZED\0"sv;
constexpr auto kEadd = "EADD\0\0\0\0"sv;
constexpr auto kEextend = "EEXTEND\0"sv;
constexpr auto kUnmeasured = "UNMEASRD"sv;

std::string_view tag_of(std::span<const std::byte> record) {
  return {reinterpret_cast<const char*>(record.data()), kTagSize};
}

template <typename Integer>
Integer field(std::span<const std::byte> record, std::size_t offset) {
  Integer value;
  std::memcpy(&value, record.data() + offset, sizeof value);
  return value;
}

class Hasher {
 public:
  Hasher() { sha256_init(&context_); }
  void add(std::span<const std::byte> bytes) {
    sha256_update(&context_, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
  }
  arch::Hash256 finish() {
    arch::Hash256 digest;
    sha256_digest(&context_, digest.size(), reinterpret_cast<std::uint8_t*>(digest.data()));
    return digest;
  }

 private:
  sha256_ctx context_{};
};

// Walks the stream under the rules of a canonical one: pages in rising order, chunks within the page before
// them and each once. A loader refuses anything else.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> file) : file_(file) {}

  SgxsSummary read() {
    begin(take(kRecordSize));
    while (summary_.problem.empty() && position_ < file_.size()) next();
    if (summary_.problem.empty() && summary_.is_sized) summary_.mrenclave = hasher_.finish();
    return summary_;
  }

 private:
  void fail(const std::string& what) {
    summary_.problem = fmt::format("at offset {:#x}: {}", position_, what);
  }

  std::span<const std::byte> take(std::size_t size) {
    const auto bytes = file_.subspan(position_, size);
    position_ += size;
    return bytes;
  }

  [[nodiscard]] bool has(std::size_t size) const { return file_.size() - position_ >= size; }

  void begin(std::span<const std::byte> record) {
    summary_.is_sized = tag_of(record) == kEcreate;
    summary_.ssa_frame_size = field<std::uint32_t>(record, 8);
    summary_.size = field<std::uint64_t>(record, 12);
    hasher_.add(record);
  }

  void next() {
    if (!has(kRecordSize)) return fail("the last record is cut short");
    const auto record = file_.subspan(position_, kRecordSize);
    const auto tag = tag_of(record);
    if (tag == kEadd) {
      add_page(record);
    } else if (tag == kEextend || tag == kUnmeasured) {
      add_chunk(record, tag == kEextend);
    } else if (tag == kEcreate || tag == kUnsized) {
      fail("a second header");
    } else {
      fail("an unknown record");
    }
  }

  void add_page(std::span<const std::byte> record) {
    const auto offset = field<std::uint64_t>(record, 8);
    if ((offset & kPageMask) != 0) return fail(fmt::format("page offset {:#x} is not page aligned", offset));
    if (page_ && offset <= *page_) return fail(fmt::format("page {:#x} is out of order", offset));
    if (summary_.is_sized && offset >= summary_.size)
      return fail(fmt::format("page {:#x} is outside", offset));
    page_ = offset;
    chunks_seen_ = 0;
    const arch::Secinfo secinfo{.flags = field<std::uint64_t>(record, 16), .reserved = {}};
    switch (secinfo.type()) {
      case arch::PageType::Tcs:
        ++summary_.tcs_pages;
        break;
      case arch::PageType::Reg:
        ++summary_.regular_pages;
        break;
      default:
        ++summary_.other_pages;
        break;
    }
    hasher_.add(take(kRecordSize));
  }

  void add_chunk(std::span<const std::byte> record, bool is_measured) {
    const auto offset = field<std::uint64_t>(record, 8);
    if (offset % arch::kMeasuredChunk != 0)
      return fail(fmt::format("chunk offset {:#x} is not aligned", offset));
    if (!page_ || (offset & ~kPageMask) != *page_) {
      return fail(fmt::format("chunk {:#x} is not in the page before it", offset));
    }
    const auto bit = 1U << (offset / arch::kMeasuredChunk % kChunksPerPage);
    if ((chunks_seen_ & bit) != 0) return fail(fmt::format("chunk {:#x} comes twice", offset));
    chunks_seen_ |= bit;
    if (!has(kRecordSize + arch::kMeasuredChunk)) return fail("the data of the last chunk is cut short");
    const auto bytes = take(kRecordSize + arch::kMeasuredChunk);
    if (is_measured) hasher_.add(bytes);
    ++(is_measured ? summary_.measured_chunks : summary_.unmeasured_chunks);
  }

  std::span<const std::byte> file_;
  std::size_t position_ = 0;
  SgxsSummary summary_;
  Hasher hasher_;
  std::optional<std::uint64_t> page_;
  unsigned chunks_seen_ = 0;
};

}  // namespace

std::optional<SgxsSummary> read_sgxs(std::span<const std::byte> file) {
  if (file.size() < kRecordSize) return std::nullopt;
  if (const auto tag = tag_of(file); tag != kEcreate && tag != kUnsized) return std::nullopt;
  return Reader(file).read();
}

}  // namespace enclume::cli
