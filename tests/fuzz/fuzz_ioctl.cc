// SPDX-License-Identifier: Apache-2.0
// Ioctls with any arguments in any order, page faults and reclaim between them: no crash, no hang, and the
// accounts balance after each step.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"
#include "enclume/uapi/sgx_enclu_handler.h"
#include "kernel/device/debug_access.h"
#include "kernel/device/ioctl.h"
#include "kernel/fault/page_fault.h"
#include "kernel/kernel.h"
#include "kernel/reclaim/reclaim.h"
#include "kernel/uapi/sgx.h"
#include "kernel/vma/may_map.h"
#include "support/fake_machine.h"
#include "unit/kernel/fake_platform.h"

namespace {

using namespace enclume;

constexpr std::uint64_t kBase = 0x7000'0000'0000;
constexpr std::uint64_t kSize = 0x40000;
constexpr std::uint64_t kEpcPages = 24;

/// Takes the input apart, zeros at its end.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return at_ >= bytes_.size(); }
  std::uint8_t byte() { return empty() ? 0 : bytes_[at_++]; }
  template <typename T>
  T value() {
    T v{};
    const std::size_t n = std::min(sizeof v, bytes_.size() - at_);
    std::memcpy(&v, bytes_.data() + at_, n);
    at_ += n;
    return v;
  }
  /// Mostly a page of the enclave, sometimes anything.
  std::uint64_t offset() {
    const std::uint8_t b = byte();
    return b == 0xff ? value<std::uint64_t>() : b % (kSize / kPageSize + 1) * kPageSize;
  }
  std::uint64_t length() {
    const std::uint8_t b = byte();
    return b == 0xff ? value<std::uint64_t>() : b % 20 * kPageSize;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

struct World {
  World() {
    shared->machine.boot_nonce.fill(std::byte{1});
    shared->epc_total = kEpcPages;
    const int fd = memfd_create("enclave", MFD_CLOEXEC);
    struct stat s {};
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(kernel::kFileLength)) != 0 || fstat(fd, &s) != 0) {
      std::abort();
    }
    enclave = *enclaves.attach({s.st_dev, s.st_ino}, {fd});
    kernel::VmaTable::Writer writer(vmas, platform.thread_id());
    (void)writer.insert({{LinearAddress(kBase), LinearAddress(kBase + kSize)},
                         kernel::kProtReadWrite,
                         kernel::kProtAll,
                         enclave});
  }
  ~World() {
    const int fd = enclave->file().value;
    enclaves.release(*enclave, enclave->identity());
    close(fd);
    munmap(shared, sizeof(kernel::KernelShared));
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void check() const {
    const kernel::EnclaveShared& s = enclave->shared();
    if (shared->epc_used != s.epc_pages() || shared->epc_used > kEpcPages ||
        enclave->record().epc_pages != s.epc_pages() || s.ioctl_owner != 0) {
      std::abort();
    }
  }

  test::FakePlatform platform;
  arch::MachineConfig config = test::default_config();
  kernel::KernelShared* shared =
      static_cast<kernel::KernelShared*>(mmap(nullptr, sizeof(kernel::KernelShared), PROT_READ | PROT_WRITE,
                                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  kernel::EnclaveTable enclaves{platform, *shared};
  kernel::VmaTable vmas{platform};
  kernel::MmContext mm{.design = kernel::ExceptionDesign::PerMm, .vdso = {}, .enclu_handler = {}};
  kernel::Kernel kernel{platform, config, *shared, enclaves, vmas, mm};
  kernel::Enclave* enclave = nullptr;
};

alignas(4096) std::byte source[16 * kPageSize];

template <typename T>
void call(World& w, kernel::uapi::Command command, T argument) {
  (void)sgx_ioctl(w.kernel, *w.enclave, static_cast<unsigned>(command), LinearAddress::of(&argument));
}

void create(World& w, Input& in) {
  alignas(4096) static arch::Secs secs;
  secs = {};
  secs.size = kSize;
  secs.base_addr = kBase;
  secs.ssa_frame_size = 1;
  secs.attributes = {arch::attribute::kMode64Bit | arch::attribute::kDebug, 3};
  if (in.byte() % 4 == 3) {
    reinterpret_cast<std::uint8_t*>(&secs)[in.value<std::uint16_t>() % 512] = in.byte();
  }
  call(w, kernel::uapi::Command::Create, kernel::uapi::EnclaveCreate{LinearAddress::of(&secs).value()});
}

void add(World& w, Input& in) {
  alignas(64) arch::Secinfo secinfo{};
  secinfo.flags = in.byte() % 2 == 0 ? 0x203 : in.value<std::uint16_t>();
  kernel::uapi::EnclaveAddPages arg{};
  arg.src = LinearAddress::of(source).value() + in.byte() % 8 * kPageSize;
  arg.offset = in.offset();
  arg.length = in.length();
  arg.secinfo = LinearAddress::of(&secinfo).value();
  arg.flags = in.byte();
  call(w, kernel::uapi::Command::AddPages, arg);
}

void step(World& w, Input& in) {
  using kernel::uapi::Command;
  const LinearAddress somewhere(kBase + in.offset() % (2 * kSize));
  switch (in.byte() % 13) {
    case 0:
      return create(w, in);
    case 1:
    case 2:
      return add(w, in);
    case 3:
      std::memset(source, in.byte(), sizeof source);
      return call(w, Command::Init, kernel::uapi::EnclaveInit{LinearAddress::of(source).value()});
    case 4:
      // A signed enclave is not what this is about: take the place of EINIT.
      if (w.enclave->created() && w.enclave->shared().secs.load().resident) {
        arch::overlay<arch::Secs>(w.enclave->secs_page().data).set_initialised();
        w.enclave->shared().flags |= kernel::enclave_flag::kInitialized;
      }
      return;
    case 5:
      return call(w, Command::Provision, kernel::uapi::EnclaveProvision{in.byte()});
    case 6:
      return call(w, Command::RestrictPermissions,
                  kernel::uapi::EnclaveRestrictPermissions{in.offset(), in.length(), in.byte(), 0, 0});
    case 7:
      return call(w, Command::ModifyTypes,
                  kernel::uapi::EnclaveModifyTypes{in.offset(), in.length(), in.byte(), 0, 0});
    case 8:
      return call(w, Command::RemovePages, kernel::uapi::EnclaveRemovePages{in.offset(), in.length(), 0});
    case 9:
      (void)handle_enclave_fault(w.kernel, somewhere, in.value<std::uint16_t>());
      return;
    case 10:
      (void)reclaim_batch(w.kernel);
      return;
    case 11:
      return call(w,
                  static_cast<Command>(in.byte() % 2 == 0 ? SGX_IOC_ENCLU_HANDLER_REGISTER
                                                          : SGX_IOC_ENCLU_HANDLER_UNREGISTER),
                  sgx_enclu_handler{in.value<std::uint64_t>(), in.byte()});
    default: {
      std::byte bytes[32];
      (void)debug_read(w.kernel, somewhere + in.byte(), bytes, sizeof bytes);
      (void)debug_write(w.kernel, somewhere + in.byte(), bytes, sizeof bytes);
      (void)sgx_ioctl(w.kernel, *w.enclave, in.value<unsigned>(), LinearAddress(in.value<std::uint64_t>()));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World w;
  Input in({data, size});
  while (!in.empty()) {
    step(w, in);
    w.check();
  }
  return 0;
}
