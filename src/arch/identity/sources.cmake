# SPDX-License-Identifier: Apache-2.0
list(APPEND arch_sources
  identity/crypto.cc
  identity/crypto_guard.cc
  identity/keys.cc
  identity/measurement.cc
  identity/page_seal.cc
  identity/signature.cc)
