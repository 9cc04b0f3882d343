// SPDX-License-Identifier: Apache-2.0
//
// Loads enclaves by the Linux ABI alone: /dev/sgx_enclave and <asm/sgx.h>. The functions of the first part
// are one system call each and give its errno (0 for success), for the tests of errors; LoadedEnclave is for
// the others.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "enclaves/enclave_image.h"
#include "enclaves/signer.h"

namespace enclume::test {

// A file descriptor that closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();
  int release();

 private:
  int fd_ = -1;
};

// An address range that was reserved PROT_NONE and is unmapped at the end, whatever was mapped over it.
class Reservation {
 public:
  Reservation() = default;
  // `size` bytes, aligned to `size` (a power of two).
  static Reservation aligned(std::uint64_t size);
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  std::uint64_t base() const { return base_; }
  std::uint64_t size() const { return size_; }
  // Leaves the range as it is.
  void release() { size_ = 0; }

 private:
  std::uint64_t base_ = 0;
  std::uint64_t size_ = 0;
};

Fd open_sgx_enclave();

int create_enclave(int fd, const Secs& secs);
// `arguments.count` holds the kernel's answer afterwards.
int add_pages(int fd, sgx_enclave_add_pages& arguments);
int init_enclave(int fd, const Sigstruct& sigstruct);
int provision(int fd, int provision_fd);
int restrict_permissions(int fd, sgx_enclave_restrict_permissions& arguments);
int modify_types(int fd, sgx_enclave_modify_types& arguments);
int remove_pages(int fd, sgx_enclave_remove_pages& arguments);

// The usual way to do it: all pages of the image, one ioctl for each run of neighbours that agree in SECINFO
// and measurement.
int add_image(int fd, const EnclaveImage& image);

// PROT_ bits that the permissions of a page allow; a TCS is mapped read-write, as Linux asks.
int page_protection(std::uint64_t secinfo_flags);

// mmap(MAP_SHARED | MAP_FIXED) of the enclave's fd; the errno.
int map_enclave(int fd, std::uint64_t address, std::uint64_t length, int protection);

class LoadError : public std::runtime_error {
 public:
  LoadError(const std::string& step, int error);
  int error() const { return error_; }

 private:
  int error_;
};

struct LoadOptions {
  // Where ELRANGE begins; 0: somewhere.
  std::uint64_t base = 0;
  // Also map what has no page yet, read-write, for pages that come by EAUG.
  bool map_holes = false;
  // Changes the SIGSTRUCT before it is signed.
  std::function<void(Sigstruct&)> adjust_sigstruct;
  // Called with the fd between CREATE and INIT.
  std::function<void(int fd)> before_init;
};

// An initialised enclave with its pages mapped with their own permissions. Throws LoadError.
class LoadedEnclave {
 public:
  LoadedEnclave(const EnclaveImage& image, const LoadOptions& options = {});

  int fd() const { return fd_.get(); }
  std::uint64_t base() const { return base_; }
  std::uint64_t size() const { return size_; }
  void close_fd() { fd_.reset(); }

 private:
  Fd fd_;
  Reservation range_;
  std::uint64_t base_;
  std::uint64_t size_;
};

}  // namespace enclume::test
