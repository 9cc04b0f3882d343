// SPDX-License-Identifier: Apache-2.0
#include "arch/identity/crypto_guard.h"

namespace enclume::arch {

namespace {
// Which FS base is sane is a property of the process, not of a machine.
constinit CryptoHooks installed;
}  // namespace

void set_crypto_hooks(const CryptoHooks& hooks) noexcept {
  installed = hooks;
}

CryptoGuard::CryptoGuard() noexcept {
  if (installed.enter != nullptr) {
    leave_ = installed.leave;
    token_ = installed.enter();
  }
}

CryptoGuard::~CryptoGuard() {
  if (leave_ != nullptr) {
    leave_(token_);
  }
}

}  // namespace enclume::arch
