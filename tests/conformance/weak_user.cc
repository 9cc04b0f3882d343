// SPDX-License-Identifier: Apache-2.0
// A library that uses the vDSO's function if its loader finds one.
extern "C" {
[[gnu::weak]] int __vdso_sgx_enter_enclave();
[[gnu::visibility("default")]] const void* weak_enter_function();

const void* weak_enter_function() {
  return reinterpret_cast<const void*>(&__vdso_sgx_enter_enclave);
}
}
