// SPDX-License-Identifier: Apache-2.0
// Every way in which programs find `__vdso_sgx_enter_enclave`, and everything else a vDSO has.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "unit/vdso/image_lookups.h"
#include "unit/vdso/vdso_images.h"

namespace enclume::test {
namespace {

constexpr char kEnter[] = "__vdso_sgx_enter_enclave";

/// The functions that the machine's vDSO has, by our own parser; elf_test.cc checks that parser.
std::vector<std::string> machine_functions() {
  std::vector<std::string> names;
  const auto vdso = kernel::MachineVdso::parse(own_vdso());
  EXPECT_TRUE(vdso.has_value());
  for (std::size_t i = 1; i < vdso->symbol_count(); i++) {
    const auto symbol = vdso->symbol(i);
    EXPECT_TRUE(symbol.has_value());
    if (ELF64_ST_TYPE(symbol->entry.st_info) == STT_FUNC) {
      names.emplace_back(symbol->name);
    }
  }
  return names;
}

class VdsoEveryWay : public testing::Test {
 protected:
  const MappedImage image_;
};

TEST_F(VdsoEveryWay, FindsTheEnterFunction) {
  const void* expected = image_.base() + image_.layout().enter;
  EXPECT_EQ(find_by_sysv_hash(image_.base(), kEnter), expected);
  EXPECT_EQ(find_by_reference_parser(image_.base(), "LINUX_2.6", kEnter), expected);
  EXPECT_EQ(find_by_gnu_hash(image_.base(), kEnter), expected);
  EXPECT_EQ(find_by_sections(image_.base(), kEnter), expected);
}

TEST_F(VdsoEveryWay, FindsWhatTheMachineHasAtTheSamePlace) {
  const std::vector<std::string> names = machine_functions();
  ASSERT_GE(names.size(), 8U);
  for (const std::string& name : names) {
    const void* place = find_by_sysv_hash(image_.base(), name);
    EXPECT_NE(place, nullptr) << name;
    EXPECT_EQ(find_by_reference_parser(image_.base(), "LINUX_2.6", name), place) << name;
    EXPECT_EQ(find_by_gnu_hash(image_.base(), name), place) << name;
    EXPECT_EQ(find_by_sections(image_.base(), name), place) << name;
  }
}

TEST_F(VdsoEveryWay, FindsNothingElse) {
  for (const char* name : {"", "__vdso_sgx_enter", "__vdso_sgx_enter_enclave2", "malloc"}) {
    EXPECT_EQ(find_by_sysv_hash(image_.base(), name), nullptr);
    EXPECT_EQ(find_by_reference_parser(image_.base(), "LINUX_2.6", name), nullptr);
    EXPECT_EQ(find_by_gnu_hash(image_.base(), name), nullptr);
  }
}

TEST_F(VdsoEveryWay, HonoursTheVersion) {
  EXPECT_EQ(find_by_reference_parser(image_.base(), "LINUX_2.7", kEnter), nullptr);
  EXPECT_EQ(find_by_reference_parser(image_.base(), "", kEnter), nullptr);
}

TEST(VdsoDynamicLinker, FindsTheEnterFunction) {
  const LoadedImage image;
  const auto expected = reinterpret_cast<void*>(image.address(image.layout().enter));
  EXPECT_EQ(dlsym(image.handle(), kEnter), expected);
  EXPECT_EQ(dlvsym(image.handle(), kEnter, "LINUX_2.6"), expected);
  EXPECT_EQ(dlvsym(image.handle(), kEnter, "LINUX_2.7"), nullptr);
  EXPECT_EQ(dlsym(image.handle(), "__vdso_sgx_enter"), nullptr);
}

TEST(VdsoDynamicLinker, FindsWhatTheMachineHas) {
  const LoadedImage image;
  for (const std::string& name : machine_functions()) {
    void* place = dlsym(image.handle(), name.c_str());
    EXPECT_NE(place, nullptr) << name;
    EXPECT_EQ(dlvsym(image.handle(), name.c_str(), "LINUX_2.6"), place) << name;
    Dl_info info = {};
    ASSERT_NE(dladdr(place, &info), 0) << name;
    EXPECT_EQ(info.dli_saddr, place) << name;
  }
}

TEST(VdsoDynamicLinker, ResolvesAWeakSymbol) {
  const LoadedImage image(build_image(), RTLD_GLOBAL);
  void* user = dlopen(ENCLUME_WEAK_USER, RTLD_NOW);
  ASSERT_NE(user, nullptr) << dlerror();
  const auto ask = reinterpret_cast<const void* (*)()>(dlsym(user, "weak_enter_function"));
  ASSERT_NE(ask, nullptr);
  EXPECT_EQ(ask(), reinterpret_cast<const void*>(image.address(image.layout().enter)));
  dlclose(user);
}

TEST(VdsoDynamicLinker, TwoImagesLiveSideBySide) {
  const LoadedImage one;
  const LoadedImage other;
  EXPECT_NE(one.handle(), other.handle());
  EXPECT_NE(dlsym(one.handle(), kEnter), dlsym(other.handle(), kEnter));
}

}  // namespace
}  // namespace enclume::test
