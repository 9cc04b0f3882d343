// SPDX-License-Identifier: Apache-2.0
#include "cli/matrix/probe/enclave.h"

#include <asm/sgx.h>
#include <cpuid.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

extern "C" const std::uint8_t matrix_sigstruct[];

namespace enclume::cli::matrix::probe {
namespace {

void must(bool good, const char* what) {
  if (!good) throw std::system_error(errno, std::generic_category(), what);
}

std::uint64_t address_of(const void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}

void* pointer(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

// x87 and SSE, which every enclave has, and AVX if it may have it.
std::uint64_t xfrm(bool avx) {
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid_count(0x12, 1, eax, ebx, ecx, edx);
  return 3 | (avx ? low & ecx & 4 : 0);
}

PageBytes secs(std::uint64_t base, const EnclaveOptions& options) {
  constexpr std::uint64_t kDebug = 2, kMode64 = 4;
  PageBytes page{};  // SECS, SDM Vol. 3D, table 38-2
  put<std::uint64_t>(page, 0, ENCLAVE_SIZE);
  put<std::uint64_t>(page, 8, base);
  put<std::uint32_t>(page, 16, 1);  // SSAFRAMESIZE
  put<std::uint32_t>(page, 20, options.exinfo ? 1 : 0);
  put<std::uint64_t>(page, 48, (options.debug ? kDebug : 0) | (options.mode64 ? kMode64 : 0));
  put<std::uint64_t>(page, 56, xfrm(options.avx));
  return page;
}

std::uint64_t reserve(bool low) {
  void* area =
      mmap(nullptr, 2 * ENCLAVE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | (low ? MAP_32BIT : 0), -1, 0);
  must(area != MAP_FAILED, "mmap of the range for an enclave");
  return (address_of(area) + ENCLAVE_SIZE - 1) & ~std::uint64_t{ENCLAVE_SIZE - 1};
}

int protection(std::uint64_t secinfo) {
  if ((secinfo & kSecinfoTcs) != 0) return PROT_READ | PROT_WRITE;
  return ((secinfo & kSecinfoR) != 0 ? PROT_READ : 0) | ((secinfo & kSecinfoW) != 0 ? PROT_WRITE : 0) |
         ((secinfo & kSecinfoX) != 0 ? PROT_EXEC : 0);
}

struct alignas(64) Secinfo {
  std::uint64_t flags;
  std::uint64_t reserved[7];
};

}  // namespace

Enclave::Enclave(const EnclaveOptions& options)
    : fd_(open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC)), base_(0) {
  must(fd_ >= 0, "/dev/sgx_enclave");
  base_ = reserve(!options.mode64);

  alignas(kPage) const PageBytes source = secs(base_, options);
  sgx_enclave_create create{.src = address_of(&source)};
  must(ioctl(fd_, SGX_IOC_ENCLAVE_CREATE, &create) == 0, "SGX_IOC_ENCLAVE_CREATE");
  for (const auto& [offset, page] : make_image()) {
    alignas(kPage) const PageBytes bytes = page.bytes;
    const Secinfo secinfo{.flags = page.secinfo, .reserved = {}};
    sgx_enclave_add_pages add{.src = address_of(&bytes),
                              .offset = offset,
                              .length = kPage,
                              .secinfo = address_of(&secinfo),
                              .flags = SGX_PAGE_MEASURE,
                              .count = 0};
    must(ioctl(fd_, SGX_IOC_ENCLAVE_ADD_PAGES, &add) == 0, "SGX_IOC_ENCLAVE_ADD_PAGES");
  }
  if (options.initialise) {
    sgx_enclave_init init{.sigstruct = address_of(matrix_sigstruct)};
    must(ioctl(fd_, SGX_IOC_ENCLAVE_INIT, &init) == 0, "SGX_IOC_ENCLAVE_INIT");
  }
  const auto map = [&](std::uint64_t offset, int prot) {
    must(mmap(pointer(base_ + offset), kPage, prot, MAP_SHARED | MAP_FIXED, fd_, 0) != MAP_FAILED,
         "mmap of an enclave page");
  };
  for (const auto& [offset, page] : make_image()) map(offset, protection(page.secinfo));
  // The range was reserved until here, so that nothing else came to lie in it.
  if (options.map_hole) {
    map(ENCLAVE_HOLE, PROT_READ | PROT_WRITE);
  } else {
    must(munmap(pointer(base_ + ENCLAVE_HOLE), kPage) == 0, "munmap");
  }
}

void Enclave::restrict_to_read(std::uint64_t offset) const {
  sgx_enclave_restrict_permissions restrict {
      .offset = offset, .length = kPage, .permissions = kSecinfoR, .result = 0, .count = 0};
  must(ioctl(fd_, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, & restrict) == 0,
       "SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS");
}

void Enclave::trim(std::uint64_t offset) const {
  sgx_enclave_modify_types modify{.offset = offset, .length = kPage, .page_type = 4, .result = 0, .count = 0};
  must(ioctl(fd_, SGX_IOC_ENCLAVE_MODIFY_TYPES, &modify) == 0, "SGX_IOC_ENCLAVE_MODIFY_TYPES");
}

void Enclave::protect(std::uint64_t offset, int prot) const {
  must(mprotect(pointer(base_ + offset), kPage, prot) == 0, "mprotect");
}

void Enclave::opt_in(std::uint64_t tcs) const {
  const int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  must(memory >= 0, "/proc/self/mem");
  const std::uint64_t flags = 1;  // DBGOPTIN
  const auto written = pwrite(memory, &flags, sizeof flags, static_cast<off_t>(tcs + 8));
  const int error = errno;
  close(memory);
  errno = error;
  must(written == sizeof flags, "EDBGWR of TCS.FLAGS through /proc/self/mem");
}

}  // namespace enclume::cli::matrix::probe
