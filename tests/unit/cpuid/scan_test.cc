// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/scan.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/cpuid/function_bounds.h"

// Labels of cpuid_samples.S.
extern "C" {
extern const std::byte sample_plain[], site_plain[], sample_prefixed[], site_prefixed[], sample_immediate[],
    site_immediate[], sample_behind_data[], site_in_data[], site_behind_data[], site_lock_skipped[],
    site_overlapping[], sample_symbol_only[], site_symbol_only[], site_unknown[], site_vector[],
    site_beside_overlap[], site_call_known[], site_call_copied[], site_call_copied_other[],
    site_call_trapped[], site_call_given[], site_call_shared[], site_call_overwritten[],
    site_call_behind_table[], site_call_prefixed[], site_call_immediate[], site_call_beside_table[],
    site_call_in_table[], site_call_beside_two[], site_leaf_plain[], site_leaf_features[],
    site_leaf_maximum[], site_leaf_beyond[], site_leaf_in_loop[], site_leaf_changed_in_loop[],
    site_leaf_by_exception[], site_leaf_of_two[], site_constant_leaf[], site_constant_both[],
    site_constant_cleared[], site_constant_other_way[], site_constant_apart[], site_constant_copied[],
    site_constant_wide[];
}

namespace enclume::engine {
namespace {

std::uint64_t address(const std::byte* label) {
  return reinterpret_cast<std::uint64_t>(label);
}

struct LoadedObject {
  std::uint64_t bias = 0;
  std::vector<Elf64_Phdr> headers;
  std::string path;

  [[nodiscard]] ObjectImage image() const { return {bias, headers, path.c_str()}; }
};

std::vector<LoadedObject> loaded_objects() {
  std::vector<LoadedObject> objects;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        static_cast<std::vector<LoadedObject>*>(out)->push_back(
            {info->dlpi_addr, {info->dlpi_phdr, info->dlpi_phdr + info->dlpi_phnum}, info->dlpi_name});
        return 0;
      },
      &objects);
  return objects;
}

LoadedObject this_program() {
  return loaded_objects().front();
}

// What a scan of this program found.
class ScanOfThisProgram : public testing::Test {
 protected:
  ScanOfThisProgram() : object_(this_program()) {
    counts_ = scan_object(object_.image(), ScanRequest{}, sites_, unproven_);
  }

  [[nodiscard]] bool proven(const std::byte* label, unsigned length = 2) const {
    return std::find(sites_.begin(), sites_.end(),
                     HostSite{address(label), static_cast<std::uint8_t>(length)}) != sites_.end();
  }
  [[nodiscard]] bool is_unproven(const std::byte* label) const {
    return std::find(unproven_.begin(), unproven_.end(), address(label)) != unproven_.end();
  }

  LoadedObject object_;
  MappedArray<HostSite> sites_;
  MappedArray<std::uint64_t> unproven_;
  ScanCounts counts_;
};

TEST_F(ScanOfThisProgram, FindsAnInstruction) {
  EXPECT_TRUE(proven(site_plain));
}

TEST_F(ScanOfThisProgram, FindsAnInstructionWithPrefixesFromItsFirstByte) {
  EXPECT_TRUE(proven(site_prefixed, 4));
  EXPECT_FALSE(proven(site_prefixed + 2));
}

TEST_F(ScanOfThisProgram, LeavesImmediatesAlone) {
  EXPECT_FALSE(proven(site_immediate));
  EXPECT_FALSE(is_unproven(site_immediate));
  EXPECT_GE(counts_.interior, 1u);
}

TEST_F(ScanOfThisProgram, LeavesOpcodesOfVectorInstructionsAlone) {
  EXPECT_FALSE(proven(site_vector));
  EXPECT_FALSE(is_unproven(site_vector));
}

TEST_F(ScanOfThisProgram, FollowsBranchesWhereDataSpoilsTheOrder) {
  EXPECT_TRUE(proven(site_behind_data));
  EXPECT_FALSE(proven(site_in_data));
  EXPECT_TRUE(is_unproven(site_in_data));
}

TEST_F(ScanOfThisProgram, TakesABranchOverALockPrefixForWhatItIs) {
  EXPECT_TRUE(proven(site_lock_skipped));
}

TEST_F(ScanOfThisProgram, RefusesCodeThatOverlapsItself) {
  EXPECT_FALSE(proven(site_overlapping));
  EXPECT_TRUE(is_unproven(site_overlapping));
  EXPECT_FALSE(proven(site_beside_overlap));
  EXPECT_TRUE(is_unproven(site_beside_overlap));
}

TEST_F(ScanOfThisProgram, UsesSymbolsWhereThereAreNoFrames) {
  EXPECT_TRUE(proven(site_symbol_only));
}

TEST_F(ScanOfThisProgram, RefusesWhatNothingDescribes) {
  EXPECT_FALSE(proven(site_unknown));
  EXPECT_TRUE(is_unproven(site_unknown));
}

TEST_F(ScanOfThisProgram, CountsAddUpAndSitesAscend) {
  EXPECT_EQ(counts_.candidates, counts_.proven + counts_.interior + counts_.unproven);
  EXPECT_EQ(counts_.proven, sites_.size());
  EXPECT_EQ(counts_.unproven, unproven_.size());
  EXPECT_TRUE(std::ranges::is_sorted(sites_.view(), {}, &HostSite::address));
}

TEST_F(ScanOfThisProgram, WithoutItsFileOnlySymbolsAreMissed) {
  const ObjectImage fileless(object_.bias, object_.headers, "/nonexistent");
  MappedArray<HostSite> sites;
  MappedArray<std::uint64_t> unproven;
  const ScanCounts counts = scan_object(fileless, ScanRequest{}, sites, unproven);
  EXPECT_EQ(counts.proven, counts_.proven - 1);
  EXPECT_EQ(counts.unproven, counts_.unproven + 1);
}

TEST_F(ScanOfThisProgram, AnotherFilesSymbolsAreNotBelieved) {
  ASSERT_TRUE(FileSymbols(object_.image()).function_around(address(site_symbol_only)).has_value());
  // A copy of this program whose program headers differ from those in memory: a later build, say.
  std::vector<Elf64_Phdr> changed = object_.headers;
  changed.back().p_memsz += 8;
  const ObjectImage wrong(object_.bias, changed, object_.path.c_str());
  EXPECT_EQ(FileSymbols(wrong).function_around(address(site_symbol_only)), std::nullopt);
}

// The same with an eye to system calls, of which the first ten are to be trapped.
class ScanForCalls : public testing::Test {
 protected:
  ScanForCalls() : object_(this_program()) {
    const ScanRequest request{.cpuid = false, .traps_call = [](std::uint32_t number) { return number < 10; }};
    counts_ = scan_object(object_.image(), request, sites_, unproven_);
  }

  [[nodiscard]] bool traps(const std::byte* label) const {
    return std::find(sites_.begin(), sites_.end(), HostSite{address(label), 2, SiteKind::Syscall}) !=
           sites_.end();
  }
  [[nodiscard]] bool is_unproven(const std::byte* label) const {
    return std::find(unproven_.begin(), unproven_.end(), address(label)) != unproven_.end();
  }

  LoadedObject object_;
  MappedArray<HostSite> sites_;
  MappedArray<std::uint64_t> unproven_;
  ScanCounts counts_;
};

TEST_F(ScanForCalls, TrapsTheNumbersThatAreAskedFor) {
  EXPECT_TRUE(traps(site_call_trapped));
}

TEST_F(ScanForCalls, LetsOtherNumbersBe) {
  EXPECT_FALSE(traps(site_call_known));
  EXPECT_FALSE(is_unproven(site_call_known));
  EXPECT_FALSE(traps(site_call_copied));
  EXPECT_FALSE(is_unproven(site_call_copied));
  EXPECT_GE(counts_.let_be, 1u);
}

TEST_F(ScanForCalls, TrapsWhatMayHaveAnyNumber) {
  EXPECT_TRUE(traps(site_call_given));
  EXPECT_TRUE(traps(site_call_overwritten));
  EXPECT_TRUE(traps(site_call_copied_other));
}

TEST_F(ScanForCalls, ANumberIsNotKnownIfControlMayComeInBehindIt) {
  EXPECT_TRUE(traps(site_call_shared));
  EXPECT_TRUE(traps(site_call_behind_table));
}

TEST_F(ScanForCalls, ANumberIsKnownBesideASwitchThatLeadsElsewhere) {
  EXPECT_FALSE(traps(site_call_beside_table));
  EXPECT_FALSE(is_unproven(site_call_beside_table));
}

TEST_F(ScanForCalls, ANumberIsNotKnownIfASwitchLeadsBehindIt) {
  EXPECT_TRUE(traps(site_call_in_table));
}

TEST_F(ScanForCalls, ANumberIsNotKnownBesideMoreJumpsThanTables) {
  EXPECT_TRUE(traps(site_call_beside_two));
}

// Where a CPUID costs less than a trap, and the machine has leaves up to 10H.
class ScanForChangedLeaves : public ScanOfThisProgram {
 protected:
  ScanForChangedLeaves() {
    all_ = static_cast<std::uint32_t>(sites_.size());
    sites_.clear();
    counts_ = scan_object(object_.image(), {.untrapped_max_leaf = 0x10}, sites_, unproven_);
  }
  std::uint32_t all_;
};

TEST_F(ScanForChangedLeaves, OneThatSgxHasNoPartInIsLeftAlone) {
  EXPECT_FALSE(proven(site_leaf_plain));
  EXPECT_FALSE(is_unproven(site_leaf_plain));
  EXPECT_GE(counts_.plain, 1u);
  EXPECT_EQ(counts_.plain + counts_.proven, all_);
}

TEST_F(ScanForChangedLeaves, TheOthersAreTrapped) {
  EXPECT_TRUE(proven(site_leaf_features));
  EXPECT_TRUE(proven(site_leaf_maximum));
  EXPECT_TRUE(proven(site_leaf_beyond));
}

TEST_F(ScanForChangedLeaves, ARegisterIsFollowedBackOnAllWays) {
  EXPECT_FALSE(proven(site_leaf_in_loop));
  EXPECT_FALSE(is_unproven(site_leaf_in_loop));
  EXPECT_TRUE(proven(site_leaf_changed_in_loop));
  EXPECT_TRUE(proven(site_leaf_by_exception));
  EXPECT_TRUE(proven(site_leaf_of_two));
}

TEST_F(ScanForChangedLeaves, SoIsOneWhoseLeafIsTheCallers) {
  EXPECT_TRUE(proven(site_plain));
}

TEST_F(ScanOfThisProgram, TrapsEachLeafUnlessToldOtherwise) {
  EXPECT_TRUE(proven(site_leaf_plain));
}

class ScanForConstants : public ScanOfThisProgram {
 protected:
  ScanForConstants() {
    plain_ = {sites_.begin(), sites_.end()};
    sites_.clear();
    counts_ = scan_object(object_.image(), {.constants = true}, sites_, unproven_);
  }
  [[nodiscard]] bool constant(const std::byte* label, unsigned length) const {
    const HostSite site{address(label), static_cast<std::uint8_t>(length), SiteKind::ConstantCpuid};
    return std::find(sites_.begin(), sites_.end(), site) != sites_.end();
  }
  std::vector<HostSite> plain_;
};

TEST_F(ScanForConstants, FindsWhatLoadsThemRightBefore) {
  EXPECT_TRUE(constant(site_constant_leaf, 7));
  EXPECT_TRUE(constant(site_constant_both, 12));
  EXPECT_TRUE(constant(site_constant_cleared, 9));
  EXPECT_TRUE(constant(site_constant_other_way, 7));
}

TEST_F(ScanForConstants, NothingElseIsOne) {
  for (unsigned length = 2; length < 16; ++length) {
    EXPECT_FALSE(constant(site_constant_apart, length));
    EXPECT_FALSE(constant(site_constant_copied, length));
    EXPECT_FALSE(constant(site_constant_wide, length));
    EXPECT_FALSE(constant(site_plain, length));
  }
}

TEST_F(ScanForConstants, TheOtherSitesAreThereAsEver) {
  std::vector<HostSite> others;
  for (const HostSite& site : sites_) {
    if (site.kind != SiteKind::ConstantCpuid) {
      others.push_back(site);
    }
  }
  EXPECT_EQ(others, plain_);
  EXPECT_EQ(counts_.proven + counts_.constants, sites_.size());
  EXPECT_TRUE(std::is_sorted(sites_.begin(), sites_.end(),
                             [](const HostSite& a, const HostSite& b) { return a.address < b.address; }));
}

TEST_F(ScanForCalls, LeavesPrefixedOnesAndImmediatesAlone) {
  EXPECT_FALSE(traps(site_call_prefixed));
  EXPECT_FALSE(traps(site_call_prefixed + 1));
  EXPECT_TRUE(is_unproven(site_call_prefixed + 1));
  EXPECT_FALSE(traps(site_call_immediate));
  EXPECT_FALSE(is_unproven(site_call_immediate));
}

TEST_F(ScanForCalls, LooksForNoCpuidUnlessAsked) {
  EXPECT_TRUE(std::ranges::all_of(sites_.view(),
                                  [](const HostSite& site) { return site.kind == SiteKind::Syscall; }));
  EXPECT_EQ(counts_.candidates, counts_.proven + counts_.let_be + counts_.interior + counts_.unproven);
}

TEST_F(ScanForCalls, FindsBothInOnePass) {
  MappedArray<HostSite> both;
  MappedArray<std::uint64_t> unproven;
  scan_object(object_.image(), {.traps_call = [](std::uint32_t) { return true; }}, both, unproven);
  const auto has = [&](const std::byte* label, SiteKind kind) {
    return std::find(both.begin(), both.end(), HostSite{address(label), 2, kind}) != both.end();
  };
  EXPECT_TRUE(has(site_plain, SiteKind::Cpuid));
  EXPECT_TRUE(has(site_call_known, SiteKind::Syscall));
  EXPECT_TRUE(std::ranges::is_sorted(both.view(), {}, &HostSite::address));
}

// Whatever the place, also in the last bytes, a candidate is seen, and nothing behind the end is.
TEST(ScanOfBytes, CandidatesAreSeenAtEveryPlace) {
  for (std::size_t size = 0; size <= 50; ++size) {
    for (std::size_t at = 0; at + 1 < size + 2; ++at) {
      std::vector<std::byte> text(size + 2, std::byte{0x90});
      text[at] = std::byte{0x0f};
      text[at + 1] = std::byte{0xa2};
      Elf64_Phdr load{};
      load.p_type = PT_LOAD;
      load.p_flags = PF_R | PF_X;
      load.p_memsz = load.p_filesz = size;
      const std::vector<Elf64_Phdr> headers = {load};
      const ObjectImage image(address(text.data()), headers, "/nonexistent");
      MappedArray<HostSite> sites;
      MappedArray<std::uint64_t> unproven;
      const ScanCounts counts = scan_object(image, ScanRequest{}, sites, unproven);
      ASSERT_EQ(counts.candidates, at + 2 <= size ? 1u : 0u) << size << ' ' << at;
      ASSERT_EQ(counts.unproven, counts.candidates);
    }
  }
}

TEST(FunctionBounds, FramesAndSymbolsAgree) {
  const LoadedObject object = this_program();
  const ObjectImage image = object.image();
  const FrameIndex frames(image);
  const FrameDescriptions descriptions(image);
  const FileSymbols symbols(image);
  for (const auto* label : {site_plain, site_prefixed, site_immediate, site_behind_data, site_lock_skipped}) {
    const auto by_frame = frames.function_around(address(label));
    ASSERT_TRUE(by_frame.has_value());
    EXPECT_EQ(by_frame, descriptions.function_around(address(label)));
    EXPECT_EQ(by_frame, symbols.function_around(address(label)));
  }
  EXPECT_EQ(frames.function_around(address(sample_plain))->begin, address(sample_plain));
  EXPECT_EQ(frames.function_around(address(site_symbol_only)), std::nullopt);
  EXPECT_EQ(descriptions.function_around(address(site_symbol_only)), std::nullopt);
  const auto by_symbol = symbols.function_around(address(site_symbol_only));
  ASSERT_TRUE(by_symbol.has_value());
  EXPECT_EQ(by_symbol->begin, address(sample_symbol_only));
  EXPECT_TRUE(symbols.function_around(by_symbol->end - 1).has_value());
  EXPECT_EQ(symbols.function_around(by_symbol->end), std::nullopt);
}

TEST(FunctionBounds, OutsideOfEverythingThereIsNone) {
  const LoadedObject object = this_program();
  const ObjectImage image = object.image();
  const FrameIndex frames(image);
  EXPECT_EQ(frames.function_around(0), std::nullopt);
  EXPECT_EQ(frames.function_around(object.bias), std::nullopt);
  EXPECT_EQ(frames.function_around(~0ULL), std::nullopt);
}

// A broken object must not be read outside its segments.
TEST(FunctionBounds, GarbageInTheFrameHeaderIsRefused) {
  alignas(8) static std::byte garbage[256];
  std::ranges::fill(garbage, std::byte{0xff});
  garbage[0] = std::byte{1};     // version
  garbage[1] = std::byte{0x1b};  // frame pointer: relative, 4 bytes
  garbage[2] = std::byte{0x03};  // count: 4 bytes, here 0xffffffff
  garbage[3] = std::byte{0x3b};
  Elf64_Phdr load{};
  load.p_type = PT_LOAD;
  load.p_flags = PF_R;
  load.p_memsz = load.p_filesz = sizeof garbage;
  Elf64_Phdr frame{};
  frame.p_type = PT_GNU_EH_FRAME;
  frame.p_memsz = sizeof garbage;
  const std::vector<Elf64_Phdr> headers = {load, frame};
  const ObjectImage image(address(garbage), headers, nullptr);
  EXPECT_EQ(FrameIndex(image).function_around(address(garbage) + 8), std::nullopt);

  garbage[8] = std::byte{2};  // now two entries, which lead far outside
  garbage[9] = garbage[10] = garbage[11] = std::byte{0};
  for (std::uint64_t at = 0; at < 64; ++at) {
    EXPECT_EQ(FrameIndex(image).function_around(address(garbage) + at), std::nullopt);
  }
}

TEST(ScanOfLibraries, EverySiteIsACpuidInstruction) {
  for (const char* library : {"libcrypto.so.3", "libgcc_s.so.1"}) {
    dlopen(library, RTLD_NOW);  // kept, if it is there at all
  }
  unsigned proven = 0;
  for (const LoadedObject& object : loaded_objects()) {
    MappedArray<HostSite> sites;
    MappedArray<std::uint64_t> unproven;
    proven += scan_object(object.image(), ScanRequest{}, sites, unproven).proven;
    for (const HostSite& site : sites) {
      const auto* bytes = reinterpret_cast<const std::byte*>(site.address);
      const auto decoded = decode::decode({bytes, decode::kMaxInstructionLength});
      ASSERT_TRUE(decoded.has_value());
      EXPECT_EQ(decoded->cls, decode::InstructionClass::Cpuid) << object.path;
      EXPECT_EQ(decoded->length, site.length);
      EXPECT_EQ(bytes[site.length - 1], std::byte{0xa2});
    }
  }
  EXPECT_GE(proven, 20u);  // the dynamic linker alone has more
}

}  // namespace
}  // namespace enclume::engine
