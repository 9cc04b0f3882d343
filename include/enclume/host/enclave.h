// SPDX-License-Identifier: Apache-2.0
// The host's half of the calls: loads an enclave and calls into it. Needs the Linux ABI alone:
// /dev/sgx_enclave and the vDSO.
//
//   auto enclave = enclume::Enclave<Hello>::load("hello.enclave");
//   if (!enclave) …enclave.error()…
//   auto total = enclave->call<hello::sum>(numbers);  // std::expected<std::uint64_t, enclume::Error>
//
// Any thread may call. A call that an OCALL makes goes in by the same TCS, if it does not ask for another
// one; all others take one from the pool.
#pragma once

#include <asm/sgx.h>

#include <algorithm>
#include <any>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "enclume/edge/abi.h"
#include "enclume/edge/interface.h"
#include "enclume/host/dump.h"

namespace enclume {

/// What to do when every TCS is in use.
enum class WhenBusy {
  kWait,  ///< until one is free; Code::kNoThread if exceptions have made all unusable
  kFail,  ///< Code::kNoThread
};

/// How an enclave is to be loaded.
struct LoadOptions {
  /// With the DEBUG attribute: debuggers and the kernel's tools may look inside. Refused for PRODUCTION
  /// enclaves.
  bool debug = false;
  WhenBusy when_busy = WhenBusy::kWait;  ///< what calls do when every TCS is in use
  /// Gets what the enclave tells of exceptions that nobody handled: debug enclaves, and those built with
  /// DUMPS. By default it goes to standard error. Empty: the enclave isn't asked. What it throws, the call
  /// throws.
  DumpHandler on_dump = print_dump;
};

/// What the host wants after an exception in the enclave.
enum class OnException {
  kAskEnclave,  ///< let the enclave's own handlers see to it: what happens without a host's handler
  kEndCall,     ///< end the call with Code::kFault without asking them
  kResume,      ///< ERESUME: the cause has been removed outside
};

/// Called on the thread of the call, with the facts as Linux has put them there, before the enclave is asked.
/// It may call enclaves and throw; what it throws, the call throws when it has ended.
using ExceptionHandler = std::function<OnException(const sgx_enclave_run&)>;

namespace host {

class Core;
struct Incarnation;
class Watch;

/// One ECALL under way.
struct Activation {
  edge::Mailbox mailbox{};
  Core* core = nullptr;
  Incarnation* incarnation = nullptr;
  bool is_restore = false;             ///< no ECALL, but where the calls of a rebuild's restore come from
  std::uint32_t tcs = 0;               ///< index
  bool another_tcs = false;            ///< not the one that this thread has left by an OCALL
  Incarnation* tcs_lost_in = nullptr;  ///< a call within this one has left the TCS unusable, in this one
  Activation* outer = nullptr;         ///< of this thread, any enclave's
  Fault fault{};                       ///< the last exception
  std::exception_ptr exception;        ///< what an OCALL threw
  const ExceptionHandler* on_exception = nullptr;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  Watch* watch = nullptr;  ///< with a deadline
  std::any kept;           ///< the result of the last OCALL, until the enclave has copied it
  std::any allocations;    ///< what the enclave asked for
};

/// Serves one OCALL; `words` is the host's memory. May throw.
using OcallStub = void (*)(std::uint64_t* words, Activation& activation);

struct OcallTable {
  const OcallStub* stubs;
  std::size_t count;
  std::uint64_t fingerprint;
};

/// Loads an image and starts it; null, and why. Core is shared by all handles.
std::shared_ptr<Core> load(const char* path, const LoadOptions& options, const OcallTable& ocalls,
                           Error& error);
/// One ECALL from here to its end. `words`: arguments, and afterwards the result. Throws what an OCALL threw.
Error invoke(Core& core, Activation& activation, std::uint32_t number, std::uint64_t* words);
/// See Enclave::rebuild().
Error rebuild(Core& core, const std::function<Error()>& restore);
/// The innermost ECALL of this thread; null: none.
[[nodiscard]] Activation* innermost() noexcept;
[[nodiscard]] std::shared_ptr<Core> shared(Core& core);
[[nodiscard]] const OcallTable& ocalls_of(const Core& core) noexcept;
[[nodiscard]] std::uint64_t base_of(Core& core) noexcept;
[[nodiscard]] std::uint64_t size_of(Core& core) noexcept;

/// The host trusts what the enclave says, and both see the host's memory: nothing is copied.
struct Port {
  static std::uint64_t send(const void* data, std::size_t) { return reinterpret_cast<std::uint64_t>(data); }
  static std::uint64_t send_inout(const void* data, std::size_t bytes) { return send(data, bytes); }
  static std::uint64_t send_out(const void* data, std::size_t bytes) { return send(data, bytes); }
  static void* receive(std::uint64_t address, std::size_t) { return reinterpret_cast<void*>(address); }
  static void* receive_inout(std::uint64_t address, std::size_t bytes) { return receive(address, bytes); }
  static void* receive_out(std::uint64_t address, std::size_t bytes) { return receive(address, bytes); }
  static void refuse(Code) {}
};

/// The same for a call that may have to be made again: spans that it changes are as they were before that.
class RepeatingPort : public Port {
 public:
  std::uint64_t send_inout(void* data, std::size_t bytes) {
    const auto* const first = static_cast<const std::byte*>(data);
    before_.push_back({data, {first, first + bytes}});
    return send(data, bytes);
  }
  void put_back() {
    for (const auto& [data, bytes] : before_)
      std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(data));
    before_.clear();
  }

 private:
  std::vector<std::pair<void*, std::vector<std::byte>>> before_;
};

/// How often a call is made anew whose enclave is lost each time.
inline constexpr int kMaxRepeats = 100;

template <auto F>
void serve(std::uint64_t* words, Activation& activation) {
  using Call = edge::Signature<decltype(F)>;
  Port port;
  auto parameters = Call::In::template decode<typename Call::Parameters>(words, port);
  if constexpr (std::is_void_v<typename Call::Result>) {
    std::apply(F, std::move(parameters));
  } else {
    // Its data must stay where they are until the enclave has copied them.
    auto kept = std::make_shared<typename Call::Value>(std::apply(F, std::move(parameters)));
    Call::Out::encode(*kept, words, port);
    activation.kept = std::move(kept);
  }
}

template <typename I, typename List>
struct StubTable;
template <typename I, auto... F>
struct StubTable<I, Ocalls<F...>> {
  static constexpr OcallStub kStubs[sizeof...(F) + 1] = {&serve<F>..., nullptr};
  static constexpr OcallTable kTable{kStubs, sizeof...(F), I::kFingerprint};
};

template <typename R>
struct Outcome {
  using type = std::expected<R, Error>;
};
// A call that says by itself how it can fail has one kind of failure, not two.
template <typename T>
struct Outcome<std::expected<T, Error>> {
  using type = std::expected<T, Error>;
};

}  // namespace host

/// A loaded enclave, by which its functions are called. Copies are handles to the same enclave; the last one
/// unloads it, so as any object a handle must live as long as the calls by it. One that was moved from
/// refuses calls: Code::kRefused. Calls take memory and locks, so signal handlers must not make any.
template <typename I>
class Enclave {
 public:
  /// Builds the enclave that the file describes and starts it. See Code for what can go wrong.
  static std::expected<Enclave, Error> load(const char* path, const LoadOptions& options = {}) {
    Error error;
    auto core = host::load(path, options, host::StubTable<I, typename I::Outside>::kTable, error);
    if (core == nullptr) return std::unexpected(error);
    return Enclave(std::move(core));
  }

  /// Calls F inside. std::expected<its result, Error>; if F itself returns std::expected<T, Error>, just
  /// that. Spans of non-const elements are copied in and out, an OutSpan out. Throws what an OCALL on the way
  /// threw.
  template <auto F, typename... A>
  auto call(A&&... arguments) const ->
      typename host::Outcome<typename edge::Signature<decltype(F)>::Result>::type {
    using Call = edge::Signature<decltype(F)>;
    constexpr std::size_t number = I::Inside::template index<F>();
    static_assert(number < I::Inside::kCount, "the interface has no such ECALL");
    const typename Call::Parameters parameters{std::forward<A>(arguments)...};
    std::optional<std::chrono::steady_clock::time_point> deadline;
    if (time_limit_) deadline = std::chrono::steady_clock::now() + *time_limit_;
    if (restore_ == nullptr) {
      host::Port port;
      return call_once<Call>(number, parameters, port, deadline);
    }
    host::RepeatingPort port;
    for (int i = 0;; ++i) {
      auto result = call_once<Call>(number, parameters, port, deadline);
      if (result || result.error().code != Code::kEnclaveLost || i == host::kMaxRepeats) return result;
      if (const auto rebuilt = rebuild(*restore_); !rebuilt) return std::unexpected(rebuilt.error());
      port.put_back();
    }
  }

  /// Gets the enclave that has just been built, and nobody else has called; says whether it may be called.
  using Restore = std::function<std::expected<void, Error>(const Enclave&)>;

  /// After Code::kEnclaveLost: builds the enclave anew from the image that it was loaded from, and has it
  /// restored before any other call gets in. All handles lead to the new one from then on. Of several threads
  /// one does it and the others wait for it; where a new one is there already nothing is done. A loss
  /// meanwhile begins it anew. Errors: what loading can say; what `restore` says, and then the enclave
  /// remains lost; kRefused in a `restore`.
  std::expected<void, Error> rebuild(const Restore& restore = {}) const {
    const auto run = [&]() -> Error {
      const std::expected<void, Error> result = restore(Enclave(core_));
      return result ? Error() : result.error();
    };
    if (core_ == nullptr) return std::unexpected(Error(Code::kRefused));
    const Error error = host::rebuild(*core_, restore ? std::function<Error()>(run) : nullptr);
    if (error.code != Code::kOk) return std::unexpected(error);
    return {};
  }

  /// A handle to the same enclave, whose calls do that for themselves and are then made again, from the
  /// beginning. What an interrupted one has called outside was called, and is called again.
  [[nodiscard]] Enclave with_rebuild(Restore restore) const {
    Enclave result = *this;
    result.restore_ = std::make_shared<const Restore>(std::move(restore));
    return result;
  }

  /// A handle to the same enclave, whose calls, and no others, have this handler.
  [[nodiscard]] Enclave with_handler(ExceptionHandler handler) const {
    Enclave result = *this;
    result.on_exception_ = std::make_shared<const ExceptionHandler>(std::move(handler));
    return result;
  }

  /// A handle to the same enclave, whose calls take a TCS from the pool also in an OCALL of this enclave:
  /// with its own stack, thread-local variables and exception handlers. They never wait for one while the
  /// thread has another, since two threads that did could wait for each other: Code::kNoThread.
  [[nodiscard]] Enclave on_another_tcs() const {
    Enclave result = *this;
    result.another_tcs_ = true;
    return result;
  }

  /// A handle to the same enclave, whose calls end with Code::kDeadline when they take longer than that, with
  /// all calls that they lead to, wherever they are but in a host's function; that one is waited for. A call
  /// that has begun is ended as by an exception that nobody handles: without SURVIVE_FAULTS it is the
  /// enclave's last. What it has locked stays locked, and what it has allocated is lost.
  [[nodiscard]] Enclave with_deadline(std::chrono::nanoseconds limit) const {
    Enclave result = *this;
    // Beyond a century is none, and could not be added to a clock.
    constexpr std::chrono::hours kCentury{100 * 365 * 24};
    result.time_limit_ = limit < kCentury ? limit : kCentury;
    return result;
  }

  /// ELRANGE's first address; 0 of a handle that was moved from.
  [[nodiscard]] std::uint64_t base() const noexcept { return core_ == nullptr ? 0 : host::base_of(*core_); }
  /// ELRANGE's size in bytes, a power of two; 0 as above.
  [[nodiscard]] std::uint64_t size() const noexcept { return core_ == nullptr ? 0 : host::size_of(*core_); }

  /// In an OCALL: the enclave that made it, if it is one of this interface.
  static std::optional<Enclave> current() {
    host::Activation* const activation = host::innermost();
    if (activation == nullptr ||
        &host::ocalls_of(*activation->core) != &host::StubTable<I, typename I::Outside>::kTable) {
      return std::nullopt;
    }
    return Enclave(host::shared(*activation->core));
  }

 private:
  explicit Enclave(std::shared_ptr<host::Core> core) : core_(std::move(core)) {}

  template <typename Call, typename Port>
  auto call_once(std::size_t number, const typename Call::Parameters& parameters, Port& port,
                 std::optional<std::chrono::steady_clock::time_point> deadline) const ->
      typename host::Outcome<typename Call::Result>::type {
    if (core_ == nullptr) return std::unexpected(Error(Code::kRefused));
    std::array<std::uint64_t, Call::kWords> words;
    Call::In::encode(parameters, words.data(), port);
    host::Activation activation;
    activation.on_exception = on_exception_.get();
    activation.another_tcs = another_tcs_;
    activation.deadline = deadline;
    if (const Error error =
            host::invoke(*core_, activation, static_cast<std::uint32_t>(number), words.data());
        error.code != Code::kOk) {
      return std::unexpected(error);
    }
    if constexpr (std::is_void_v<typename Call::Result>) {
      return {};
    } else {
      return Call::Out::decode(words.data(), port);
    }
  }

  std::shared_ptr<host::Core> core_;
  std::shared_ptr<const ExceptionHandler> on_exception_;
  std::shared_ptr<const Restore> restore_;
  bool another_tcs_ = false;
  std::optional<std::chrono::nanoseconds> time_limit_;
};

}  // namespace enclume
