// SPDX-License-Identifier: Apache-2.0
// The process's own vDSO, and images made from it, for the tests here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernel/uapi/sgx_enclave_run.h"
#include "kernel/vdso/image.h"

namespace enclume::test {

/// The vDSO that the kernel mapped into this process.
std::span<const std::byte> own_vdso();
LinearAddress own_vdso_address();

struct BuiltImage {
  std::vector<std::byte> bytes;  ///< VdsoImage::size of them.
  kernel::VdsoImage layout;
};

/// Builds from `machine`; a test failure if that fails.
BuiltImage build_image(std::span<const std::byte> machine = own_vdso(),
                       LinearAddress address = own_vdso_address(), const kernel::VdsoOptions& options = {});
/// The image of design `vdso-registers`, from this process's vDSO.
BuiltImage build_enclu_image();

/// An image as the kernel would place it: readable, executable, at some page.
class MappedImage {
 public:
  explicit MappedImage(const BuiltImage& image = build_image());
  ~MappedImage();
  MappedImage(const MappedImage&) = delete;
  MappedImage& operator=(const MappedImage&) = delete;

  const std::byte* base() const { return base_; }
  const kernel::VdsoImage& layout() const { return layout_; }
  std::uintptr_t address(std::size_t offset) const {
    return reinterpret_cast<std::uintptr_t>(base_) + offset;
  }
  kernel::SgxEnterEnclave enter() const {
    return reinterpret_cast<kernel::SgxEnterEnclave>(address(layout_.enter));
  }

 private:
  std::byte* base_;
  kernel::VdsoImage layout_;
};

/// A file that holds an image while the object lives.
class ImageFile {
 public:
  explicit ImageFile(const BuiltImage& image);
  ~ImageFile();
  ImageFile(const ImageFile&) = delete;
  ImageFile& operator=(const ImageFile&) = delete;

  std::string path() const;
  int fd() const { return fd_; }

 private:
  int fd_;
};

/// An image that ld.so knows. The file stays open: ld.so takes two files of one name for the same object, and
/// a closed descriptor's number comes back.
class LoadedImage {
 public:
  explicit LoadedImage(const BuiltImage& image = build_image(), int dlopen_scope = 0);
  ~LoadedImage();
  LoadedImage(const LoadedImage&) = delete;
  LoadedImage& operator=(const LoadedImage&) = delete;

  void* handle() const { return handle_; }
  const kernel::VdsoImage& layout() const { return layout_; }
  std::uintptr_t address(std::size_t offset) const { return base_ + offset; }
  kernel::SgxEnterEnclave enter() const {
    return reinterpret_cast<kernel::SgxEnterEnclave>(address(layout_.enter));
  }

 private:
  ImageFile file_;
  void* handle_ = nullptr;
  std::uintptr_t base_ = 0;
  kernel::VdsoImage layout_;
};

}  // namespace enclume::test
