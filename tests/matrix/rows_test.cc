// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "cli/matrix/row.h"

namespace enclume::cli::matrix {
namespace {

TEST(MatrixRowsTest, NamesAreUnique) {
  std::set<std::string> names;
  for (const Cell& cell : all_cells()) EXPECT_TRUE(names.insert(cell.name()).second) << cell.name();
}

TEST(MatrixRowsTest, EachIsTriedOrSaysWhyNot) {
  for (const Cell& cell : all_cells()) {
    const Row& row = *cell.row;
    EXPECT_EQ(row.who.size(), 4U) << cell.name();
    EXPECT_EQ(row.trigger.empty(), row.needs == Needs::kNobody) << cell.name();
    EXPECT_EQ(row.why.empty(), row.needs == Needs::kNothing) << cell.name();
    EXPECT_FALSE(row.source.empty()) << cell.name();
    EXPECT_EQ(row.natively != nullptr, row.needs == Needs::kStrict || row.needs == Needs::kNoHypervisor)
        << cell.name();
  }
}

TEST(MatrixRowsTest, EveryPlaceHasEveryVectorOrSaysWhyNot) {
  // What cannot be had natively is a row as well: no vector may be missing silently.
  for (const Place place : {Place::kOptOut, Place::kOptIn, Place::kHandler}) {
    std::set<std::string_view> vectors;
    for (const Cell& cell : all_cells()) {
      if (cell.place == place) vectors.insert(cell.row->vector);
    }
    for (const char* vector : {"#DE", "#DB", "#BP", "#OF", "#BR", "#UD", "#NM", "#SS", "#GP", "#PF", "#MF",
                               "#AC", "#XM", "#CP", "interrupt"}) {
      EXPECT_TRUE(vectors.contains(vector)) << vector << " in " << name_of(place);
    }
  }
}

TEST(MatrixRowsTest, DebugTrapsAreNeverFixedUp) {
  // extable.c and RFC v3 agree on it.
  for (const Cell& cell : all_cells()) {
    if (cell.row->exception.vector == 1 || cell.row->exception.vector == 3) {
      EXPECT_EQ(cell.row->who.find_first_of("FH"), std::string_view::npos) << cell.name();
    }
  }
}

}  // namespace
}  // namespace enclume::cli::matrix
