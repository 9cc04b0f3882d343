// SPDX-License-Identifier: Apache-2.0
// SIGSTRUCT and EINITTOKEN as an attacker writes them, through EINIT.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "arch/encls/encls.h"
#include "arch/identity/signature.h"
#include "arch/structs/einittoken.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"
#include "arch/structs/sigstruct.h"
#include "support/fake_machine.h"

using namespace enclume;

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static test::FakeMachine machine(4);
  static auto& sig = machine.allocate<arch::Sigstruct>();
  static auto& token = machine.allocate<arch::Einittoken>();
  static auto& source = machine.allocate<arch::Secs>();
  static auto& secinfo = machine.allocate<arch::Secinfo>();
  static auto& pageinfo = machine.allocate<arch::Pageinfo>();
  if (!machine.epc_page(0).epcm->load().valid) {
    source.size = 0x10000;
    source.ssa_frame_size = 1;
    source.attributes = {arch::attribute::kMode64Bit, 3};
    pageinfo = {0, LinearAddress::of(&source).value(), LinearAddress::of(&secinfo).value(), 0};
    require(arch::ecreate(machine.machine(), machine, LinearAddress::of(&pageinfo), machine.epc_address(0)) ==
            arch::leaf_success());
  }

  const std::size_t in_sig = std::min(size, sizeof(sig));
  std::memset(reinterpret_cast<char*>(&sig), 0, sizeof(sig));
  std::memcpy(reinterpret_cast<char*>(&sig), data, in_sig);
  std::memset(reinterpret_cast<char*>(&token), 0, sizeof(token));
  std::memcpy(reinterpret_cast<char*>(&token), data + in_sig, std::min(size - in_sig, sizeof(token)));

  // Whoever finds an input that verifies has broken RSA or, more likely, found our bug.
  require(!arch::verify_signature(sig).has_value());
  const arch::LeafResult r =
      arch::einit(machine.machine(), machine, arch::signer_of(sig), LinearAddress::of(&sig),
                  machine.epc_address(0), LinearAddress::of(&token));
  require(r.has_value() && r->zf &&
          r->code == (arch::sigstruct_well_formed(sig) ? arch::LeafCode::InvalidSignature
                                                       : arch::LeafCode::InvalidSigStruct));
  require(!arch::secs_of(machine.epc_page(0)).initialised());
  return 0;
}
