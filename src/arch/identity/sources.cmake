# SPDX-License-Identifier: Apache-2.0
list(APPEND arch_sources
  identity/crypto_guard.cc)
