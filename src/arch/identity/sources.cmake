# SPDX-License-Identifier: Apache-2.0
list(APPEND arch_sources
  identity/crypto.cc
  identity/crypto_guard.cc
  identity/keys.cc
  identity/measurement.cc
  identity/page_cipher_aesni.cc
  identity/page_cipher_vaes.cc
  identity/page_seal.cc
  identity/signature.cc)
# Whether the processor has them is found out before anything of these runs.
set_source_files_properties(identity/page_cipher_aesni.cc PROPERTIES COMPILE_OPTIONS "-maes;-mpclmul;-mssse3")
set_source_files_properties(identity/page_cipher_vaes.cc PROPERTIES
  COMPILE_OPTIONS "-mvaes;-mvpclmulqdq;-maes;-mpclmul;-mavx2")
