// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/mapping_change.h"

#include <algorithm>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/pages/process.h"
#include "engine/pages/source_mapping.h"
#include "engine/sgx.h"
#include "kernel/kernel.h"
#include "kernel/vma/first_touch.h"

namespace enclume::engine {

namespace {

kernel::Kernel& kernel_half() {
  return engine().sgx->kernel();
}

/// f(vma) for each VMA that the range touches.
template <typename F>
void for_each_vma(LinearRange range, F&& f) {
  for (auto vma = kernel_half().vmas.find_from(range.begin); vma && vma->range.begin < range.end;
       vma = kernel_half().vmas.find_from(vma->range.end)) {
    f(*vma);
  }
}

}  // namespace

Shootdown::~Shootdown() {
  for (std::size_t i = 0; i < count_; ++i) {
    kernel_half().enclaves.keep(numbers_[i], [](kernel::Enclave& enclave) {
      if (enclave.mapped()) {
        engine().sgx->process().interrupt(enclave);
      }
    });
  }
}

void Shootdown::add(const kernel::Enclave& enclave) {
  const auto end = numbers_.begin() + static_cast<std::ptrdiff_t>(count_);
  // Where there are more, some go on with the rights that they had until something else interrupts them.
  if (std::find(numbers_.begin(), end, enclave.number()) == end && count_ < numbers_.size()) {
    numbers_[count_++] = enclave.number();
  }
}

void Shootdown::add(LinearRange range) {
  for_each_vma(range, [this](const kernel::Vma& vma) { add(*vma.enclave); });
}

MappingChange::MappingChange(kernel::VmaTable::Writer& writer, Shootdown& shootdown)
    : writer_(writer), shootdown_(shootdown), still_(engine().sgx->native(), sys::gettid()) {
  forget_source_mapping();
}

MappingChange::~MappingChange() {
  forget_source_mapping();
}

void MappingChange::prepare(LinearRange range) {
  shootdown_.add(range);
  kernel::unmap_touched(kernel_half(), range);
}

SysResult<void> MappingChange::take_out(LinearRange range) {
  prepare(range);
  return writer_.remove(range);
}

SysResult<void> MappingChange::replace(const kernel::Vma& vma) {
  prepare(vma.range);
  return writer_.replace(vma);
}

void MappingChange::forget(LinearRange range) {
  still_.forget(range);
  writer_.for_each_before(range, [this](const kernel::Vma& vma) { still_.forget(vma); });
}

void MappingChange::unify(LinearRange range) {
  for_each_vma(range, [this](const kernel::Vma& vma) { still_.withdraw(vma); });
}

}  // namespace enclume::engine
