// SPDX-License-Identifier: Apache-2.0
// Changes to what is mapped where enclaves are, so that no other thread acts on what was there before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/errno.h"
#include "base/types.h"
#include "engine/pages/native_protection.h"
#include "kernel/enclave.h"
#include "kernel/vma/vma_table.h"

namespace enclume::engine {

/// Enclaves from whose pages rights were taken. Linux interrupts the processors that may have them in their
/// TLB, so the threads that are inside leave once; here when the object goes, which is to be after the
/// Writer.
class Shootdown {
 public:
  Shootdown() = default;
  ~Shootdown();
  Shootdown(const Shootdown&) = delete;
  Shootdown& operator=(const Shootdown&) = delete;

  void add(const kernel::Enclave& enclave);
  /// Those that are mapped there now.
  void add(LinearRange range);

 private:
  std::array<std::uint32_t, 16> numbers_{};
  std::size_t count_ = 0;
};

/// One change, around the system call that makes it natively. While it lives, whoever gives or takes native
/// permissions waits, and looks for the VMA again then.
class MappingChange {
 public:
  MappingChange(kernel::VmaTable::Writer& writer, Shootdown& shootdown);
  ~MappingChange();
  MappingChange(const MappingChange&) = delete;
  MappingChange& operator=(const MappingChange&) = delete;

  /// From now on nobody finds enclave mappings in the range. Before the system call if the range will be free
  /// then, since another thread can be given it at once; else behind it. Errors: NoMemory, and nothing has
  /// happened.
  [[nodiscard]] SysResult<void> take_out(LinearRange range);
  /// The same, and finds this one instead, at one stroke.
  [[nodiscard]] SysResult<void> replace(const kernel::Vma& vma);
  /// After either: the pages that were there are not there any more.
  void forget(LinearRange range);
  /// Or they still are, since the kernel has refused.
  void undo() { writer_.undo(); }

  /// Makes one native mapping, without permissions, of each that is one for the program.
  void unify(LinearRange range);

 private:
  void prepare(LinearRange range);

  kernel::VmaTable::Writer& writer_;
  Shootdown& shootdown_;
  NativeProtection::Standstill still_;
};

}  // namespace enclume::engine
