// SPDX-License-Identifier: Apache-2.0
#include "property/call_sequence.h"

#include <algorithm>
#include <mutex>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace enclume::property {

namespace {

constexpr unsigned kShare = REPLAY_PAGES / REPLAY_THREADS;  // pages of a thread, where each has its own
constexpr unsigned kTcs = 1, kReg = 2, kTrim = 4;

std::string expect(LinuxModel& model, const Call& c) {
  const auto& o = c.operands;
  const auto page = static_cast<unsigned>(o[0]), count = static_cast<unsigned>(o[1]);
  switch (c.op) {
    case Op::Read:
      return model.read(page);
    case Op::Write:
      return model.write(page, o[1]);
    case Op::Execute:
      return model.execute(page);
    case Op::PutTcs:
      return model.put_tcs(page);
    case Op::Accept:
      return model.accept(page, o[1]);
    case Op::AcceptCopy:
      return model.accept_copy(page, count, o[2]);
    case Op::Extend:
      return model.extend(page, o[1]);
    case Op::Enter:
      return model.enter(page);
    case Op::Stay:
      return "done";
    case Op::Press:
      return "value 0";
    case Op::Restrict:
      return model.restrict(page, count, o[2]);
    case Op::Modify:
      return model.modify(page, count, o[2]);
    case Op::Remove:
      return model.remove(page, count);
    case Op::Protect:
      return model.protect(page, count);
  }
  return "";
}

/// The thread that a page belongs to where each has its own. A share never spans both kinds of pages.
unsigned owner(unsigned page) {
  return page / kShare;
}
static_assert(REPLAY_ADDED % kShare == 0);

/// A call with what the model says of it, and for Stay, until when.
struct Planned {
  Call call;
  std::string expected;
  std::size_t until = 0;
};

/// Leaves out what makes no sense. Since threads with pages of their own can't meet, one order of the calls
/// is as good as another to the model.
std::vector<Planned> plan(const std::vector<Call>& calls) {
  LinuxModel model;
  std::vector<Planned> planned;
  for (const Call& call : calls) {
    if (std::string expected = expect(model, call); !expected.empty()) planned.push_back({call, expected});
  }
  for (std::size_t i = 0; i < planned.size(); ++i) {
    if (planned[i].call.op != Op::Stay) continue;
    std::size_t until = i + 1;
    while (until < planned.size() && until - i <= planned[i].call.operands[0] &&
           planned[until].call.thread != planned[i].call.thread) {
      ++until;
    }
    planned[i].until = until;
  }
  return planned;
}

replay_result execute(replay* r, const Planned& p, std::size_t step) {
  const auto& o = p.call.operands;
  const unsigned t = p.call.thread;
  const auto page = static_cast<unsigned>(o[0]), count = static_cast<unsigned>(o[1]);
  switch (p.call.op) {
    case Op::Read:
      return replay_read(r, t, page);
    case Op::Write:
      return replay_write(r, t, page, o[1]);
    case Op::Execute:
      return replay_execute(r, t, page);
    case Op::PutTcs:
      return replay_put_tcs(r, t, page);
    case Op::Accept:
      return replay_accept(r, t, page, o[1]);
    case Op::AcceptCopy:
      return replay_accept_copy(r, t, page, count, o[2]);
    case Op::Extend:
      return replay_extend(r, t, page, o[1]);
    case Op::Enter:
      return replay_enter(r, t, page);
    case Op::Stay:
      return replay_stay(r, t, static_cast<unsigned>(step), static_cast<unsigned>(p.until));
    case Op::Press:
      return replay_press(r, t);
    case Op::Restrict:
      return replay_restrict(r, page, count, o[2]);
    case Op::Modify:
      return replay_modify(r, page, count, o[2]);
    case Op::Remove:
      return replay_remove(r, page, count);
    case Op::Protect:
      return replay_protect(r, page, static_cast<int>(o[1]));
  }
  return {};
}

std::string in_c(const Planned& p, std::size_t step) {
  const auto& o = p.call.operands;
  const std::string t = std::to_string(p.call.thread), page = std::to_string(o[0]),
                    second = std::to_string(o[1]), third = std::to_string(o[2]);
  const auto flags = [](std::uint64_t f) {
    std::string text = "REPLAY_TYPE(" + std::to_string(f >> 8) + ")";
    if ((f & REPLAY_R) != 0) text += " | REPLAY_R";
    if ((f & REPLAY_W) != 0) text += " | REPLAY_W";
    if ((f & REPLAY_X) != 0) text += " | REPLAY_X";
    if ((f & REPLAY_PENDING) != 0) text += " | REPLAY_PENDING";
    if ((f & REPLAY_MODIFIED) != 0) text += " | REPLAY_MODIFIED";
    if ((f & REPLAY_PR) != 0) text += " | REPLAY_PR";
    return text;
  };
  switch (p.call.op) {
    case Op::Read:
      return "replay_read(r, " + t + ", " + page + ")";
    case Op::Write:
      return "replay_write(r, " + t + ", " + page + ", " + second + ")";
    case Op::Execute:
      return "replay_execute(r, " + t + ", " + page + ")";
    case Op::PutTcs:
      return "replay_put_tcs(r, " + t + ", " + page + ")";
    case Op::Accept:
      return "replay_accept(r, " + t + ", " + page + ", " + flags(o[1]) + ")";
    case Op::AcceptCopy:
      return "replay_accept_copy(r, " + t + ", " + page + ", " + second + ", " + flags(o[2]) + ")";
    case Op::Extend:
      return "replay_extend(r, " + t + ", " + page + ", " + flags(o[1]) + ")";
    case Op::Enter:
      return "replay_enter(r, " + t + ", " + page + ")";
    case Op::Stay:
      return "replay_stay(r, " + t + ", " + std::to_string(step) + ", " + std::to_string(p.until) + ")";
    case Op::Press:
      return "replay_press(r, " + t + ")";
    case Op::Restrict:
      return "replay_restrict(r, " + page + ", " + second + ", " + third + ")";
    case Op::Modify:
      return "replay_modify(r, " + page + ", " + second + ", " + third + ")";
    case Op::Remove:
      return "replay_remove(r, " + page + ", " + second + ")";
    case Op::Protect:
      return "replay_protect(r, " + page + ", " + second + ")";
  }
  return "";
}

/// Chooses operands with an eye on the model: mostly such that something comes of it.
class Generator {
 public:
  Generator(std::uint64_t seed, Order order) : random_(seed), order_(order) {}

  Call next() {
    Call call;
    call.thread = below(REPLAY_THREADS);
    call.op = any_op();
    call.operands = operands(call.op, call.thread);
    expect(model_, call);
    return call;
  }

 private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  bool chance(unsigned one_in) { return below(one_in) == 0; }

  Op any_op() {
    static constexpr std::array<unsigned, kOps> kWeights{8, 10, 6, 6, 22, 6, 8, 6, 4, 4, 8, 10, 6, 8};
    unsigned draw = below(112);
    unsigned op = 0;
    while (draw >= kWeights[op]) draw -= kWeights[op++];
    if (order_ == Order::Concurrent && static_cast<Op>(op) == Op::Stay) return Op::Read;
    return static_cast<Op>(op);
  }

  template <typename Wanted>
  unsigned page_that(unsigned thread, Wanted wanted) {
    const auto any = [&] {
      return order_ == Order::Turns ? below(REPLAY_PAGES) : thread * kShare + below(kShare);
    };
    unsigned page = any();
    for (int tries = 0; tries < 6 && !wanted(model_.page(page)); ++tries) page = any();
    return page;
  }
  // How many pages from there on a range may have.
  unsigned count_from(unsigned page, unsigned wish) const {
    unsigned end = page < REPLAY_ADDED ? REPLAY_ADDED : REPLAY_PAGES;
    if (order_ == Order::Concurrent) end = (owner(page) + 1) * kShare;
    return std::min(wish, end - page);
  }
  unsigned wish() { return chance(2) ? 1 : 1 + below(4); }
  // X comes with R: natively, a page that may be executed may be read (docs/fidelity.md).
  unsigned rwx() {
    const unsigned any = chance(3) ? REPLAY_R | REPLAY_W : below(8);
    return (any & REPLAY_X) != 0 ? any | REPLAY_R : any;
  }

  std::array<std::uint64_t, 3> operands(Op op, unsigned thread) {
    using Page = LinuxModel::Page;
    const auto any = [](const Page&) { return true; };
    const auto usable = [](const Page& p) { return p.present && p.type == kReg && !p.pending; };
    switch (op) {
      case Op::Read:
      case Op::Enter:
        return {page_that(thread, [&](const Page& p) { return op == Op::Read || p.type == kTcs; })};
      case Op::Write:
        return {page_that(thread, any), below(1 << 16) << 8 | 0xc3U};
      case Op::Execute:
        return {page_that(thread,
                          [](const Page& p) { return (p.rwx & p.vma_rwx & REPLAY_X) != 0 && p.word != 0; })};
      case Op::PutTcs:
        return {page_that(thread, [](const Page& p) { return p.type == kReg && !p.pending; })};
      case Op::Accept:
        return accept(thread);
      case Op::AcceptCopy:
        return {page_that(thread, [](const Page& p) { return p.pending || !p.present; }),
                page_that(thread, usable), REPLAY_TYPE(chance(16) ? kTrim : kReg) | rwx()};
      case Op::Extend:
        return {page_that(thread, usable), REPLAY_TYPE(kReg) | (chance(2) ? 7 : rwx())};
      case Op::Stay:
        return {1 + below(8)};
      case Op::Press:
        return {};
      case Op::Restrict: {
        const unsigned page = page_that(thread, usable);
        return {page, count_from(page, wish()), chance(16) ? 8 : rwx()};
      }
      case Op::Modify: {
        const unsigned page = page_that(thread, [&](const Page& p) {
          return usable(p) && (p.contents == Page::Contents::Tcs || chance(2));
        });
        const bool tcs = model_.page(page).contents == Page::Contents::Tcs && !chance(4);
        return {page, count_from(page, tcs ? 1 : wish()), chance(16) ? kReg : tcs ? kTcs : kTrim};
      }
      case Op::Remove: {
        const unsigned page = page_that(thread, [](const Page& p) { return p.type == kTrim && !p.modified; });
        return {page, count_from(page, wish())};
      }
      case Op::Protect: {
        static constexpr std::array<unsigned, 5> kProtections{
            0, REPLAY_R, REPLAY_R | REPLAY_W, REPLAY_R | REPLAY_X, REPLAY_R | REPLAY_W | REPLAY_X};
        return {page_that(thread, any), kProtections[chance(2) ? 4 : below(5)]};
      }
    }
    return {};
  }

  // Mostly what there is to accept.
  std::array<std::uint64_t, 3> accept(unsigned thread) {
    const unsigned page = page_that(
        thread, [](const LinuxModel::Page& p) { return !p.present || p.pending || p.modified || p.pr; });
    const LinuxModel::Page& p = model_.page(page);
    unsigned type = p.type, rights = p.rwx;
    std::uint64_t flags = p.pr ? REPLAY_PR : 0;
    if (!p.present || p.pending) flags |= REPLAY_PENDING;
    if (p.present && p.modified) flags |= REPLAY_MODIFIED;
    if (!p.present) type = kReg, rights = REPLAY_R | REPLAY_W;
    if (chance(6)) type = below(5);
    if (chance(6)) rights = below(8);
    if (chance(6)) flags = below(8) << 3;
    return {page, REPLAY_TYPE(type) | rights | flags};
  }

  std::mt19937_64 random_;
  Order order_;
  LinuxModel model_;
};

}  // namespace

std::vector<Call> random_calls(std::uint64_t seed, unsigned length, Order order) {
  Generator generator(seed, order);
  std::vector<Call> calls;
  for (unsigned i = 0; i < length; ++i) calls.push_back(generator.next());
  return calls;
}

std::optional<Mismatch> run(const std::vector<Call>& calls, Order order, CallEnds* ends) {
  const std::vector<Planned> planned = plan(calls);
  replay* const r = replay_open(static_cast<unsigned>(planned.size()));
  if (r == nullptr) throw std::runtime_error("no enclave");
  std::optional<Mismatch> first;
  std::mutex lock;
  const auto body = [&](unsigned thread) {
    for (std::size_t i = 0; i < planned.size(); ++i) {
      const auto step = static_cast<unsigned>(i);
      if (planned[i].call.thread != thread) continue;
      if (order == Order::Turns ? replay_wait(r, step) == 0 : replay_stopped(r) != 0) return;
      const replay_result got = execute(r, planned[i], i);
      if (got.text != planned[i].expected && replay_stopped(r) == 0) {
        const std::lock_guard guard(lock);
        if (!first) first = {i, in_c(planned[i], i) + ": " + planned[i].expected, got.text};
        replay_stop(r);
      }
      if (order == Order::Turns && planned[i].call.op != Op::Stay) replay_advance(r, step);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < REPLAY_THREADS; ++thread) threads.emplace_back(body, thread);
  for (auto& thread : threads) thread.join();
  replay_close(r);
  if (ends != nullptr) {
    for (const Planned& p : planned) {
      const std::string call = in_c(p, 0);
      std::string end = p.expected.substr(0, p.expected.find(" after "));
      end = end.substr(0, end.find(" at page "));
      ++(*ends)[call.substr(0, call.find('(')) + ": " + end.substr(0, end.find(','))];
    }
  }
  return first;
}

std::string as_program(const std::vector<Call>& calls, Order order) {
  const std::vector<Planned> planned = plan(calls);
  std::ostringstream out;
  out << "/* cc -I tests this.c, with the library enclume_replay; run it by: enclume run --epc-size 1M -- "
         "a.out */\n"
      << "#include \"property/replay.h\"\n";
  std::vector<unsigned> threads;
  for (unsigned thread = 0; thread < REPLAY_THREADS; ++thread) {
    std::ostringstream body;
    for (std::size_t i = 0; i < planned.size(); ++i) {
      if (planned[i].call.thread != thread) continue;
      const std::string expected = ", \"" + planned[i].expected + "\");\n";
      if (order == Order::Turns && planned[i].call.op == Op::Stay) {
        body << "  REPLAY_STAY(" << i << ", " << thread << ", " << planned[i].until << ");\n";
      } else if (order == Order::Turns) {
        body << "  REPLAY_TURN(" << i << ", " << in_c(planned[i], i) << expected;
      } else {
        body << "  REPLAY_EXPECT(" << in_c(planned[i], i) << expected;
      }
    }
    if (body.str().empty()) continue;
    threads.push_back(thread);
    out << "\nstatic void thread_" << thread << "(struct replay *r) {\n" << body.str() << "}\n";
  }
  out << "\nint main(void) {\n  const replay_body bodies[] = {";
  for (std::size_t i = 0; i < threads.size(); ++i) out << (i == 0 ? "" : ", ") << "thread_" << threads[i];
  out << "};\n  return replay_run(replay_open(" << planned.size() << "), bodies, " << threads.size()
      << ");\n}\n";
  return out.str();
}

}  // namespace enclume::property
