// SPDX-License-Identifier: Apache-2.0
#include "arch/enclu/enclu.h"

#include "arch/structs/attributes.h"

namespace enclume::arch {

// Of the dispatch checks (SDM Vol. 3D, "ENCLU") those on CR0, CR4, CPL, IA32_FEATURE_CONTROL and the mode
// can't fail in a 64-bit process whose operating system has enabled SGX; transactions and CET waiting for
// ENDBR are the platform's to see, before it calls.
LeafResult enclu(const Machine& machine, LogicalProcessor& lp, CpuState& cpu, AddressSpace& space) noexcept {
  const auto leaf = static_cast<EncluLeaf>(static_cast<std::uint32_t>(cpu[Reg::Rax]));
  const bool sgx2 = machine.config.sgx2;
  const bool aex_notify = (machine.config.attributes_supported & attribute::kAexNotify) != 0;

  if (!lp.enclave_mode) {
    switch (leaf) {
      case EncluLeaf::Eenter:
        return eenter(machine, lp, cpu, space);
      case EncluLeaf::Eresume:
        return eresume(machine, lp, cpu, space);
      default:
        return raise(general_protection());
    }
  }
  switch (leaf) {
    case EncluLeaf::Eexit:
      return eexit(machine, lp, cpu);
    case EncluLeaf::Ereport:
      return ereport(machine, lp, cpu, space);
    case EncluLeaf::Egetkey:
      return egetkey(machine, lp, cpu, space);
    case EncluLeaf::Eaccept:
      return sgx2 ? eaccept(machine, lp, cpu, space) : raise(general_protection());
    case EncluLeaf::Emodpe:
      return sgx2 ? emodpe(machine, lp, cpu, space) : raise(general_protection());
    case EncluLeaf::Eacceptcopy:
      return sgx2 ? eacceptcopy(machine, lp, cpu, space) : raise(general_protection());
    case EncluLeaf::Edeccssa:
      return aex_notify ? edeccssa(machine, lp, cpu, space) : raise(general_protection());
    // CPUID does not offer it.
    case EncluLeaf::Everifyreport2:
    // Not from inside.
    case EncluLeaf::Eenter:
    case EncluLeaf::Eresume:
      break;
  }
  return raise(general_protection());
}

}  // namespace enclume::arch
