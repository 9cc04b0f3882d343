// SPDX-License-Identifier: Apache-2.0
#include "kernel/attachments.h"

#include <span>

namespace enclume::kernel {

namespace {

/// Those that have ever been used: the table is big, and to look at a place gives it memory.
std::span<Attachment> used_places(KernelShared& shared) noexcept {
  return std::span(shared.attachments).first(shared.attachments_end.load());
}

EnclaveRecord* find_record(KernelShared& shared, std::uint32_t number) noexcept {
  for (EnclaveRecord& r : shared.enclaves) {
    if (r.number.load() == number) {
      return &r;
    }
  }
  return nullptr;
}

bool has_users(KernelShared& shared, std::uint32_t number) noexcept {
  for (const Attachment& a : used_places(shared)) {
    if (a.number.load() == number) {
      return true;
    }
  }
  return false;
}

std::uint64_t drop_record_if_unused(KernelShared& shared, std::uint32_t number) noexcept {
  EnclaveRecord* record = find_record(shared, number);
  if (record == nullptr || has_users(shared, number)) {
    return 0;
  }
  const std::uint64_t pages = record->epc_pages.exchange(0);
  shared.epc_used.fetch_sub(pages);
  record->number.store(0);
  return pages;
}

}  // namespace

Attached attach_process(KernelShared& shared, std::uint32_t number, std::uint64_t epc_pages,
                        User by) noexcept {
  Attachment* place = nullptr;
  bool is_new = true;
  for (Attachment& a : used_places(shared)) {
    const std::uint32_t user = a.number.load();
    if (user == number && a.process.load() == by.process) {
      place = &a;
      is_new = false;
      break;
    }
    if (user == 0 && place == nullptr) {
      place = &a;
    }
  }
  if (const std::uint32_t end = shared.attachments_end.load();
      place == nullptr && end < shared.attachments.size()) {
    place = &shared.attachments[end];
  }
  EnclaveRecord* record = find_record(shared, number);
  if (record == nullptr) {
    record = find_record(shared, 0);
    if (record == nullptr || place == nullptr) {
      return {};
    }
    record->epc_pages.store(epc_pages);
    shared.epc_used.fetch_add(epc_pages);
    record->number.store(number);
  }
  if (place == nullptr) {
    return {};
  }
  if (is_new) {
    place->reserved.store(0);
  }
  place->process.store(by.process);
  place->forked.store(by.forked);
  place->number.store(number);
  const auto end = static_cast<std::uint32_t>(place - shared.attachments.data()) + 1;
  if (end > shared.attachments_end.load()) {
    shared.attachments_end.store(end);
  }
  return {record, place};
}

void detach_process(KernelShared& shared, std::uint32_t number, int process) noexcept {
  for (Attachment& a : used_places(shared)) {
    if (a.number.load() == number && a.process.load() == process) {
      a.number.store(0);
    }
  }
  drop_record_if_unused(shared, number);
}

std::uint64_t detach_dead_processes(KernelShared& shared, Platform& platform, bool thorough) noexcept {
  std::uint64_t pages = 0;
  const int me = platform.process_id();
  int lives = me;  // the last one that was found to
  for (Attachment& a : used_places(shared)) {
    const std::uint32_t number = a.number.load();
    const int process = a.process.load();
    if (number == 0 || process == lives || process == me) {
      continue;
    }
    if (platform.process_exists(process) && !(thorough && platform.has_let_go(process, a.forked.load()))) {
      lives = process;
    } else {
      const std::uint64_t reserved = a.reserved.exchange(0);
      if (EnclaveRecord* record = find_record(shared, number)) {
        record->epc_pages.fetch_sub(reserved);
        shared.epc_used.fetch_sub(reserved);
        pages += reserved;
      }
      a.number.store(0);
      pages += drop_record_if_unused(shared, number);
    }
  }
  return pages;
}

}  // namespace enclume::kernel
