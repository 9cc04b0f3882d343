// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/loader.h"

#include <asm/sgx.h>
#include <cpuid.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <utility>
#include <vector>

#include "enclume/edge/abi.h"
#include "runtime/edge/sgx.h"

namespace enclume::host {
namespace {

using edge::kPageSize;

std::uint64_t address_of(const void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}
void* pointer_to(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

constexpr unsigned kCpuidXinuse = 1U << 2;  // leaf 0xd.1, EAX
constexpr unsigned kCpuidSgx2 = 1U << 1;    // leaf 0x12.0, EAX

// What CPUID leaf 0x12 allows. All of it where the processor does not say, since the device has the last
// word.
struct Platform {
  std::uint64_t xfrm = ~std::uint64_t{0};
  std::uint32_t miscselect = 0;
  bool has_sgx2 = false;
  bool has_xinuse = false;  // XGETBV with ECX = 1
};

Platform ask_cpuid() {
  Platform result;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_max(0, nullptr) < 0x12) return result;
  __cpuid_count(0xd, 1, a, b, c, d);
  result.has_xinuse = (a & kCpuidXinuse) != 0;
  __cpuid_count(0x12, 0, a, b, c, d);
  result.has_sgx2 = (a & kCpuidSgx2) != 0;
  result.miscselect = b;
  __cpuid_count(0x12, 1, a, b, c, d);
  if ((c | d) != 0) result.xfrm = c | std::uint64_t{d} << 32;
  return result;
}

// Of no mutex, since a fork may come at any time. Whoever sees half of two answers sees two that were true.
std::atomic<bool> is_known = false;
std::atomic<std::uint64_t> known_xfrm;
std::atomic<std::uint32_t> known_miscselect;
std::atomic<bool> known_sgx2, known_xinuse;

// Asked once, since under a hypervisor each CPUID is a trap.
Platform ask_once() {
  if (is_known.load()) return {known_xfrm, known_miscselect, known_sgx2, known_xinuse};
  const Platform answer = ask_cpuid();
  known_xfrm = answer.xfrm;
  known_miscselect = answer.miscselect;
  known_sgx2 = answer.has_sgx2;
  known_xinuse = answer.has_xinuse;
  is_known = true;
  return answer;
}

// Source for pages of zeros, again and again the same; never written, so it takes no memory. Few page faults
// on one side, few ioctls on the other.
alignas(kPageSize) constinit std::array<std::byte, std::size_t{256} << 10> zeros{};

// Asks for the page faults at once; Linux before 5.14 does not know how, and they come one by one.
void expect_zeros(std::uint64_t bytes) {
  if (bytes != 0) madvise(zeros.data(), std::min<std::uint64_t>(bytes, zeros.size()), MADV_POPULATE_READ);
}

// Errno, 0: none.
int add_run(int fd, const PageRun& run) {
  const edge::Secinfo secinfo{.flags = run.secinfo_flags, .reserved = {}};
  // Linux may stop early when a signal comes in.
  for (std::uint64_t done = 0; done < run.length;) {
    sgx_enclave_add_pages add{};
    const std::uint64_t left = run.length - done;
    add.src = run.bytes != nullptr ? address_of(run.bytes) + done : address_of(zeros.data());
    add.offset = run.offset + done;
    add.length = run.bytes != nullptr ? left : std::min<std::uint64_t>(left, zeros.size());
    add.secinfo = address_of(&secinfo);
    add.flags = run.measured ? SGX_PAGE_MEASURE : 0;
    if (ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) != 0 && errno != EINTR && errno != EAGAIN) return errno;
    done += add.count;
  }
  return 0;
}

// Whether the kernel does its part of SGX2, as Linux does from 6.0 on; the call asks for nothing.
bool kernel_adds_pages(int fd) {
  sgx_enclave_restrict_permissions nothing{};
  return ioctl(fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &nothing) != 0 && errno == EINVAL;
}

// Pages that are mapped in one piece.
struct Area {
  std::uint64_t begin, end;
  int protection;
};

int protection_of(const PageRun& run) {
  if ((run.secinfo_flags & 0xff00) == edge::kTcsPage) return PROT_READ | PROT_WRITE;
  return ((run.secinfo_flags & edge::kRead) != 0 ? PROT_READ : 0) |
         ((run.secinfo_flags & edge::kWrite) != 0 ? PROT_WRITE : 0) |
         ((run.secinfo_flags & edge::kExecute) != 0 ? PROT_EXEC : 0);
}

// All pages that there are, and the places of those that may come.
std::vector<Area> areas_of(const Image& image, bool with_reserves) {
  std::vector<Area> parts;
  for (const PageRun& run : image.runs()) {
    parts.push_back({run.offset, run.offset + run.length, protection_of(run)});
  }
  if (with_reserves) {
    for (const Reserve& reserve : image.reserves()) {
      parts.push_back({reserve.offset, reserve.offset + reserve.length, PROT_READ | PROT_WRITE});
    }
    std::ranges::sort(parts, {}, &Area::begin);
  }
  std::vector<Area> areas;
  for (const Area& part : parts) {
    if (!areas.empty() && areas.back().end == part.begin && areas.back().protection == part.protection) {
      areas.back().end = part.end;
    } else {
      areas.push_back(part);
    }
  }
  return areas;
}

}  // namespace

void LoadedEnclave::forget_processor() noexcept {
  is_known = false;
}

LoadedEnclave::LoadedEnclave(LoadedEnclave&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      base_(other.base_),
      size_(std::exchange(other.size_, 0)),
      platform_(other.platform_) {}

LoadedEnclave& LoadedEnclave::operator=(LoadedEnclave&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(platform_, other.platform_);
  return *this;
}

LoadedEnclave::~LoadedEnclave() {
  if (size_ != 0) munmap(pointer_to(base_), size_);
  if (fd_ >= 0) close(fd_);
}

std::optional<LoadedEnclave> LoadedEnclave::load(const Image& image, std::span<const std::byte> sigstruct,
                                                 bool debug, Error& why) {
  const auto fail = [&](const Error& error) {
    why = error;
    return std::nullopt;
  };
  const Platform processor = ask_once();
  if ((image.config().xfrm & ~processor.xfrm) != 0) return fail(Error(Code::kWrongPlatform));

  LoadedEnclave enclave;
  enclave.fd_ = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
  if (enclave.fd_ < 0) return fail(Error(Code::kNoDevice, errno));

  // ELRANGE must be aligned to its size: twice as much has such a place in it.
  const std::uint64_t size = image.layout().size;
  void* const area = mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) return fail(Error(Code::kNoAddressSpace, errno));
  enclave.base_ = (address_of(area) + size - 1) & ~(size - 1);
  enclave.size_ = size;
  const std::uint64_t before = enclave.base_ - address_of(area);
  if (before != 0) munmap(area, before);
  if (before != size) munmap(pointer_to(enclave.base_ + size), size - before);

  alignas(kPageSize) edge::Secs secs{};
  secs.size = size;
  secs.base = enclave.base_;
  secs.ssa_frame_pages = 1;
  secs.miscselect = processor.miscselect & edge::kMiscExinfo;
  secs.attributes = edge::kAttributeMode64 | (debug ? edge::kAttributeDebug : 0);
  secs.xfrm = image.config().xfrm;
  sgx_enclave_create create{.src = address_of(&secs)};
  if (ioctl(enclave.fd_, SGX_IOC_ENCLAVE_CREATE, &create) != 0) {
    return fail(Error(Code::kCreateFailed, errno));
  }

  std::uint64_t longest = 0;
  for (const PageRun& run : image.runs()) {
    if (run.bytes == nullptr) longest = std::max(longest, run.length);
  }
  expect_zeros(longest);
  for (const PageRun& run : image.runs()) {
    if (const int error = add_run(enclave.fd_, run); error != 0) {
      return fail(Error(Code::kAddPagesFailed, error));
    }
  }

  // Page faults must be reported to the enclave, or it could not make room when there is none.
  const bool has_dynamic_memory =
      processor.has_sgx2 && (secs.miscselect & edge::kMiscExinfo) != 0 && kernel_adds_pages(enclave.fd_);
  enclave.platform_ = (has_dynamic_memory ? ENCLUME_PLATFORM_DYNAMIC_MEMORY : 0) |
                      (processor.has_xinuse ? ENCLUME_PLATFORM_XINUSE : 0);
  for (const Area& part : areas_of(image, has_dynamic_memory)) {
    if (mmap(pointer_to(enclave.base_ + part.begin), part.end - part.begin, part.protection,
             MAP_SHARED | MAP_FIXED, enclave.fd_, 0) == MAP_FAILED) {
      return fail(Error(Code::kNoAddressSpace, errno));
    }
  }

  sgx_enclave_init init{.sigstruct = address_of(sigstruct.data())};
  if (const int result = ioctl(enclave.fd_, SGX_IOC_ENCLAVE_INIT, &init); result != 0) {
    return fail(Error(Code::kInitFailed, result < 0 ? errno : result));
  }
  return enclave;
}

}  // namespace enclume::host
