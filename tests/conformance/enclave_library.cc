// SPDX-License-Identifier: Apache-2.0
//
// A library that brings its own enclave, as a PKCS#11 module would. Loaded by process_test while it runs.
#include "enclaves/probe_enclave.h"

extern "C" __attribute__((visibility("default"))) std::uint64_t enclave_library_sum(std::uint64_t a,
                                                                                    std::uint64_t b) {
  static const enclume::test::ProbeEnclave probe;
  return probe.call(PROBE_OP_SUM, {a, b}).args.out[0];
}
