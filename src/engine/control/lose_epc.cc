// SPDX-License-Identifier: Apache-2.0
#include "engine/control/lose_epc.h"

#include <csignal>

#include "base/syscall.h"
#include "engine/control/obey.h"
#include "engine/engine.h"
#include "engine/sgx.h"
#include "kernel/epc_loss.h"
#include "kernel/reclaim/reclaim.h"

namespace enclume::engine {

namespace {

/// The other processes that have an enclave of this machine, once each.
template <typename F>
void for_each_other_process(const kernel::KernelShared& shared, F&& f) noexcept {
  const int me = sys::getpid();
  const auto& all = shared.attachments;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const int process = all[i].process.load(std::memory_order_relaxed);
    if (all[i].number.load(std::memory_order_relaxed) == 0 || process == me) {
      continue;
    }
    bool seen = false;
    for (std::size_t j = 0; j < i && !seen; ++j) {
      seen = all[j].number.load(std::memory_order_relaxed) != 0 &&
             all[j].process.load(std::memory_order_relaxed) == process;
    }
    if (!seen) {
      f(process);
    }
  }
}

}  // namespace

SysResult<long> lose_epc(std::uint32_t number, LossCause cause) noexcept {
  SysResult<long> result = fail(Errno::NoEntry);
  kernel::Kernel& kernel = engine().sgx->kernel();
  kernel.enclaves.keep(number, [&](kernel::Enclave& enclave) {
    if (!kernel::lose_epc(kernel, enclave)) {
      result = fail(Errno::Invalid);
      return;
    }
    result = 1;
    if (engine().events.on()) {
      engine().events.emit(trace::EpcLoss{LinearAddress(enclave.base()), cause.process});
    }
  });
  return result;
}

long lose_own_epc(LossCause cause) noexcept {
  const kernel::Kernel& kernel = engine().sgx->kernel();
  // Who is driven out may have another enclave before this is done: that one is of the time after.
  const std::uint32_t newest = kernel.shared.last_number.load();
  long count = 0;
  kernel.enclaves.for_each([&](kernel::Enclave& enclave) {
    if (const std::uint32_t number = enclave.number(); number != 0 && number <= newest) {
      count += lose_epc(number, cause).value_or(0);
    }
  });
  return count;
}

long lose_epc_of_machine(LossCause cause) noexcept {
  const long count = lose_own_epc(cause);
  // Who has executed another program since has another machine.
  (void)kernel::sweep_dead_processes(engine().sgx->kernel(), true);
  for_each_other_process(engine().sgx->kernel().shared, [](int process) {
    (void)send_request(process, {ControlRequest::What::LoseOwnEpc, 0});
  });
  return count;
}

}  // namespace enclume::engine
