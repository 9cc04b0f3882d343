// SPDX-License-Identifier: Apache-2.0
//
// Calls within calls, across runtimes: an enclave's OCALL enters the next enclave, down to the first enclave
// again, on another TCS. Something goes wrong in each of them; the handler of that entry sees to it. The
// innermost OCALL then throws a C++ exception, which comes out of the outermost call.
#include <array>
#include <cstdio>
#include <memory>
#include <span>
#include <stdexcept>

#include "neighbours/neighbour.h"

namespace {

using namespace neighbours;

struct Step {
  Neighbour* where;
  Trouble trouble;
};

const char* describe(Trouble trouble) {
  static constexpr std::array kNames{"nothing", "#DE", "#UD", "#PF"};
  return kNames[static_cast<std::size_t>(trouble)];
}

// Visits steps[at] and, from its OCALL, those behind it.
std::uint64_t descend(std::span<const Step> steps, std::size_t at, bool shall_throw) {
  const int indent = static_cast<int>(2 * at);
  if (at == steps.size()) {
    std::printf("%*s%s\n", indent, "", shall_throw ? "throws" : "returns");
    if (shall_throw) throw std::runtime_error("thrown at the innermost point");
    return 0;
  }
  Neighbour& where = *steps[at].where;
  const auto seen = where.seen(steps[at].trouble);
  return where.visit(steps[at].trouble, 1, [&](std::uint64_t) {
    std::printf("%*s%s: %s inside, seen to by the handler of this entry: %s\n", indent, "", where.name(),
                describe(steps[at].trouble), where.seen(steps[at].trouble) == seen + 1 ? "yes" : "no");
    return descend(steps, at + 1, shall_throw);
  });
}

}  // namespace

int main(int argc, char** argv) try {
  const auto own = make_own(argc > 1 ? argv[1] : "own.enclave");
  const auto raw = make_raw(), bare = make_bare();
  const std::array<Step, 4> steps{{{own.get(), Trouble::kDivide},
                                   {raw.get(), Trouble::kIllegal},
                                   {bare.get(), Trouble::kRead},
                                   {own.get(), Trouble::kIllegal}}};

  std::printf("%lu calls deep, says the sum\n", descend(steps, 0, false));
  try {
    descend(steps, 0, true);
  } catch (const std::runtime_error& error) {
    std::printf("caught: %s\n", error.what());
  }
  bool good = true;
  for (Neighbour* const each : {own.get(), raw.get(), bare.get()}) {
    good = good && each->strangers() == 0 && every_tcs_is_free(*each);
  }
  std::puts(good ? "every TCS is free" : "a TCS is lost");
  return good ? 0 : 1;
} catch (const std::exception& exception) {
  std::fprintf(stderr, "nested: %s\n", exception.what());
  return 1;
}
