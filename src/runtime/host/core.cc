// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/core.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "enclume/host/vdso_symbol.h"
#include "runtime/edge/sgx.h"
#include "runtime/host/deadlines.h"
#include "runtime/host/dump.h"
#include "runtime/host/whole_file.h"

namespace enclume::host {
namespace {

// Where the enclave puts what goes out, a thread. Calls within calls share it; what does not fit is
// allocated.
constexpr std::size_t kScratchSize = std::size_t{64} << 10;
// The same for what handles an exception: how much of the other is in use is not known then.
constexpr std::size_t kHandlerScratchSize = std::size_t{16} << 10;

using DumpRecords = std::array<edge::DumpRecord, edge::kMaxFrames>;

// Without constructor and destructor, so that nobody has to look whether it is there already.
struct Thread {
  Activation* innermost;
  std::uint32_t last_tcs;
  std::byte* scratch;
  // Null but between the end of a call by an exception and its return.
  DumpRecords* dumps;
};
constinit thread_local Thread thread{};

// Frees what the thread has, when it ends; to be touched before it has something.
struct ThreadEnd {
  bool is_needed = false;
  ~ThreadEnd() {
    std::free(std::exchange(thread.scratch, nullptr));
    delete std::exchange(thread.dumps, nullptr);
  }
};
thread_local ThreadEnd thread_end;

struct FreeDeleter {
  void operator()(void* block) const noexcept { std::free(block); }
};
// In Activation::allocations.
using Allocations = std::shared_ptr<std::vector<std::unique_ptr<void, FreeDeleter>>>;

constexpr std::uint64_t round_up(std::uint64_t bytes) {
  return (bytes + 63) & ~std::uint64_t{63};
}

// The scratch memory that calls further out on this thread have left.
void offer_scratch(edge::Mailbox& mailbox, const Activation* outer) {
  if (outer != nullptr) {
    const edge::Mailbox& theirs = outer->mailbox;
    const std::uint64_t used =
        std::min(theirs.scratch_size, round_up(std::min(theirs.scratch_used, theirs.scratch_size)));
    mailbox.scratch = theirs.scratch + used;
    mailbox.scratch_size = theirs.scratch_size - used;
    return;
  }
  if (thread.scratch == nullptr) {
    thread_end.is_needed = true;
    thread.scratch = static_cast<std::byte*>(std::aligned_alloc(64, kScratchSize));
  }
  mailbox.scratch = reinterpret_cast<std::uint64_t>(thread.scratch);
  mailbox.scratch_size = thread.scratch == nullptr ? 0 : kScratchSize;
}

// Where the enclave may tell what has happened in it; without memory it tells nothing.
std::uint64_t offer_dumps() {
  thread_end.is_needed = true;
  if (thread.dumps == nullptr) thread.dumps = new (std::nothrow) DumpRecords{};
  return reinterpret_cast<std::uint64_t>(thread.dumps);
}

std::uint64_t allocate(Activation& activation, std::uint64_t bytes) {
  if (bytes == 0 || bytes > SIZE_MAX / 2) return 0;
  void* const block = std::aligned_alloc(64, round_up(bytes));
  if (block == nullptr) return 0;
  std::unique_ptr<void, FreeDeleter> owner(block);
  if (!activation.allocations.has_value()) {
    activation.allocations = std::make_shared<Allocations::element_type>();
  }
  std::any_cast<Allocations&>(activation.allocations)->push_back(std::move(owner));
  return reinterpret_cast<std::uint64_t>(block);
}

// What an exception has interrupted: what the enclave has said as it leaves, or half of it, since it may not
// have left yet, and the scratch memory that it was using.
class Interruption {
 public:
  // What is called meanwhile has scratch memory of its own.
  void begin(edge::Mailbox& mailbox) noexcept {
    before_ = mailbox;
    own_scratch_ = std::aligned_alloc(64, kHandlerScratchSize);
    mailbox.scratch = reinterpret_cast<std::uint64_t>(own_scratch_);
    mailbox.scratch_size = own_scratch_ == nullptr ? 0 : kHandlerScratchSize;
    mailbox.scratch_used = 0;
  }
  void end(edge::Mailbox& mailbox) noexcept {
    mailbox = before_;
    std::free(own_scratch_);
  }

 private:
  edge::Mailbox before_;
  void* own_scratch_;
};

// What the loop around the vDSO function knows.
struct Call : Entry {
  Activation* activation = nullptr;
  // Exceptions that are looked at, one within the other.
  std::array<Interruption, edge::kMaxFrames> interrupted;  // not cleared, for each call would pay for it
  std::size_t handling = 0;
  Error error{};
  bool tcs_is_lost = false;
  // Asked to end what was interrupted; by a mailbox of its own, since that may be just filling the other.
  bool cancelling = false;
  edge::Mailbox cancel_mailbox{};
};

Code serve_ocall(Activation& activation) noexcept {
  const edge::Mailbox& mailbox = activation.mailbox;
  auto* const words = reinterpret_cast<std::uint64_t*>(mailbox.out_words);
  const OcallTable& table = activation.core->ocalls();
  try {
    if (mailbox.value == ENCLUME_OCALL_ALLOCATE) {
      words[0] = allocate(activation, words[0]);
      return Code::kOk;
    }
    if (mailbox.value == ENCLUME_OCALL_SLEEP) {
      words[0] = activation.incarnation->events.wait(activation.tcs, words[0]) ? 0 : 1;
      return Code::kOk;
    }
    if (mailbox.value == ENCLUME_OCALL_WAKE) {
      activation.incarnation->events.wake(words[0]);
      return Code::kOk;
    }
    if (mailbox.value >= table.count) return Code::kNoSuchCall;
    table.stubs[mailbox.value](words, activation);
    return Code::kOk;
  } catch (...) {
    // The first one is what the caller sees; the enclave learns of each.
    if (!activation.exception) activation.exception = std::current_exception();
    return Code::kHostException;
  }
}

bool is_over(const Activation& activation) noexcept {
  return activation.watch != nullptr && activation.watch->is_over();
}

Code serve_in_time(Activation& activation) noexcept {
  // The runtime's own are served all the same: other threads may wait for it.
  const bool is_own = activation.mailbox.value >= ENCLUME_OCALL_ALLOCATE;
  const Code code = is_own || !is_over(activation) ? serve_ocall(activation) : Code::kDeadline;
  return is_over(activation) ? Code::kDeadline : code;
}

std::uint32_t enter_with(Call& call, std::uint64_t command, std::uint64_t argument) noexcept {
  call.rdi = command;
  call.rsi = reinterpret_cast<std::uint64_t>(&call.activation->mailbox);
  call.rdx = argument;
  call.activation->mailbox.exit = ENCLUME_EXIT_REFUSED;
  return edge::kEenter;
}

OnException ask_host(Activation& activation, const sgx_enclave_run& run) noexcept {
  if (activation.on_exception == nullptr) return OnException::kAskEnclave;
  try {
    return (*activation.on_exception)(run);
  } catch (...) {
    if (!activation.exception) activation.exception = std::current_exception();
    return OnException::kEndCall;
  }
}

// Whether the thread could not go in because of a deadline, its own or one of the calls around it. It can
// now.
bool was_shut_out(const Activation& activation, const sgx_enclave_run& run) noexcept {
  bool result = false;
  for (const Activation* at = &activation; at != nullptr; at = at->outer) {
    if (at->watch != nullptr && at->watch->tcs_address() == run.tcs) result = at->watch->open() || result;
  }
  return result;
}

// The call has had its time, and is not in the enclave now.
std::uint32_t end_of_time(Call& call) noexcept {
  if (call.run->function == edge::kEresume && !call.cancelling) {
    call.cancelling = true;
    call.rdi = ENCLUME_COMMAND_CANCEL;
    call.rsi = reinterpret_cast<std::uint64_t>(&call.cancel_mailbox);
    return edge::kEenter;
  }
  if (call.run->function == edge::kEresume) return edge::kEresume;
  if (call.rdi == ENCLUME_COMMAND_CALL) {  // has not begun
    call.error = Error(Code::kDeadline);
    return 0;
  }
  if (call.rdi == ENCLUME_COMMAND_RETURN) call.rdx = static_cast<std::uint64_t>(Code::kDeadline);
  return edge::kEenter;
}

// After an exception.
std::uint32_t look_at_fault(Call& call) noexcept {
  Activation& activation = *call.activation;
  constexpr std::uint16_t kPageFault = 14;
  const Fault fault{call.run->exception_vector, call.run->exception_error_code, call.run->exception_addr};
  if (fault.vector == kPageFault && fault.address == call.run->tcs && was_shut_out(activation, *call.run)) {
    return end_of_time(call);
  }
  if (call.run->function == edge::kEenter) {
    // EENTER itself. Its page fault says that the pages are gone; #GP that the TCS is used up or never was
    // one.
    if (call.cancelling && fault.vector != kPageFault) {
      // An exception's handling has the last frame at the moment: another time.
      call.cancelling = false;
      return edge::kEresume;
    }
    if (call.handling != 0) {
      call.tcs_is_lost = true;
      call.error = Error(Code::kFault, activation.fault);
    } else {
      call.error = Error(Code::kRefused, fault);
    }
    if (fault.vector == kPageFault) {
      call.tcs_is_lost = false;  // it goes with the rest
      call.error = Error(Code::kEnclaveLost, fault);
    }
    return 0;
  }
  if (call.handling == 0) activation.fault = fault;
  // There are as many as frames, if the enclave is one of this runtime.
  if (call.handling == call.interrupted.size()) {
    call.tcs_is_lost = true;
    call.error = Error(Code::kFault, activation.fault);
    return 0;
  }
  Interruption& interruption = call.interrupted[call.handling];
  interruption.begin(activation.mailbox);
  const OnException wish = ask_host(activation, *call.run);
  if (wish == OnException::kResume) {
    interruption.end(activation.mailbox);
    return edge::kEresume;
  }
  ++call.handling;
  if (activation.core->wants_dumps()) activation.mailbox.dumps = offer_dumps();
  return enter_with(call, ENCLUME_COMMAND_EXCEPTION, wish == OnException::kEndCall ? 1 : 0);
}

// Why the enclave has refused a call without a word: it says why not, unless it has no stack to say it on.
// (One that is made while the TCS is interrupted is refused, too.)
bool found_no_stack(const Call& call) noexcept {
  if (call.rdi != ENCLUME_COMMAND_CALL) return false;
  const Activation& activation = *call.activation;
  const Activation* outer = activation.outer;
  while (outer != nullptr && (outer->core != activation.core || outer->tcs != activation.tcs))
    outer = outer->outer;
  return outer != nullptr && outer->mailbox.exit == ENCLUME_EXIT_OCALL;
}

std::uint32_t next_step(Entry* entry) noexcept {
  Call& call = *static_cast<Call*>(entry);
  Activation& activation = *call.activation;
  if (static_cast<std::int64_t>(call.result) < 0) {
    call.error = Error(Code::kRefused, static_cast<std::int32_t>(call.result));
    return 0;
  }
  if (call.run->function != edge::kEexit) return look_at_fault(call);
  if (call.cancelling) {
    // It ends when it goes on; or it was where it can't be left, and there will be another attempt.
    call.cancelling = false;
    return edge::kEresume;
  }
  switch (activation.mailbox.exit) {
    case ENCLUME_EXIT_DONE: {
      const std::uint64_t value = activation.mailbox.value;
      const Code code =
          value <= static_cast<std::uint64_t>(Code::kLast) ? static_cast<Code>(value) : Code::kBadResult;
      call.error = code == Code::kFault ? Error(code, activation.fault) : Error(code);
      return 0;
    }
    case ENCLUME_EXIT_OCALL: {
      const Code code = serve_in_time(activation);
      if (activation.tcs_lost_in == activation.incarnation) {
        call.tcs_is_lost = true;
        call.error = Error(Code::kFault, activation.fault);
        return 0;
      }
      return enter_with(call, ENCLUME_COMMAND_RETURN, static_cast<std::uint64_t>(code));
    }
    case ENCLUME_EXIT_RESUME:
      if (call.handling != 0) {
        call.interrupted[--call.handling].end(activation.mailbox);
        return edge::kEresume;
      }
      [[fallthrough]];
    default:
      // An exception that the enclave can't or won't look at leaves the TCS where it was interrupted, for
      // good.
      call.tcs_is_lost = call.handling != 0;
      if (call.handling != 0) {
        call.error = Error(Code::kFault, activation.fault);
      } else {
        call.error = found_no_stack(call) ? Error(Code::kOutOfStack) : Error(Code::kRefused);
      }
      return 0;
  }
}

// Makes `activation` the innermost of this thread for its time.
class Nested {
 public:
  explicit Nested(Activation& activation) {
    activation.outer = thread.innermost;
    thread.innermost = &activation;
  }
  ~Nested() { thread.innermost = thread.innermost->outer; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
};

// How often a build that is lost before it is done begins anew. A machine that has lost SGX for good fails
// in another way.
constexpr int kMaxBuilds = 100;

bool is_loss(const Error& error) {
  return error.code == Code::kEnclaveLost ||
         ((error.code == Code::kAddPagesFailed || error.code == Code::kInitFailed) && error.system == EIO);
}

}  // namespace

Core::Core(Image image, std::span<const std::byte> sigstruct, const char* path, const LoadOptions& options,
           const OcallTable& ocalls, vdso_sgx_enter_enclave_t function)
    : image_(std::move(image)),
      sigstruct_(sigstruct.begin(), sigstruct.end()),
      path_(path),
      debug_(options.debug),
      when_busy_(options.when_busy),
      on_dump_(options.on_dump),
      ocalls_(ocalls),
      function_(function),
      pool_(image_.config().threads),
      incarnations_(pool_, image_.config().threads) {}

std::unique_ptr<Incarnation> Core::build_one(const std::function<Error()>& restore, Error& why) {
  auto enclave = LoadedEnclave::load(image_, sigstruct_, debug_, why);
  if (!enclave) return nullptr;
  if (function_ == nullptr) {
    why = Error(Code::kNoVdso);
    return nullptr;
  }
  const std::uint64_t platform = enclave->platform();
  auto fresh = std::make_unique<Incarnation>(std::move(*enclave), image_.config().threads,
                                             incarnations_.next_number());
  // As if it were in an OCALL of the new enclave, this thread's calls go there.
  Activation inside;
  inside.core = this;
  inside.incarnation = fresh.get();
  inside.is_restore = true;
  offer_scratch(inside.mailbox, thread.innermost);
  const Nested nested(inside);
  Activation start;
  why = invoke(start, ENCLUME_COMMAND_START, ocalls_.fingerprint, platform);
  if (why.code == Code::kOk && restore) why = restore();
  // A loss that `restore` did not care about is one all the same.
  if (fresh->is_lost) why = Error(Code::kEnclaveLost);
  return why.code == Code::kOk ? std::move(fresh) : nullptr;
}

Error Core::build() {
  Error why;
  if (auto fresh = build_one({}, why)) incarnations_.publish(std::move(fresh));
  return why;
}

Error Core::rebuild(const std::function<Error()>& restore) {
  for (const Activation* at = thread.innermost; at != nullptr; at = at->outer) {
    if (at->core == this && at->is_restore) return Error(Code::kRefused);
  }
  const std::lock_guard one_at_a_time(rebuilding_);
  // Somebody has done it.
  if (!incarnations_.current().is_lost) return Error();
  Error why;
  for (int i = 0; i < kMaxBuilds; ++i) {
    if (auto fresh = build_one(restore, why)) {
      incarnations_.publish(std::move(fresh));
      return Error();
    }
    if (!is_loss(why)) break;
  }
  return why;
}

Error Core::invoke(Activation& activation, std::uint32_t command, std::uint64_t argument,
                   std::uint64_t words) {
  // The time of a call is that of those within it.
  if (thread.innermost != nullptr && thread.innermost->deadline &&
      (!activation.deadline || *activation.deadline > *thread.innermost->deadline)) {
    activation.deadline = thread.innermost->deadline;
  }
  if (activation.deadline) {
    if (*activation.deadline <= Clock::now()) return Error(Code::kDeadline);
    watch_deadlines();
  }
  // A call that one of our OCALLs makes goes in by the TCS that has left by it, if it wants no other.
  Activation* outer = thread.innermost;
  while (outer != nullptr && outer->core != this) outer = outer->outer;
  Activation* const same = activation.another_tcs ? nullptr : outer;
  if (same != nullptr) {
    activation.tcs = same->tcs;
    // Lost and built again meanwhile, it is another enclave; by this TCS nobody but this thread is in it.
    activation.incarnation =
        incarnations_.is_superseded(*same->incarnation) ? &incarnations_.current() : same->incarnation;
  } else if (const auto index = pool_.try_take(thread.last_tcs)) {
    activation.tcs = *index;
  } else if (when_busy_ == WhenBusy::kFail || outer != nullptr) {
    return Error(Code::kNoThread);
  } else {
    const auto taken = pool_.take(thread.last_tcs, activation.deadline);
    if (!taken) return Error(pool_.all_lost() ? Code::kNoThread : Code::kDeadline);
    activation.tcs = *taken;
  }
  if (same == nullptr) activation.incarnation = &incarnations_.by(activation.tcs);

  activation.core = this;
  std::optional<Watch> watch;
  if (activation.deadline) {
    watch.emplace(*activation.deadline, *activation.incarnation, activation.tcs,
                  tcs_address(*activation.incarnation, activation.tcs));
    activation.watch = &*watch;
  }
  sgx_enclave_run run{};
  run.tcs = tcs_address(*activation.incarnation, activation.tcs);
  activation.mailbox.words = words;
  offer_scratch(activation.mailbox, thread.innermost);
  Call call;
  call.function = function_;
  call.run = &run;
  call.next = next_step;
  call.activation = &activation;
  call.leaf = enter_with(call, command, argument);
  {
    const Nested nested(activation);
    enclume_host_enter(&call);
  }
  while (call.handling != 0) call.interrupted[--call.handling].end(activation.mailbox);
  watch.reset();
  if (call.error.code == Code::kEnclaveLost) activation.incarnation->lose();
  const std::uint64_t base = activation.incarnation->enclave.base();
  Incarnation* const lost_in = call.tcs_is_lost ? activation.incarnation : activation.tcs_lost_in;
  if (same != nullptr) {
    // The index is the outer call's, which has to end as well, if it is in the same enclave.
    if (lost_in != nullptr) {
      same->tcs_lost_in = lost_in;
      same->fault = activation.fault;
    }
  } else if (lost_in != nullptr) {
    incarnations_.spend(activation.tcs, *lost_in);
  } else {
    thread.last_tcs = activation.tcs;
    incarnations_.done_by(activation.tcs);
    pool_.give_back(activation.tcs);
  }
  if (call.error.code == Code::kFault) report_dump(base);
  // Whose end came in the middle of another by an exception in a handler tells nothing of that.
  if (call.error.code == Code::kDeadline) delete std::exchange(thread.dumps, nullptr);
  return call.error;
}

void Core::report_dump(std::uint64_t base) const {
  if (on_dump_ == nullptr || thread.dumps == nullptr) return;
  Dump dump{.image = path_, .base = base, .levels = take_records(*thread.dumps, base)};
  if (!dump.levels.empty()) on_dump_(dump);
}

namespace {

std::shared_ptr<Core> load_file(const char* path, const LoadOptions& options, const OcallTable& ocalls,
                                Error& error) {
  const auto fail = [&](const Error& why) {
    error = why;
    return nullptr;
  };
  std::vector<char> bytes;
  if (const int cannot = read_whole_file(path, bytes); cannot != 0)
    return fail(Error(Code::kCannotRead, cannot));
  const auto all = std::as_bytes(std::span(bytes));
  auto image = Image::parse(all, error);
  if (!image) return nullptr;
  const auto sigstruct = all.subspan(image->sigstruct_offset(), edge::kSigstructSize);
  if (std::ranges::all_of(sigstruct, [](std::byte b) { return b == std::byte{0}; }))
    return fail(Code::kNotSigned);
  const auto function =
      reinterpret_cast<vdso_sgx_enter_enclave_t>(find_vdso_symbol("__vdso_sgx_enter_enclave"));
  auto core = std::make_shared<Core>(std::move(*image), sigstruct, path, options, ocalls, function);
  error = core->build();
  return error.code == Code::kOk ? core : nullptr;
}

}  // namespace

std::shared_ptr<Core> load(const char* path, const LoadOptions& options, const OcallTable& ocalls,
                           Error& error) {
  try {
    return load_file(path, options, ocalls, error);
  } catch (const std::bad_alloc&) {
    error = Error(Code::kOutOfMemory);
    return nullptr;
  }
}

Error invoke(Core& core, Activation& activation, std::uint32_t number, std::uint64_t* words) {
  const Error error =
      core.invoke(activation, ENCLUME_COMMAND_CALL, number, reinterpret_cast<std::uint64_t>(words));
  if (activation.exception) std::rethrow_exception(activation.exception);
  return error;
}

Error rebuild(Core& core, const std::function<Error()>& restore) {
  return core.rebuild(restore);
}

Activation* innermost() noexcept {
  return thread.innermost;
}
std::shared_ptr<Core> shared(Core& core) {
  return core.shared_from_this();
}
const OcallTable& ocalls_of(const Core& core) noexcept {
  return core.ocalls();
}
std::uint64_t base_of(Core& core) noexcept {
  return core.base();
}
std::uint64_t size_of(Core& core) noexcept {
  return core.size();
}

}  // namespace enclume::host
