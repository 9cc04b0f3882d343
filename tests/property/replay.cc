// SPDX-License-Identifier: Apache-2.0
#include "property/replay.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "enclaves/probe_enclave.h"

namespace {

using namespace enclume::test;

// Where EENTER by a TCS that the sequence made leads: MOV RBX, RCX; MOV EAX, 4; ENCLU.
constexpr std::uint8_t kExitCode[] = {0x48, 0x89, 0xcb, 0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7};
// Behind the pages of the sequence come the frames of its TCSs, a page each, and a part for each thread to
// press with.
constexpr std::uint64_t kFrames = REPLAY_PAGES;
constexpr std::uint64_t kPressPages = 100, kWords = kPage / 8;

ProbeOptions options() {
  ProbeOptions options;
  options.threads = REPLAY_THREADS;
  options.heap_pages = REPLAY_ADDED + kFrames + REPLAY_THREADS * kPressPages;
  options.code.assign(std::begin(kExitCode), std::end(kExitCode));
  options.code.resize(kPage, 0xcc);
  options.minimum_size = (code_offset(options) + (1 + REPLAY_PAGES) * kPage);
  return options;
}

LoadOptions load() {
  LoadOptions load;
  load.map_holes = true;
  return load;
}

__attribute__((format(printf, 1, 2))) replay_result result(const char* format, ...) {
  replay_result result;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(result.text, sizeof result.text, format, arguments);
  va_end(arguments);
  return result;
}

}  // namespace

struct replay {
  explicit replay(unsigned steps) : released(steps + 2, 0) {}

  std::uint64_t address(unsigned page) const {
    return page < REPLAY_ADDED ? probe.heap() + page * kPage
                               : probe.code() + (1 + page - REPLAY_ADDED) * kPage;
  }
  std::string name(std::uint64_t at) const {
    for (unsigned page = 0; page < REPLAY_PAGES; ++page) {
      if (at - address(page) < kPage) return "page " + std::to_string(page);
    }
    return "elsewhere";
  }
  // An exception, and the thread is as it was before the call.
  replay_result fault(const sgx_enclave_run& run, unsigned thread) const {
    const bool at_entry = run.function == static_cast<std::uint32_t>(Leaf::kEenter);
    if (!at_entry) probe.abandon(thread);
    const char* prefix = at_entry ? "EENTER: " : "";
    if (run.exception_vector == kVectorGp && run.exception_error_code == 0) return result("%s#GP", prefix);
    if (run.exception_vector != kVectorPf) return result("%svector %u", prefix, run.exception_vector);
    unsigned code = run.exception_error_code;
    if ((code & kPfSgx) == 0) code &= ~1U;
    return result("%s#PF(%#x) at %s", prefix, code, name(run.exception_addr).c_str());
  }
  replay_result call(std::uint64_t operation, const std::vector<std::uint64_t>& in, unsigned thread,
                     const std::function<replay_result(const CallResult&)>& done) const {
    const CallResult r = probe.call(operation, in, thread);
    if (r.status != 0) return result("status %d", r.status);
    return r.exited() ? done(r) : fault(r.run, thread);
  }
  replay_result leaf(Leaf leaf, unsigned thread, std::uint64_t flags, std::uint64_t rcx, std::uint64_t rdx,
                     bool reports) const {
    const Secinfo secinfo{.flags = flags, .reserved = {}};
    const std::uint64_t at = probe.scratch() + thread * kPage;
    probe.copy(at, reinterpret_cast<std::uint64_t>(&secinfo), sizeof secinfo, thread);
    return call(
        PROBE_OP_ENCLU, {static_cast<std::uint64_t>(leaf), at, rcx, rdx}, thread,
        [&](const CallResult& r) { return reports ? result("RAX %lu", r.args.out[0]) : result("done"); });
  }
  void advance(unsigned step) {
    std::atomic_ref(released[step + 1]).store(1);
    turn.store(step + 1);
    turn.notify_all();
  }

  ProbeEnclave probe{options(), load()};
  std::atomic<unsigned> turn{0};
  std::atomic<bool> stopped{false};
  std::vector<std::uint64_t> released;  ///< a word for each turn: whether it has come
};

namespace {

// No exception leaves these functions: their callers are C.
replay_result guarded(const std::function<replay_result()>& body) {
  try {
    return body();
  } catch (const std::exception& e) {
    return result("broken: %s", e.what());
  }
}

// An ioctl's end: its errno, how far it came, and what a leaf said.
template <typename Arguments>
replay_result finish(int (*ioctl)(int, Arguments&), int fd, Arguments arguments) {
  Arguments a = arguments;
  int error = ioctl(fd, a);
  while (error == EBUSY) {
    std::this_thread::yield();
    a = arguments;
    error = ioctl(fd, a);
  }
  const unsigned long pages = a.count / kPage;
  if (error == 0) return result("done, %lu pages", pages);
  unsigned long code = 0;
  if constexpr (requires { a.result; }) code = a.result;
  return code == 0 ? result("%s after %lu pages", strerrorname_np(error), pages)
                   : result("%s after %lu pages, code %lu", strerrorname_np(error), pages, code);
}

}  // namespace

replay* replay_open(unsigned steps) {
  try {
    return std::make_unique<replay>(steps).release();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "no enclave: %s\n", e.what());
    return nullptr;
  }
}

void replay_close(replay* r) {
  delete r;
}

int replay_wait(replay* r, unsigned step) {
  for (unsigned now = r->turn; now < step && !r->stopped; now = r->turn) r->turn.wait(now);
  return !r->stopped;
}

void replay_advance(replay* r, unsigned step) {
  r->advance(step);
}

void replay_stop(replay* r) {
  r->stopped = true;
  for (std::uint64_t& word : r->released) std::atomic_ref(word).store(1);
  r->turn += static_cast<unsigned>(r->released.size());  // whoever waits is to look again
  r->turn.notify_all();
}

int replay_stopped(const replay* r) {
  return r->stopped;
}

replay_result replay_read(replay* r, unsigned thread, unsigned page) {
  return guarded([&] {
    return r->call(PROBE_OP_READ, {r->address(page)}, thread,
                   [](const CallResult& c) { return result("value %#lx", c.args.out[0]); });
  });
}

replay_result replay_write(replay* r, unsigned thread, unsigned page, std::uint64_t value) {
  return guarded([&] {
    return r->call(PROBE_OP_WRITE, {r->address(page), value}, thread,
                   [](const CallResult&) { return result("done"); });
  });
}

replay_result replay_execute(replay* r, unsigned thread, unsigned page) {
  return guarded([&] {
    return r->call(PROBE_OP_CALL, {r->address(page)}, thread,
                   [](const CallResult&) { return result("done"); });
  });
}

replay_result replay_put_tcs(replay* r, unsigned thread, unsigned page) {
  return guarded([&] {
    Tcs tcs{};
    tcs.ossa = r->probe.heap() - r->probe.base() + (REPLAY_ADDED + page) * kPage;
    tcs.nssa = 1;
    tcs.oentry = r->probe.code() - r->probe.base();
    tcs.fslimit = tcs.gslimit = 0xffffffff;
    return r->call(PROBE_OP_COPY, {r->address(page), reinterpret_cast<std::uint64_t>(&tcs), sizeof tcs},
                   thread, [](const CallResult&) { return result("done"); });
  });
}

replay_result replay_accept(replay* r, unsigned thread, unsigned page, std::uint64_t flags) {
  return guarded([&] { return r->leaf(Leaf::kEaccept, thread, flags, r->address(page), 0, true); });
}

replay_result replay_accept_copy(replay* r, unsigned thread, unsigned to, unsigned from,
                                 std::uint64_t flags) {
  return guarded(
      [&] { return r->leaf(Leaf::kEacceptcopy, thread, flags, r->address(to), r->address(from), true); });
}

replay_result replay_extend(replay* r, unsigned thread, unsigned page, std::uint64_t flags) {
  return guarded([&] { return r->leaf(Leaf::kEmodpe, thread, flags, r->address(page), 0, false); });
}

replay_result replay_enter(replay* r, unsigned thread, unsigned page) {
  return guarded([&] {
    sgx_enclave_run run{};
    run.tcs = r->address(page);
    const int status = enclume_test_call_vdso(0, 0, 0, static_cast<std::uint32_t>(Leaf::kEenter), 0, 0, &run,
                                              entry_function());
    if (status != 0) return result("status %d", status);
    if (run.function == static_cast<std::uint32_t>(Leaf::kEexit)) return result("done");
    return run.function == static_cast<std::uint32_t>(Leaf::kEenter) ? r->fault(run, thread)
                                                                     : result("left asynchronously");
  });
}

replay_result replay_stay(replay* r, unsigned thread, unsigned step, unsigned until) {
  return guarded([&] {
    std::uint64_t rounds = 0;
    r->advance(step);
    return r->call(
        PROBE_OP_SPIN,
        {reinterpret_cast<std::uint64_t>(&r->released[until]), reinterpret_cast<std::uint64_t>(&rounds)},
        thread, [](const CallResult&) { return result("done"); });
  });
}

replay_result replay_press(replay* r, unsigned thread) {
  return guarded([&] {
    const std::uint64_t part = r->probe.heap() + (REPLAY_ADDED + kFrames + thread * kPressPages) * kPage;
    r->probe.call(PROBE_OP_FILL, {part, kPressPages * kWords, thread}, thread);
    return r->call(PROBE_OP_CHECK, {part, kPressPages * kWords, thread}, thread,
                   [](const CallResult& c) { return result("value %#lx", c.args.out[0]); });
  });
}

replay_result replay_restrict(replay* r, unsigned page, unsigned count, std::uint64_t permissions) {
  return finish(restrict_permissions, r->probe.fd(),
                sgx_enclave_restrict_permissions{.offset = r->address(page) - r->probe.base(),
                                                 .length = count * kPage,
                                                 .permissions = permissions,
                                                 .result = 0,
                                                 .count = 0});
}

replay_result replay_modify(replay* r, unsigned page, unsigned count, std::uint64_t type) {
  return finish(modify_types, r->probe.fd(),
                sgx_enclave_modify_types{.offset = r->address(page) - r->probe.base(),
                                         .length = count * kPage,
                                         .page_type = type,
                                         .result = 0,
                                         .count = 0});
}

replay_result replay_remove(replay* r, unsigned page, unsigned count) {
  return finish(remove_pages, r->probe.fd(),
                sgx_enclave_remove_pages{
                    .offset = r->address(page) - r->probe.base(), .length = count * kPage, .count = 0});
}

replay_result replay_protect(replay* r, unsigned page, int protection) {
  return mprotect(reinterpret_cast<void*>(r->address(page)), kPage, protection) == 0
             ? result("done")
             : result("%s", strerrorname_np(errno));
}

int replay_run(replay* r, const replay_body* bodies, unsigned count) {
  if (r == nullptr) return 2;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; ++i) threads.emplace_back(bodies[i], r);
  for (auto& thread : threads) thread.join();
  const bool failed = r->stopped;
  replay_close(r);
  return failed ? 1 : 0;
}

void replay_expect(replay* r, unsigned line, replay_result got, const char* expected) {
  if (std::strcmp(got.text, expected) == 0 || r->stopped) return;
  std::printf("line %u: %s, where the model says %s\n", line, got.text, expected);
  replay_stop(r);
}
