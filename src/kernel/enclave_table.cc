// SPDX-License-Identifier: Apache-2.0
#include "kernel/enclave_table.h"

#include <cstring>
#include <new>

#include "kernel/attachments.h"

namespace enclume::kernel {

namespace {

constexpr std::uint64_t kNumberMask = (1ULL << (64 - kEpcmIndexBits)) - 1;

}  // namespace

std::uint64_t machine_identity(const KernelShared& shared) noexcept {
  std::uint64_t id = 0;
  std::memcpy(&id, shared.machine.boot_nonce.data(), sizeof(id));
  return id | 1;  // never 0, which is a header that nobody set up
}

Enclave* EnclaveTable::find(FileIdentity identity) const noexcept {
  Enclave* found = nullptr;
  for_each([&](Enclave& e) {
    if (e.identity() == identity) {
      found = &e;
    }
  });
  return found;
}

Enclave* EnclaveTable::find(std::uint32_t number) const noexcept {
  Enclave* found = nullptr;
  for_each([&](Enclave& e) {
    if (e.number() == number) {
      found = &e;
    }
  });
  return found;
}

arch::EpcPage EnclaveTable::page(arch::EpcAddress address) noexcept {
  const Enclave* enclave = find(static_cast<std::uint32_t>(address.value >> kEpcmIndexBits));
  if (enclave == nullptr) {
    return {};
  }
  return enclave->epc_page_at(address.value & ((1ULL << kEpcmIndexBits) - 1));
}

EnclaveTable::Slot* EnclaveTable::free_slot() noexcept {
  std::atomic<Chunk*>* link = &first_;
  for (Chunk* c = link->load(); c != nullptr; c = link->load()) {
    for (Slot& s : c->slots) {
      if (!s.used.load(std::memory_order_relaxed)) {
        return &s;
      }
    }
    link = &c->next;
  }
  void* memory = platform_.allocate_pages(align_up(sizeof(Chunk), kPageSize));
  if (memory == nullptr) {
    return nullptr;
  }
  auto* chunk = new (memory) Chunk;
  link->store(chunk, std::memory_order_release);
  return &chunk->slots[0];
}

SysResult<Enclave*> EnclaveTable::attach(FileIdentity identity, FileHandle file) noexcept {
  // The caller's descriptor keeps a known one from being let go.
  if (Enclave* known = find(identity)) {
    return known;
  }
  const OwnerLockGuard guard(lock_, platform_.thread_id());
  if (Enclave* known = find(identity)) {
    return known;
  }
  Slot* slot = free_slot();
  if (slot == nullptr) {
    return fail(Errno::NoMemory);
  }
  Enclave& enclave = slot->enclave;
  if (enclave.scratch_ == nullptr) {
    enclave.scratch_ = static_cast<IoctlScratch*>(platform_.allocate_pages(sizeof(IoctlScratch)));
    if (enclave.scratch_ == nullptr) {
      return fail(Errno::NoMemory);
    }
  }
  std::byte* header = platform_.map_file(file, FilePart::Metadata, kMetadataOffset, kHeaderLength);
  if (header == nullptr) {
    return fail(Errno::NoMemory);
  }
  enclave.device_.store(identity.device);
  enclave.inode_.store(identity.inode);
  enclave.file_ = file;
  enclave.shared_ = reinterpret_cast<EnclaveShared*>(header);
  if (auto r = set_up(enclave); !r) {
    platform_.unmap_file(FilePart::Metadata, header, kHeaderLength);
    enclave.shared_ = nullptr;
    return fail(r.error());
  }
  enclave.protection_seen.store(0);  // the place may have been another enclave's
  enclave.protection_coming.store(0);
  slot->used.store(true, std::memory_order_release);
  return &enclave;
}

SysResult<void> EnclaveTable::set_up(Enclave& enclave) noexcept {
  const OwnerLockGuard guard(shared_.lock, platform_.thread_id());
  EnclaveShared& header = *enclave.shared_;
  const std::uint64_t machine = machine_identity(shared_);
  if (header.magic.load() != kEnclaveMagic) {
    const std::uint32_t number = shared_.last_number.load() + 1;
    if (number > kNumberMask) {
      return fail(Errno::NoMemory);
    }
    shared_.last_number.store(number);
    header.number.store(number);
    header.machine.store(machine);
    header.segment.store(shared_.segment.load());
    header.magic.store(kEnclaveMagic);
  } else if (header.machine.load() != machine) {
    return fail(Errno::NoDevice);
  }
  enclave.number_.store(header.number.load());
  const Attached attached =
      attach_process(shared_, enclave.number(), header.epc_pages(), {platform_.process_id(), forked_});
  if (attached.record == nullptr) {
    return fail(Errno::NoMemory);
  }
  enclave.record_ = attached.record;
  enclave.attachment_ = attached.attachment;
  return {};
}

void EnclaveTable::release(Enclave& enclave, FileIdentity identity) noexcept {
  const OwnerLockGuard guard(lock_, platform_.thread_id());
  Slot* slot = nullptr;
  for (Chunk* c = first_.load(); c != nullptr && slot == nullptr; c = c->next.load()) {
    for (Slot& s : c->slots) {
      if (&s.enclave == &enclave) {
        slot = &s;
      }
    }
  }
  if (slot == nullptr || !slot->used.load() || enclave.identity() != identity) {
    return;
  }
  slot->used.store(false, std::memory_order_release);
  {
    const OwnerLockGuard registry(shared_.lock, platform_.thread_id());
    detach_process(shared_, enclave.number(), platform_.process_id());
  }
  enclave.unmap_parts(platform_);
  platform_.unmap_file(FilePart::Metadata, reinterpret_cast<std::byte*>(enclave.shared_), kHeaderLength);
  enclave.shared_ = nullptr;
  enclave.record_ = nullptr;
  enclave.pkey.store(0);
  enclave.attachment_ = nullptr;
  enclave.number_.store(0);
  enclave.device_.store(0);
  enclave.inode_.store(0);
  enclave.file_ = {};
}

void EnclaveTable::after_fork_in_child() noexcept {
  lock_.reset_in_child();
  forked_ = true;
  for_each([this](Enclave& e) {
    e.protection_coming.store(0);  // the thread that was at it is the parent's
    const OwnerLockGuard registry(shared_.lock, platform_.thread_id());
    // The tables are big enough that failure means a runaway program; its enclave goes on uncounted.
    const Attached attached =
        attach_process(shared_, e.number(), e.shared_->epc_pages(), {platform_.process_id(), forked_});
    e.attachment_ = attached.attachment;
    if (attached.record != nullptr) {
      e.record_ = attached.record;
    }
  });
}

}  // namespace enclume::kernel
