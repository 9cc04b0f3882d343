// SPDX-License-Identifier: Apache-2.0
// What an enclave's libraries do, against those of the host.
#include <gtest/gtest.h>

#include "enclume/host/enclave.h"
#include "runtime/library.h"

namespace enclume {
namespace {

const Enclave<Library>& enclave() {
  static const auto loaded = Enclave<Library>::load(ENCLUME_TEST_LIBRARY_IMAGE);
  if (!loaded) throw std::runtime_error(describe(loaded.error().code).data());
  return *loaded;
}

class LibraryInside : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(LibraryInside, DoesWhatTheHostsDoes) {
  const library::Part& part = library::kParts[GetParam()];
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const auto inside = enclave().call<library::run>(GetParam(), seed);
    ASSERT_TRUE(inside) << part.name << ", seed " << seed << ": " << describe(inside.error().code);
    ASSERT_EQ(*inside, part.run(seed)) << part.name << ", seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, LibraryInside,
                         ::testing::Range(std::uint32_t{0},
                                          static_cast<std::uint32_t>(library::kParts.size())),
                         [](const auto& named) { return library::kParts[named.param].name; });

TEST(LibraryInside, EndsTheCallOnAConversionThatItDoesNotKnow) {
  for (std::uint32_t which = 0; which < 5; ++which) {
    const auto printed = enclave().call<library::print_unknown>(which);
    ASSERT_FALSE(printed) << which;
    EXPECT_EQ(printed.error().code, Code::kFault) << which;
    EXPECT_EQ(printed.error().fault.vector, 6) << which;
  }
}

}  // namespace
}  // namespace enclume
