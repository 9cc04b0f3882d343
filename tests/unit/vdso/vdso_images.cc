// SPDX-License-Identifier: Apache-2.0
#include "unit/vdso/vdso_images.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace enclume::test {

LinearAddress own_vdso_address() {
  return LinearAddress(getauxval(AT_SYSINFO_EHDR));
}

std::span<const std::byte> own_vdso() {
  const auto* start = reinterpret_cast<const std::byte*>(own_vdso_address().value());
  const auto size = kernel::vdso_size({start, kPageSize});
  EXPECT_TRUE(size.has_value());
  return {start, size.value_or(0)};
}

BuiltImage build_image(std::span<const std::byte> machine, LinearAddress address,
                       const kernel::VdsoOptions& options) {
  BuiltImage image = {std::vector<std::byte>(kernel::kMaxVdsoImageSize), {}};
  const auto layout = kernel::build_vdso_image(machine, address, options, image.bytes);
  EXPECT_TRUE(layout.has_value()) << kernel::describe(layout.error());
  image.layout = layout.value_or(kernel::VdsoImage{});
  image.bytes.resize(image.layout.size);
  return image;
}

BuiltImage build_enclu_image() {
  return build_image(own_vdso(), own_vdso_address(), {.entry = kernel::enclu_code()});
}

MappedImage::MappedImage(const BuiltImage& image) : layout_(image.layout) {
  void* place = mmap(nullptr, image.bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(place, MAP_FAILED);
  base_ = static_cast<std::byte*>(place);
  std::memcpy(base_, image.bytes.data(), image.bytes.size());
  EXPECT_EQ(mprotect(base_, image.bytes.size(), PROT_READ | PROT_EXEC), 0);
}

MappedImage::~MappedImage() {
  munmap(base_, layout_.size);
}

ImageFile::ImageFile(const BuiltImage& image) : fd_(memfd_create("vdso", MFD_CLOEXEC)) {
  EXPECT_GE(fd_, 0);
  EXPECT_EQ(write(fd_, image.bytes.data(), image.bytes.size()), static_cast<ssize_t>(image.bytes.size()));
}

ImageFile::~ImageFile() {
  close(fd_);
}

std::string ImageFile::path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_);
}

LoadedImage::LoadedImage(const BuiltImage& image, int dlopen_scope) : file_(image), layout_(image.layout) {
  handle_ = dlopen(file_.path().c_str(), RTLD_NOW | dlopen_scope);
  EXPECT_NE(handle_, nullptr) << dlerror();
  link_map* map = nullptr;
  EXPECT_EQ(dlinfo(handle_, RTLD_DI_LINKMAP, &map), 0);
  base_ = map == nullptr ? 0 : map->l_addr;
}

LoadedImage::~LoadedImage() {
  dlclose(handle_);
}

}  // namespace enclume::test
