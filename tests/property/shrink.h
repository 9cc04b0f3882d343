// SPDX-License-Identifier: Apache-2.0
// Delta debugging: a failing sequence becomes one in which every step is needed (Zeller and Hildebrandt,
// "Simplifying and Isolating Failure-Inducing Input", 2002: ddmin, complements only).
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace enclume::property {

/// `fails(sequence)` says whether the failure is still there. It must be for `steps`. `keep_trying()` ends
/// the search early; what is returned always fails.
template <typename Step, typename Fails, typename KeepTrying>
std::vector<Step> shrink(std::vector<Step> steps, Fails fails, KeepTrying keep_trying) {
  for (std::size_t chunk = std::max<std::size_t>(steps.size() / 2, 1);;) {
    bool shorter = false;
    // From the end: what comes last depends on what comes first.
    for (std::size_t end = steps.size(); end > 0 && keep_trying();) {
      const std::size_t begin = end > chunk ? end - chunk : 0;
      std::vector<Step> candidate(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(begin));
      candidate.insert(candidate.end(), steps.begin() + static_cast<std::ptrdiff_t>(end), steps.end());
      if (!candidate.empty() && fails(candidate)) {
        steps = std::move(candidate);
        shorter = true;
      }
      end = begin;
    }
    if (!keep_trying() || (chunk == 1 && !shorter)) return steps;
    if (!shorter) chunk = std::max<std::size_t>(chunk / 2, 1);
    chunk = std::min(chunk, std::max<std::size_t>(steps.size() / 2, 1));
  }
}

}  // namespace enclume::property
