// SPDX-License-Identifier: Apache-2.0
// A loaded enclave and its threads: what stands behind enclume::Enclave.
#pragma once

#include <atomic>
#include <memory>

#include "enclume/host/enclave.h"
#include "runtime/host/enter.h"
#include "runtime/host/events.h"
#include "runtime/host/loader.h"
#include "runtime/host/tcs_pool.h"

namespace enclume::host {

class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(LoadedEnclave enclave, const Image& image, const LoadOptions& options, const OcallTable& ocalls,
       vdso_sgx_enter_enclave_t function);

  /// Runs the enclave's own start.
  [[nodiscard]] Error start();
  /// `words`: as in the mailbox.
  [[nodiscard]] Error invoke(Activation& activation, std::uint32_t command, std::uint64_t argument,
                             std::uint64_t words);

  [[nodiscard]] const OcallTable& ocalls() const noexcept { return ocalls_; }
  [[nodiscard]] std::uint64_t base() const noexcept { return enclave_.base(); }
  [[nodiscard]] Events& events() noexcept { return events_; }

 private:
  [[nodiscard]] std::uint64_t tcs_address(std::uint32_t index) const noexcept {
    return base() + layout_.thread(config_, tls_size_, index).tcs;
  }

  LoadedEnclave enclave_;
  edge::EnclaveConfig config_;
  edge::Layout layout_;
  std::uint64_t tls_size_;
  WhenBusy when_busy_;
  const OcallTable& ocalls_;
  vdso_sgx_enter_enclave_t function_;
  TcsPool pool_;
  Events events_;
};

}  // namespace enclume::host
