// SPDX-License-Identifier: Apache-2.0
#include "enclaves/sgx_loader.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

namespace enclume::test {
namespace {

void* pointer(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}
std::uint64_t address(const void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}

template <typename Arguments>
int ioctl_errno(int fd, unsigned long request, Arguments& arguments) {
  return ioctl(fd, request, &arguments) == 0 ? 0 : errno;
}

// Page-aligned copy of page contents: ADD_PAGES takes nothing else.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t size)
      : bytes_(static_cast<std::uint8_t*>(std::aligned_alloc(kPage, size)), &std::free) {
    if (bytes_ == nullptr) throw std::bad_alloc();
  }
  std::uint8_t* data() { return bytes_.get(); }

 private:
  std::unique_ptr<std::uint8_t, decltype(&std::free)> bytes_;
};

// Calls run(first, last, length) for each run of adjacent pages that agree in SECINFO and measurement.
template <typename Run>
int for_each_run(const EnclaveImage& image, Run run) {
  const auto& pages = image.pages();
  for (auto first = pages.begin(); first != pages.end();) {
    auto last = std::next(first);
    std::uint64_t length = kPage;
    while (last != pages.end() && last->first == first->first + length &&
           last->second.secinfo_flags == first->second.secinfo_flags &&
           last->second.measured == first->second.measured) {
      ++last;
      length += kPage;
    }
    if (const int error = run(first, last, length); error != 0) return error;
    first = last;
  }
  return 0;
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

void Fd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

int Fd::release() {
  return std::exchange(fd_, -1);
}

Reservation Reservation::aligned(std::uint64_t size) {
  void* area = mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) throw LoadError("reserving ELRANGE", errno);
  Reservation result;
  result.base_ = (address(area) + size - 1) & ~(size - 1);
  result.size_ = size;
  const std::uint64_t before = result.base_ - address(area);
  if (before != 0) munmap(area, before);
  if (before != size) munmap(pointer(result.base_ + size), size - before);
  return result;
}

Reservation::Reservation(Reservation&& other) noexcept
    : base_(other.base_), size_(std::exchange(other.size_, 0)) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  return *this;
}

Reservation::~Reservation() {
  if (size_ != 0) munmap(pointer(base_), size_);
}

Fd open_sgx_enclave() {
  return Fd(open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC));
}

int create_enclave(int fd, const Secs& secs) {
  sgx_enclave_create arguments{.src = address(&secs)};
  return ioctl_errno(fd, SGX_IOC_ENCLAVE_CREATE, arguments);
}

int add_pages(int fd, sgx_enclave_add_pages& arguments) {
  return ioctl_errno(fd, SGX_IOC_ENCLAVE_ADD_PAGES, arguments);
}

int init_enclave(int fd, const Sigstruct& sigstruct) {
  sgx_enclave_init arguments{.sigstruct = address(&sigstruct)};
  return ioctl_errno(fd, SGX_IOC_ENCLAVE_INIT, arguments);
}

int provision(int fd, int provision_fd) {
  sgx_enclave_provision arguments{.fd = static_cast<__u64>(provision_fd)};
  return ioctl_errno(fd, SGX_IOC_ENCLAVE_PROVISION, arguments);
}

int restrict_permissions(int fd, sgx_enclave_restrict_permissions& arguments) {
  return ioctl_errno(fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, arguments);
}

int modify_types(int fd, sgx_enclave_modify_types& arguments) {
  return ioctl_errno(fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, arguments);
}

int remove_pages(int fd, sgx_enclave_remove_pages& arguments) {
  return ioctl_errno(fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, arguments);
}

int add_image(int fd, const EnclaveImage& image) {
  return for_each_run(image, [&](auto first, auto last, std::uint64_t length) {
    AlignedBuffer source(length);
    std::uint8_t* to = source.data();
    for (auto page = first; page != last; ++page, to += kPage)
      std::memcpy(to, page->second.bytes.data(), kPage);

    const Secinfo secinfo{.flags = first->second.secinfo_flags, .reserved = {}};
    sgx_enclave_add_pages arguments{};
    arguments.offset = first->first;
    arguments.secinfo = address(&secinfo);
    arguments.flags = first->second.measured ? SGX_PAGE_MEASURE : 0;
    // Linux may stop early, with success, when a signal comes in.
    for (std::uint64_t done = 0; done < length; done += arguments.count) {
      arguments.src = address(source.data()) + done;
      arguments.offset = first->first + done;
      arguments.length = length - done;
      arguments.count = 0;
      const int error = add_pages(fd, arguments);
      if (error != 0 && error != EINTR) return error;
    }
    return 0;
  });
}

int page_protection(std::uint64_t secinfo_flags) {
  if ((secinfo_flags & 0xff00) == kPtTcs) return PROT_READ | PROT_WRITE;
  return ((secinfo_flags & kR) != 0 ? PROT_READ : 0) | ((secinfo_flags & kW) != 0 ? PROT_WRITE : 0) |
         ((secinfo_flags & kX) != 0 ? PROT_EXEC : 0);
}

int map_enclave(int fd, std::uint64_t at, std::uint64_t length, int protection) {
  return mmap(pointer(at), length, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ? errno : 0;
}

LoadError::LoadError(const std::string& step, int error)
    : std::runtime_error(step + ": " + std::strerror(error)), error_(error) {}

LoadedEnclave::LoadedEnclave(const EnclaveImage& image, const LoadOptions& options)
    : fd_(open_sgx_enclave()), base_(options.base), size_(image.size()) {
  if (!fd_) throw LoadError("opening /dev/sgx_enclave", errno);
  if (base_ == 0) {
    range_ = Reservation::aligned(size_);
    base_ = range_.base();
  }
  const auto step = [](const char* name, int error) {
    if (error != 0) throw LoadError(name, error);
  };
  step("SGX_IOC_ENCLAVE_CREATE", create_enclave(fd(), image.secs(base_)));
  step("SGX_IOC_ENCLAVE_ADD_PAGES", add_image(fd(), image));
  if (options.before_init) options.before_init(fd());
  if (options.map_holes) {
    std::uint64_t hole = 0;
    step("mmap of a hole", for_each_run(image, [&](auto first, auto, std::uint64_t length) {
           const std::uint64_t from = std::exchange(hole, first->first + length);
           return from == first->first
                      ? 0
                      : map_enclave(fd(), base_ + from, first->first - from, PROT_READ | PROT_WRITE);
         }));
    if (hole != size_)
      step("mmap of a hole", map_enclave(fd(), base_ + hole, size_ - hole, PROT_READ | PROT_WRITE));
  }
  step("mmap of the enclave", for_each_run(image, [&](auto first, auto, std::uint64_t length) {
         return map_enclave(fd(), base_ + first->first, length, page_protection(first->second.secinfo_flags));
       }));
  Sigstruct sigstruct = unsigned_sigstruct(image);
  if (options.adjust_sigstruct) options.adjust_sigstruct(sigstruct);
  SigningKey::shared().sign(sigstruct);
  step("SGX_IOC_ENCLAVE_INIT", init_enclave(fd(), sigstruct));
}

}  // namespace enclume::test
