// SPDX-License-Identifier: Apache-2.0
// A loaded enclave and its threads: what stands behind enclume::Enclave.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "enclume/host/enclave.h"
#include "runtime/host/enter.h"
#include "runtime/host/image.h"
#include "runtime/host/incarnations.h"
#include "runtime/host/tcs_pool.h"

namespace enclume::host {

class Core : public std::enable_shared_from_this<Core> {
 public:
  /// `sigstruct`: 1808 bytes. `path`: what the image was read from, for who symbolises.
  Core(Image image, std::span<const std::byte> sigstruct, const char* path, const LoadOptions& options,
       const OcallTable& ocalls, vdso_sgx_enter_enclave_t function);

  /// Loads the enclave and runs its own start; the first time.
  [[nodiscard]] Error build();
  /// See Enclave::rebuild(). Throws what `restore` throws.
  [[nodiscard]] Error rebuild(const std::function<Error()>& restore);
  /// `words`: as in the mailbox.
  [[nodiscard]] Error invoke(Activation& activation, std::uint32_t command, std::uint64_t argument,
                             std::uint64_t words);

  [[nodiscard]] const OcallTable& ocalls() const noexcept { return ocalls_; }
  [[nodiscard]] std::uint64_t base() noexcept { return incarnations_.current().enclave.base(); }
  [[nodiscard]] std::uint64_t size() noexcept { return incarnations_.current().enclave.size(); }
  [[nodiscard]] bool wants_dumps() const noexcept { return on_dump_ != nullptr; }

 private:
  /// Of the call that this thread has just ended, in an enclave at `base`.
  void report_dump(std::uint64_t base) const;
  [[nodiscard]] std::uint64_t tcs_address(const Incarnation& incarnation,
                                          std::uint32_t index) const noexcept {
    const std::uint64_t offset = image_.layout().thread(image_.config(), image_.tls_size(), index).tcs;
    return incarnation.enclave.base() + offset;
  }
  /// A new enclave, started and restored, that nobody knows yet; null, and why.
  std::unique_ptr<Incarnation> build_one(const std::function<Error()>& restore, Error& why);

  const Image image_;
  const std::vector<std::byte> sigstruct_;
  const std::string path_;
  const bool debug_;
  const WhenBusy when_busy_;
  const DumpHandler on_dump_;
  const OcallTable& ocalls_;
  const vdso_sgx_enter_enclave_t function_;
  TcsPool pool_;
  Incarnations incarnations_;
  std::mutex rebuilding_;
};

}  // namespace enclume::host
