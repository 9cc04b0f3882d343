// SPDX-License-Identifier: Apache-2.0
// Any bytes as the machine's vDSO. What is refused is refused with an error; what is built is a vDSO in which
// the enter function is found, and can be the machine's vDSO of a second build.
#include <sys/auxv.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernel/vdso/image.h"

namespace {

using enclume::LinearAddress;
namespace kernel = enclume::kernel;

constexpr LinearAddress kMachine{0x7fff00000000};

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

std::size_t count_enter_functions(std::span<const std::byte> image, const kernel::VdsoImage& layout) {
  const auto vdso = kernel::MachineVdso::parse(image);
  require(vdso.has_value());
  std::size_t count = 0;
  for (std::size_t i = 0; i < vdso->symbol_count(); i++) {
    const auto symbol = vdso->symbol(i);
    require(symbol.has_value());
    if (symbol->name == kernel::kEnterEnclaveName) {
      require(symbol->offset == layout.enter && symbol->in_code_section);
      count++;
    }
  }
  return count;
}

std::span<const std::byte> own_vdso() {
  const auto* start = reinterpret_cast<const std::byte*>(getauxval(AT_SYSINFO_EHDR));
  if (start == nullptr) {
    return {};
  }
  return {start, kernel::vdso_size({start, enclume::kPageSize}).value_or(0)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed);

/// Starts over from the real vDSO now and then: a mutator does not find an ELF file by itself.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  const auto vdso = own_vdso();
  if ((size < sizeof(Elf64_Ehdr) || seed % 64 == 0) && vdso.size() <= max_size) {
    std::memcpy(data, vdso.data(), vdso.size());
    size = vdso.size();
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto machine = std::as_bytes(std::span(data, size));
  static_cast<void>(kernel::vdso_size(machine));

  std::vector<std::byte> out(kernel::kMaxVdsoImageSize);
  const auto built = kernel::build_vdso_image(machine, kMachine, {}, out);
  if (!built.has_value()) {
    require(built.error() != kernel::VdsoError::OutputTooSmall);
    return 0;
  }
  const auto image = std::span(out).first(built->size);
  require(kernel::vdso_size(image) == built->size);
  require(count_enter_functions(image, *built) == 1);

  std::vector<std::byte> again(kernel::kMaxVdsoImageSize);
  const auto rebuilt = kernel::build_vdso_image(image, kMachine, {}, again);
  require(rebuilt.has_value());
  require(count_enter_functions(std::span(again).first(rebuilt->size), *rebuilt) == 1);
  return 0;
}
