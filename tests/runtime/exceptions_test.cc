// SPDX-License-Identifier: Apache-2.0
// Exceptions in the enclave, seen from inside and from the host's handler.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <chrono>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "enclume/host/enclave.h"
#include "runtime/exceptions.h"
#include "runtime/host/image.h"
#include "runtime/host/whole_file.h"

namespace {

std::string said;
std::function<void()> meanwhile;

}  // namespace

void exceptions::say(std::string_view text) {
  said = text;
  if (meanwhile) meanwhile();
}

std::string exceptions::say_both(std::string_view first, std::string_view second) {
  return std::string(first) + std::string(second);
}
void exceptions::set_page(std::uint64_t page, bool accessible) {
  mprotect(reinterpret_cast<void*>(page), 4096, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

namespace {

using namespace exceptions;
using enclume::Code;
using enclume::OnException;
using Loaded = enclume::Enclave<Exceptions>;

Loaded load() {
  auto enclave = Loaded::load(ENCLUME_TEST_EXCEPTIONS_IMAGE, {.when_busy = enclume::WhenBusy::kFail});
  if (!enclave) std::exit(1);
  return *enclave;
}

// The enclave has one TCS: if it were lost or still busy, this would fail.
void expect_usable(const Loaded& enclave) {
  EXPECT_EQ(enclave.call<handlers_left>(), 0U);
  EXPECT_EQ(enclave.call<repair_division>(), 42U);
}

TEST(Handler, ResumesWithChangedRegisters) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<repair_division>(), 42U);
  expect_usable(enclave);
}

TEST(Handler, SkipsTheInstruction) {
  EXPECT_EQ(load().call<skip_cpuid>(), 0xc001U);
}

TEST(Handler, UnwindsToTheInnermostGuard) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<unwind_by_handler>(), 6U);
  expect_usable(enclave);
}

TEST(Handler, ThreadsComeBeforeTheEnclavesAndTheGuard) {
  EXPECT_EQ(load().call<order>(), "ba12g");
}

TEST(Handler, MayCallOutside) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<call_out_of_handler>(), "good");
  EXPECT_EQ(said, "from the handler");
}

TEST(Handler, MayCallOutsideInTheMiddleOfAnotherCallOutside) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<fault_between_arguments>(), true);
  expect_usable(enclave);
}

TEST(Handler, HasStackForSoManyCallsWithinItsOwn) {
  const auto enclave = load();
  enclume::Error innermost;
  int depth = 0;
  meanwhile = [&] {
    ++depth;
    const auto result = enclave.call<guard_around_ocall>();
    if (!result) innermost = result.error();
  };
  EXPECT_EQ(enclave.call<call_out_of_handler>(), "good");
  meanwhile = nullptr;
  EXPECT_EQ(innermost, enclume::Error(Code::kOutOfStack));
  EXPECT_GT(depth, 2);
  expect_usable(enclave);
}

TEST(Handler, OfAnExceptionInAHandlerIsTheNextOne) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<fault_in_handler>(), 25U);
  expect_usable(enclave);
}

TEST(Handler, ThatFaultsTooDeepEndsTheCallAlone) {
  const auto enclave = load();
  for (int i = 0; i < 3; ++i) {
    const auto result = enclave.call<fault_in_every_handler>();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kFault);
    expect_usable(enclave);
  }
}

TEST(Handler, ThatUsesItsStackUpEndsTheCallAlone) {
  const auto enclave = load();
  const auto result = enclave.call<overflow_the_handlers_stack>();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  expect_usable(enclave);
}

TEST(Handler, OfACallThatWasEndedIsGone) {
  const auto enclave = load();
  ASSERT_FALSE(enclave.call<fault_in_every_handler>());
  EXPECT_EQ(enclave.call<handlers_left>(), 0U);
}

TEST(Guard, HasTheFacts) {
  const auto enclave = load();
  // The page behind the address is nobody's; an enclave's handler sees the address in full.
  EXPECT_EQ(enclave.call<guarded_read>(std::uint64_t{0x1238}), (Caught{14, 4, 0x1238}));
  const std::uint64_t here = 77;
  EXPECT_EQ(enclave.call<guarded_read>(reinterpret_cast<std::uint64_t>(&here)), (Caught{~0U, 0, 77}));
}

// In an enclave that does not let itself be debugged INT3 is #UD.
TEST(Guard, CatchesEveryVectorThatIsReported) {
  const auto enclave = load();
  for (const std::uint32_t vector : {0U, 6U, 13U, 14U, 16U, 17U, 19U}) {
    EXPECT_EQ(enclave.call<exceptions::raise>(vector), vector);
    expect_usable(enclave);
  }
  EXPECT_EQ(enclave.call<exceptions::raise>(3U), 6U);
  expect_usable(enclave);
}

TEST(Guard, DoesNotReachAcrossTheBorder) {
  const auto enclave = load();
  enclume::Error inner;
  meanwhile = [&] {
    const auto result = enclave.call<divide_by_zero>();
    inner = result ? enclume::Error() : result.error();
  };
  EXPECT_EQ(enclave.call<guard_around_ocall>(), "good");
  meanwhile = nullptr;
  EXPECT_EQ(inner.code, Code::kFault);
  expect_usable(enclave);
}

TEST(HostHandler, HasTheKernelsFacts) {
  const auto enclave = load();
  sgx_enclave_run facts{};
  const auto watched = enclave.with_handler([&](const sgx_enclave_run& run) {
    facts = run;
    return OnException::kAskEnclave;
  });
  EXPECT_EQ(watched.call<repair_division>(), 42U);
  EXPECT_EQ(facts.function, 3U);
  EXPECT_EQ(facts.exception_vector, 0U);
}

TEST(HostHandler, IsOfItsCallsAlone) {
  const auto enclave = load();
  int count = 0;
  const auto watched = enclave.with_handler([&](const sgx_enclave_run&) {
    ++count;
    return OnException::kAskEnclave;
  });
  EXPECT_EQ(enclave.call<repair_division>(), 42U);
  EXPECT_EQ(count, 0);
  EXPECT_EQ(watched.call<repair_division>(), 42U);
  EXPECT_EQ(count, 1);
}

TEST(HostHandler, CanEndTheCall) {
  const auto enclave = load();
  const auto strict = enclave.with_handler([](const sgx_enclave_run&) { return OnException::kEndCall; });
  const auto result = strict.call<repair_division>();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  expect_usable(enclave);
}

TEST(HostHandler, MayThrow) {
  const auto enclave = load();
  const auto throwing =
      enclave.with_handler([](const sgx_enclave_run&) -> OnException { throw std::runtime_error("enough"); });
  EXPECT_THROW(static_cast<void>(throwing.call<repair_division>()), std::runtime_error);
  expect_usable(enclave);
}

TEST(Heap, ThatIsLeftLockedByAFaultEndsTheEnclave) {
  const auto enclave = load();  // built with SURVIVE_FAULTS
  const auto result = enclave.call<fault_in_heap>();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFault);
  EXPECT_EQ(enclave.call<order>().error(), enclume::Error(Code::kCrashed));
}

TEST(Heap, IsGoodAfterABlockWasFreedTwice) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<free_twice>(), true);
  expect_usable(enclave);
}

TEST(Heap, RefusesAnAlignmentThatNoAddressHas) {
  const auto enclave = load();
  EXPECT_EQ(enclave.call<align_beyond_reason>(), true);
  expect_usable(enclave);
}

// The host takes the stack for handlers away, so an exception in the enclave can't be looked at: each attempt
// ends in another, and the TCS stays where it is.
class LostTcs : public ::testing::Test {
 protected:
  LostTcs() {
    std::vector<char> bytes;
    EXPECT_EQ(enclume::host::read_whole_file(ENCLUME_TEST_EXCEPTIONS_IMAGE, bytes), 0);
    enclume::Error error;
    const auto image = enclume::host::Image::parse(std::as_bytes(std::span(bytes)), error);
    const auto thread = image->layout().thread(image->config(), image->tls_size(), 0);
    mprotect(reinterpret_cast<void*>(enclave_.base() + thread.alt_end), thread.alt_top - thread.alt_end,
             PROT_NONE);
  }
  const Loaded enclave_ =
      *Loaded::load(ENCLUME_TEST_EXCEPTIONS_IMAGE);  // which has one, and calls wait for it
};

TEST_F(LostTcs, IsNotWaitedFor) {
  EXPECT_EQ(enclave_.call<divide_by_zero>().error().code, Code::kFault);
  EXPECT_EQ(enclave_.call<handlers_left>().error(), enclume::Error(Code::kNoThread));
}

TEST_F(LostTcs, IsNotWaitedForAnyMore) {
  std::thread waiting;
  const auto watched = enclave_.with_handler([&](const sgx_enclave_run&) {
    if (!waiting.joinable()) {
      waiting = std::thread(
          [&] { EXPECT_EQ(enclave_.call<handlers_left>().error(), enclume::Error(Code::kNoThread)); });
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return OnException::kAskEnclave;
  });
  EXPECT_EQ(watched.call<divide_by_zero>().error().code, Code::kFault);
  waiting.join();
}

}  // namespace
