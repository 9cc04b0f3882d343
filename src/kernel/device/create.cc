// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_CREATE (Linux: sgx_ioc_enclave_create(), sgx_encl_create()).
#include "arch/structs/secs.h"
#include "kernel/device/command.h"
#include "kernel/enclave_lock.h"
#include "kernel/encls.h"
#include "kernel/uapi/sgx.h"
#include "kernel/va_slots.h"

namespace enclume::kernel {

namespace {

/// SGX_ATTR_UNPRIV_MASK: what an enclave may have without the provision device.
constexpr std::uint64_t kUnprivilegedAttributes = arch::attribute::kDebug | arch::attribute::kMode64Bit |
                                                  arch::attribute::kKss | arch::attribute::kAexNotify;

/// SIZE below this is none of an enclave.
constexpr std::uint64_t kMinEnclaveSize = 2 * kPageSize;

/// Linux makes a backing file of SIZE + 4096, and 1/32 of that for the PCMDs, first: EINVAL if a signed
/// 64-bit length can't hold it.
bool backing_file_too_long(std::uint64_t size) {
  const std::uint64_t contents = size + kPageSize;
  return contents + (contents >> 5) > static_cast<std::uint64_t>(INT64_MAX);
}

}  // namespace

/// The steps that change the handle; undone when the object goes without commit().
class EnclaveCreation {
 public:
  EnclaveCreation(const Kernel& kernel, Enclave& enclave) noexcept : kernel_(kernel), enclave_(enclave) {}
  ~EnclaveCreation() {
    if (mapped_ && !committed_) {
      undo();
    }
  }
  EnclaveCreation(const EnclaveCreation&) = delete;
  EnclaveCreation& operator=(const EnclaveCreation&) = delete;

  [[nodiscard]] SysResult<void> map(std::uint64_t size) noexcept {
    auto r = enclave_.map_parts(kernel_.platform, size);
    mapped_ = r.has_value();
    return r;
  }
  void commit() noexcept {
    committed_ = true;
    enclave_.mapped_.store(true, std::memory_order_release);
  }

 private:
  /// Another SIZE may be tried next, which puts things elsewhere: all but the header is emptied.
  void undo() noexcept {
    std::byte* metadata = enclave_.metadata_;
    kernel_.platform.discard(metadata + kHeaderLength, enclave_.layout_.length - kHeaderLength);
    enclave_.shared().va_pages.store(0);
    enclave_.shared().page_count.store(0);
    enclave_.unmap_parts(kernel_.platform);
  }

  const Kernel& kernel_;
  Enclave& enclave_;
  bool mapped_ = false;
  bool committed_ = false;
};

namespace {

SysResult<void> create(const Kernel& kernel, Enclave& enclave, const arch::Secs& secs) noexcept {
  if (!is_power_of_two(secs.size)) {
    return fail(Errno::Invalid);
  }
  EpcReservation epc(kernel, enclave);
  if (auto r = epc.ensure(2, true); !r) {  // a VA page and the SECS
    return r;
  }
  if (backing_file_too_long(secs.size)) {
    return fail(Errno::Invalid);
  }
  // ECREATE shall refuse by itself a SIZE for which there is no layout, so the least is mapped for it.
  const bool has_layout = secs.size >= kMinEnclaveSize && secs.size <= kMaxEnclaveSize;

  const EnclaveLock lock(kernel, enclave);
  EnclaveCreation creation(kernel, enclave);
  if (auto r = creation.map(has_layout ? secs.size : kMinEnclaveSize); !r) {
    return r;
  }
  Encls encls(kernel, enclave);
  if (auto r = grow(kernel, enclave, epc); !r) {
    return r;
  }
  const bool created = succeeded(encls.ecreate(reinterpret_cast<const std::byte*>(&secs)));
  if (!created || !has_layout) {
    (void)encls.eremove(enclave.va_page(0));
    give_back_epc_page(kernel, enclave);
    return fail(created ? Errno::NoMemory : Errno::Io);
  }
  epc.use();

  EnclaveShared& s = enclave.shared();
  s.secs.store({.max_prot = kProtNone, .present = true, .resident = true, .type = arch::PageType::Secs});
  s.base.store(secs.base_addr);
  s.size.store(secs.size);
  s.attributes.store(secs.attributes.flags);
  s.attributes_mask.store(kUnprivilegedAttributes);
  creation.commit();
  const bool debug = (secs.attributes.flags & arch::attribute::kDebug) != 0;
  s.flags.store(enclave_flag::kCreated | (debug ? enclave_flag::kDebug : 0U), std::memory_order_release);
  return {};
}

}  // namespace

SysResult<long> ioctl_create(const Kernel& kernel, Enclave& enclave, LinearAddress argument) noexcept {
  if (enclave.created()) {
    return fail(Errno::Invalid);
  }
  uapi::EnclaveCreate arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  auto& secs = arch::overlay<arch::Secs>(enclave.scratch().page);
  if (!read_user(kernel, secs, LinearAddress(arg.src))) {
    return fail(Errno::Fault);
  }
  if (auto r = create(kernel, enclave, secs); !r) {
    return fail(r.error());
  }
  return 0;
}

}  // namespace enclume::kernel
