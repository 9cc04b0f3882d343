// SPDX-License-Identifier: Apache-2.0
// The processor of src/arch behind the interface of the second model.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arch/cpu_state.h"
#include "arch/encls/encls.h"
#include "arch/enclu/enclu.h"
#include "arch/logical_processor.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/pcmd.h"
#include "arch/structs/secinfo.h"
#include "property/epcm_model.h"
#include "property/leaf_sequence.h"
#include "support/fake_machine.h"

namespace enclume::property {

class LeafMachine {
 public:
  LeafMachine(unsigned page_count, unsigned processor_count, Mutation mutation = Mutation::None);

  Result ecreate(unsigned page, unsigned base);
  Result eadd(unsigned page, unsigned secs, Type type, unsigned rwx, unsigned place, bool tcs_image,
              unsigned ossa);
  Result einit(unsigned secs);
  Result eaug(unsigned page, unsigned secs, unsigned place);
  Result eremove(unsigned page);
  Result eblock(unsigned page);
  Result etrack(unsigned secs);
  Result epa(unsigned page);
  Result ewb(unsigned page, unsigned va, unsigned slot, unsigned blob);
  Result eld(unsigned page, unsigned va, unsigned slot, unsigned secs, unsigned blob, bool block);
  Result emodpr(unsigned page, unsigned rwx);
  Result emodt(unsigned page, Type type);
  Result map(Place place, unsigned page);
  Result eenter(unsigned processor, Place tcs);
  Result eresume(unsigned processor, Place tcs);
  Result eexit(unsigned processor);
  Result aex(unsigned processor);
  Result edeccssa(unsigned processor);
  Result eaccept(unsigned processor, Place page, Request request, Place secinfo);
  Result eacceptcopy(unsigned processor, Place to, Place from, unsigned rwx, Place secinfo);
  Result emodpe(unsigned processor, Place page, unsigned rwx, Place secinfo);

  /// Whether the last leaf ended as the model says. (Two operands can be the same page, so it takes the model
  /// to say which of them a #PF names.)
  [[nodiscard]] bool ended(const Result& expected) const;

  /// The first difference between the machine and the model in anything that is not a leaf's result; empty
  /// if there is none.
  std::string difference(const EpcmModel& model);

 private:
  struct Processor {
    arch::LogicalProcessor lp;
    arch::CpuState cpu;
    alignas(64) std::array<std::byte, 1024> xsave{};
  };
  struct Blob {
    std::vector<std::byte> ciphertext;
    arch::Pcmd pcmd;
    std::uint64_t linaddr;
    std::vector<std::byte> plaintext;  ///< what must come back
  };
  /// Which operand has which address, to name the one that a #PF is about.
  using Addresses = std::vector<std::pair<Where, LinearAddress>>;

  const arch::Machine& machine() { return machine_.machine(); }
  LinearAddress at(unsigned page) { return machine_.epc_address(page); }
  static LinearAddress linear(Place place);
  LinearAddress in_enclave(unsigned secs, unsigned place);
  LinearAddress operands();
  Result result_of(const arch::LeafResult& leaf, Addresses addresses);
  Result enclu(unsigned processor, arch::EncluLeaf leaf, LinearAddress rbx, LinearAddress rcx,
               LinearAddress rdx, Addresses addresses);
  /// Lends the page at `secinfo`, whatever it is, to a SECINFO for the duration of a leaf.
  Result with_secinfo(Place secinfo, std::uint64_t flags, const std::function<Result(LinearAddress)>& leaf);
  std::string difference_of_page(const EpcmModel& model, unsigned page);

  test::FakeMachine machine_;
  Mutation mutation_;
  arch::Pageinfo& pageinfo_;
  arch::Secinfo& secinfo_;
  arch::Pcmd& pcmd_;
  std::byte* source_;
  std::vector<std::unique_ptr<Processor>> processors_;
  std::map<unsigned, Blob> blobs_;
  std::map<Place, unsigned> mapped_;
  Result last_;
  LinearAddress fault_address_{};
  Addresses last_addresses_;
  std::string corrupt_;
};

}  // namespace enclume::property
