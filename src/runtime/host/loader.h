// SPDX-License-Identifier: Apache-2.0
// From an image to an initialised enclave, by the ioctls of /dev/sgx_enclave.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "enclume/edge/error.h"
#include "runtime/host/image.h"

namespace enclume::host {

/// ELRANGE and the descriptor; both go with the object.
class LoadedEnclave {
 public:
  LoadedEnclave() = default;
  LoadedEnclave(LoadedEnclave&& other) noexcept;
  LoadedEnclave& operator=(LoadedEnclave&& other) noexcept;
  ~LoadedEnclave();

  /// `sigstruct`: 1808 bytes. Nothing, and why.
  static std::optional<LoadedEnclave> load(const Image& image, std::span<const std::byte> sigstruct,
                                           bool debug, Error& error);
  /// The EPC was lost, perhaps by a move to another machine.
  static void forget_processor() noexcept;

  [[nodiscard]] std::uint64_t base() const noexcept { return base_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// ENCLUME_PLATFORM_*: what the enclave is told of it.
  [[nodiscard]] std::uint64_t platform() const noexcept { return platform_; }

 private:
  int fd_ = -1;
  std::uint64_t base_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t platform_ = 0;
};

}  // namespace enclume::host
