// SPDX-License-Identifier: Apache-2.0
// A second file of the program with the same headers, which bring code along.
#include "enclume/host/per_mm_enclu.h"
#include "enclume/host/vdso_enclu.h"

const void* host_user_enclu();
const void* host_user_enclu() {
  return enclume::detail::enclume_per_mm_enclu;
}
