// SPDX-License-Identifier: Apache-2.0
// Listing /dev shows the SGX devices; all else about it is in the front doors themselves.
#pragma once

namespace enclume::engine {

/// In the child of a fork, where another thread of the parent's may have been at work.
void directories_after_fork();

}  // namespace enclume::engine
