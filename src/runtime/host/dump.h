// SPDX-License-Identifier: Apache-2.0
// From the records that an enclave has written to a Dump.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "enclume/edge/dump.h"
#include "enclume/host/dump.h"

namespace enclume::host {

/// What the records have, and leaves them empty.
[[nodiscard]] std::vector<Dump::Level> take_records(std::span<edge::DumpRecord> records, std::uint64_t base);

}  // namespace enclume::host
