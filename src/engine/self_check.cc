// SPDX-License-Identifier: Apache-2.0
#include "engine/self_check.h"

#include "arch/structs/tcs.h"
#include "base/panic.h"
#include "engine/signals/mask.h"

namespace enclume::engine {

namespace {

constexpr std::uint32_t kKnownDeferred =
    kDeferredKick | ((kDeferredSignal << kDeferredSlots) - kDeferredSignal);

}  // namespace

void check_thread(ThreadBlock& block, const ExitPlan& plan, int tid) {
  const arch::LogicalProcessor& lp = block.lp;
  ENCLUME_CHECK(block.tid == tid, {"thread", static_cast<std::uint64_t>(tid)},
                {"block of", static_cast<std::uint64_t>(block.tid)});
  ENCLUME_CHECK(lp.id == static_cast<std::uint32_t>(tid), {"processor", lp.id});
  ENCLUME_CHECK(block.enclave.load() == 0, {"enclave", block.enclave.load()});
  ENCLUME_CHECK((block.deferred.load() & ~kKnownDeferred) == 0, {"deferred", block.deferred.load()});

  const std::uint64_t rip = plan.frame->uc.mcontext.rip;
  ENCLUME_CHECK(lp.enclave_mode == (plan.enclave != 0), {"enclave mode", lp.enclave_mode}, {"rip", rip});
  if (!lp.enclave_mode) {
    ENCLUME_CHECK(!lp.tcs && !lp.secs, {"tcs", lp.tcs_address.value()}, {"rip", rip});
    return;
  }
  ENCLUME_CHECK((plan.frame->uc.sigmask & kOwnedSet) == 0, {"mask", plan.frame->uc.sigmask});
  ENCLUME_CHECK(lp.tcs && lp.secs, {"tcs", lp.tcs_address.value()}, {"rip", rip});
  auto& tcs = *reinterpret_cast<arch::Tcs*>(lp.tcs.data);
  ENCLUME_CHECK(lp.tcs.epcm->owner.load() == lp.id, {"tcs", lp.tcs_address.value()},
                {"owner", lp.tcs.epcm->owner.load()});
  ENCLUME_CHECK(tcs.atomic_state().load() == arch::tcs_state::kActive, {"tcs", lp.tcs_address.value()},
                {"state", tcs.atomic_state().load()});
  ENCLUME_CHECK(block.inside.load() == lp.secs.address.value, {"inside", block.inside.load()},
                {"secs", lp.secs.address.value});
}

}  // namespace enclume::engine
