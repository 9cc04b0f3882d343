// SPDX-License-Identifier: Apache-2.0
// An image file as the pages of an enclave: what the loader adds and what the signing tool measures, in the
// same order. Nothing in the file is trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "enclume/edge/error.h"
#include "enclume/edge/image.h"

namespace enclume::host {

/// Adjacent pages that agree in all but their contents.
struct PageRun {
  std::uint64_t offset;  ///< in the enclave
  std::uint64_t length;  ///< bytes, whole pages
  std::uint64_t secinfo_flags;
  bool measured;           ///< whether the contents are (EEXTEND); that the page is there always is
  const std::byte* bytes;  ///< page-aligned; null: zeros
};

/// Addresses that get pages later, if at all.
struct Reserve {
  std::uint64_t offset;
  std::uint64_t length;
};

class Image {
 public:
  /// Reads an image; nothing, and why: Code::kBadImage, with an ImageProblem in `system`.
  /// (No std::expected, which Clang 14 has for trivial types only: the fuzzers are built with it.)
  static std::optional<Image> parse(std::span<const std::byte> file, Error& error);

  [[nodiscard]] const edge::EnclaveConfig& config() const noexcept { return config_; }
  [[nodiscard]] const edge::Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] std::uint64_t tls_size() const noexcept { return tls_size_; }
  /// In ascending order of offset.
  [[nodiscard]] std::span<const PageRun> runs() const noexcept { return runs_; }
  /// Where heap and stacks grow.
  [[nodiscard]] std::span<const Reserve> reserves() const noexcept { return reserves_; }
  /// Where in the file the SIGSTRUCT is, or goes.
  [[nodiscard]] std::size_t sigstruct_offset() const noexcept { return sigstruct_offset_; }

 private:
  struct PagesDeleter {
    void operator()(std::byte* pages) const noexcept;
  };
  using Pages = std::unique_ptr<std::byte[], PagesDeleter>;

  /// Zeroed pages that live as long as the image.
  std::byte* new_pages(std::uint64_t bytes);
  void add_threads(std::uint64_t entry);

  edge::EnclaveConfig config_{};
  edge::Layout layout_{};
  std::uint64_t tls_size_ = 0;
  std::size_t sigstruct_offset_ = 0;
  std::vector<PageRun> runs_;
  std::vector<Reserve> reserves_;
  std::vector<Pages> pages_;
};

}  // namespace enclume::host
