// SPDX-License-Identifier: Apache-2.0
// A hostile host: it lies about addresses and sizes, changes memory under the enclave's eyes, enters out of
// turn.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "runtime/calls_host.h"
#include "runtime/edge/sgx.h"
#include "runtime/host/image.h"
#include "runtime/host/whole_file.h"
#include "runtime/raw_entry.h"

namespace {

using enclume::Code;
using enclume::test::RawEnclave;
namespace host = enclume::host;

constexpr std::uint64_t kEresume = 3, kEexit = 4;
using Words = std::array<std::uint64_t, 16>;

template <auto F>
constexpr std::uint32_t kNumber = Calls::Inside::index<F>();

// Serves the OCALLs of the interface as the test wants it.
host::OcallStub answer_stub = nullptr;
void any_stub(std::uint64_t* words, host::Activation& activation) {
  if (answer_stub != nullptr) answer_stub(words, activation);
}
constexpr host::OcallStub kStubs[] = {any_stub, any_stub, any_stub, any_stub};
constexpr host::OcallTable kTable{kStubs, 4, Calls::kFingerprint};

std::shared_ptr<host::Core> load_core() {
  enclume::Error error;
  auto core = host::load(ENCLUME_TEST_IMAGE, {}, kTable, error);
  EXPECT_NE(core, nullptr);
  return core;
}

Code call(host::Core& core, std::uint32_t number, std::uint64_t* words) {
  host::Activation activation;
  return host::invoke(core, activation, number, words).code;
}

Code call_middle(host::Core& core, std::uint64_t address, std::uint64_t count) {
  Words words{address, count};
  return call(core, kNumber<calls::middle>, words.data());
}

TEST(Arguments, InsideTheEnclaveAreRefused) {
  const auto core = load_core();
  EXPECT_EQ(call_middle(*core, host::base_of(*core), 1), Code::kBadPointer);
  EXPECT_EQ(call_middle(*core, host::base_of(*core) + 0x1238, 4), Code::kBadPointer);
}

TEST(Arguments, ThatReachIntoTheEnclaveAreRefused) {
  const auto core = load_core();
  EXPECT_EQ(call_middle(*core, host::base_of(*core) - 8, 2), Code::kBadPointer);
  EXPECT_EQ(call_middle(*core, host::base_of(*core) - 0x10000, 0x100000), Code::kBadPointer);
}

TEST(Arguments, AroundTheWholeAddressSpaceAreRefused) {
  const auto core = load_core();
  EXPECT_EQ(call_middle(*core, ~std::uint64_t{0} - 15, 4), Code::kBadPointer);
  // Counts whose size in bytes is no number of 64 bits.
  EXPECT_EQ(call_middle(*core, 0x1000, std::uint64_t{1} << 61), Code::kBadPointer);
  EXPECT_EQ(call_middle(*core, 0x1000, ~std::uint64_t{0}), Code::kBadPointer);
}

TEST(Arguments, BiggerThanTheHeapAreRefusedBeforeTheyAreRead) {
  const auto core = load_core();
  EXPECT_EQ(call_middle(*core, 0x10000, std::uint64_t{1} << 24), Code::kOutOfMemory);
}

TEST(Arguments, ThatAreToBeWrittenBackMustBeOutsideToo) {
  const auto core = load_core();
  Words words{host::base_of(*core) + 0x4000, 16, 16};
  EXPECT_EQ(call(*core, kNumber<calls::fill>, words.data()), Code::kBadPointer);
  words = {host::base_of(*core) + 0x4000, 16};
  EXPECT_EQ(call(*core, kNumber<calls::twice>, words.data()), Code::kBadPointer);
}

TEST(Arguments, TheListItselfMustBeOutsideAndAligned) {
  const auto core = load_core();
  const auto at = [](std::uint64_t address) { return reinterpret_cast<std::uint64_t*>(address); };
  EXPECT_EQ(call(*core, kNumber<calls::middle>, at(host::base_of(*core) + 0x4000)), Code::kBadPointer);
  EXPECT_EQ(call(*core, kNumber<calls::middle>, at(host::base_of(*core) - 8)), Code::kBadPointer);
  Words words{};
  EXPECT_EQ(call(*core, kNumber<calls::middle>, at(reinterpret_cast<std::uint64_t>(words.data()) + 4)),
            Code::kBadPointer);
}

TEST(Arguments, ThatChangeMeanwhileAreReadOnce) {
  const auto core = load_core();
  alignas(64) static std::uint64_t words[16];
  static const std::array<calls::Point, 1> points{{{5, 6}}};
  const auto good = reinterpret_cast<std::uint64_t>(points.data());
  const auto bad = host::base_of(*core) + 0x1000;
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) {
      std::atomic_ref(words[0]).store(good);
      std::atomic_ref(words[0]).store(bad);
    }
  });
  // As long as it takes to have met both values often.
  constexpr int kAtLeast = 100;
  int refused = 0, served = 0;
  for (int i = 0; i < 10'000'000 && (i < 20'000 || refused < kAtLeast || served < kAtLeast); ++i) {
    std::atomic_ref(words[0]).store(good);  // the result of the last call was there
    std::atomic_ref(words[1]).store(1);
    const Code code = call(*core, kNumber<calls::middle>, words);
    ASSERT_TRUE(code == Code::kOk || code == Code::kBadPointer);
    ++(code == Code::kOk ? served : refused);
  }
  stop = true;
  other.join();
  EXPECT_GE(refused, kAtLeast);
  EXPECT_GE(served, kAtLeast);
}

TEST(Arguments, ABoolThatIsNeitherIsTrue) {
  const auto core = load_core();
  Words words{0x55, 0, 0};
  EXPECT_EQ(call(*core, kNumber<calls::invert>, words.data()), Code::kOk);
  EXPECT_EQ(words[0], 0U);
}

TEST(Calls, OfANumberThatDoesNotExistAreRefused) {
  const auto core = load_core();
  Words words{};
  EXPECT_EQ(call(*core, Calls::Inside::kCount, words.data()), Code::kNoSuchCall);
  EXPECT_EQ(call(*core, ~0U, words.data()), Code::kNoSuchCall);
}

// What the enclave makes of the result that `stub` leaves for calls::answer.
std::string answer_of(host::OcallStub stub) {
  const auto core = load_core();
  answer_stub = stub;
  const std::array<std::uint32_t, 2> numbers{1, 2};
  Words words{reinterpret_cast<std::uint64_t>(numbers.data()), numbers.size()};
  EXPECT_EQ(call(*core, kNumber<calls::ask_outside>, words.data()), Code::kOk);
  answer_stub = nullptr;
  return {reinterpret_cast<const char*>(words[0]), words[1]};
}

// What an honest host does with the arguments.
void serve_honestly(const std::uint64_t* words) {
  auto* const doubled = reinterpret_cast<std::uint32_t*>(words[2]);
  auto* const ones = reinterpret_cast<std::uint32_t*>(words[4]);
  for (std::uint64_t i = 0; i < words[1]; ++i) {
    doubled[i] *= 2;
    ones[i] = 1;
  }
}

TEST(OcallResults, ThatAreHonestArrive) {
  EXPECT_EQ(answer_of([](std::uint64_t* words, host::Activation&) {
              serve_honestly(words);
              words[0] = reinterpret_cast<std::uint64_t>("good");
              words[1] = 4;
            }),
            "good");
}

TEST(OcallResults, InsideTheEnclaveAreRefused) {
  EXPECT_EQ(answer_of([](std::uint64_t* words, host::Activation& activation) {
              serve_honestly(words);
              words[0] = host::base_of(*activation.core) + 0x1000;
              words[1] = 8;
            }),
            "error");
}

TEST(OcallResults, OfImpossibleSizeAreRefused) {
  EXPECT_EQ(answer_of([](std::uint64_t* words, host::Activation&) {
              serve_honestly(words);
              words[0] = 0x10000;
              words[1] = std::uint64_t{1} << 40;
            }),
            "error");
  EXPECT_EQ(answer_of([](std::uint64_t* words, host::Activation&) {
              serve_honestly(words);
              words[0] = 0x10000;
              words[1] = ~std::uint64_t{0};
            }),
            "error");
}

TEST(OcallResults, WhereTheSpansComeFromIsNotAskedAgain) {
  // The host moves the spans after the call: the enclave looks where it had put them.
  EXPECT_EQ(answer_of([](std::uint64_t* words, host::Activation& activation) {
              serve_honestly(words);
              words[2] = words[4] = host::base_of(*activation.core) + 0x1000;
              words[3] = words[5] = 1000;
              words[0] = reinterpret_cast<std::uint64_t>("good");
              words[1] = 4;
            }),
            "good");
}

TEST(Scratch, ThatIsInsideTheEnclaveIsNotUsed) {
  const auto core = load_core();
  RawEnclave enclave(ENCLUME_TEST_IMAGE);
  const auto mailbox = reinterpret_cast<std::uint64_t>(&enclave.mailbox);
  ASSERT_EQ(enclave.enter(ENCLUME_COMMAND_START, mailbox, Calls::kFingerprint), kEexit);
  Words words{reinterpret_cast<std::uint64_t>("text"), 4};
  enclave.mailbox.words = reinterpret_cast<std::uint64_t>(words.data());
  enclave.mailbox.scratch = enclave.base() + 0x4000;
  enclave.mailbox.scratch_size = 4096;
  ASSERT_EQ(enclave.enter(ENCLUME_COMMAND_CALL, mailbox, kNumber<calls::talk>), kEexit);
  // It could not call out, said so in its result, and that is all.
  EXPECT_EQ(enclave.mailbox.exit, std::uint64_t{ENCLUME_EXIT_DONE});
  EXPECT_EQ(enclave.mailbox.value, static_cast<std::uint64_t>(Code::kOk));
  EXPECT_EQ(words[0], 0U);
  EXPECT_EQ(words[1], static_cast<std::uint64_t>(Code::kOutOfMemory));
}

class RawEntry : public testing::Test {
 protected:
  // DONE's value, or the exit if it was not that.
  std::uint64_t enter(std::uint64_t command, std::uint64_t argument) {
    if (enclave_.enter(command, mailbox(), argument) != kEexit) return ~std::uint64_t{0};
    if (enclave_.mailbox.exit != ENCLUME_EXIT_DONE) return kNotDone + enclave_.mailbox.exit;
    return enclave_.mailbox.value;
  }
  std::uint64_t mailbox() { return reinterpret_cast<std::uint64_t>(&enclave_.mailbox); }
  static constexpr std::uint64_t kNotDone = 1000, kRefused = kNotDone + ENCLUME_EXIT_REFUSED;
  static std::uint64_t value(Code code) { return static_cast<std::uint64_t>(code); }

  // The protection of the enclave's variables, and of the stack of TCS 0.
  bool set_data(int protection) {
    const enclume::host::Image image = parsed();
    const auto data = std::ranges::find_if(image.runs(), [](const auto& run) {
      return (run.secinfo_flags & enclume::edge::kWrite) != 0 && run.measured;
    });
    return protect(data->offset, data->length, protection);
  }
  bool set_stack(int protection) {
    const enclume::host::Image image = parsed();
    const auto thread = image.layout().thread(image.config(), image.tls_size(), 0);
    return protect(thread.stack_end, thread.stack_top - thread.stack_end, protection);
  }

  RawEnclave enclave_{ENCLUME_TEST_IMAGE};

 private:
  bool protect(std::uint64_t offset, std::uint64_t length, int protection) {
    return mprotect(reinterpret_cast<void*>(enclave_.base() + offset), length, protection) == 0;
  }
  static enclume::host::Image parsed() {
    std::vector<char> bytes;
    EXPECT_EQ(enclume::host::read_whole_file(ENCLUME_TEST_IMAGE, bytes), 0);
    enclume::Error error;
    return *enclume::host::Image::parse(std::as_bytes(std::span(bytes)), error);
  }
};

TEST_F(RawEntry, BeforeTheStartIsRefused) {
  EXPECT_EQ(enter(ENCLUME_COMMAND_CALL, kNumber<calls::constructed>), kRefused);
  EXPECT_EQ(enter(ENCLUME_COMMAND_RETURN, 0), kRefused);
  EXPECT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
}

TEST_F(RawEntry, ASecondStartIsRefused) {
  EXPECT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  EXPECT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kRefused));
}

TEST_F(RawEntry, ReturnWithoutAnOcallIsRefused) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  EXPECT_EQ(enter(ENCLUME_COMMAND_RETURN, 0), kRefused);
}

TEST_F(RawEntry, AnExceptionThatThereWasNotIsRefused) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  EXPECT_EQ(enter(ENCLUME_COMMAND_EXCEPTION, 0), kRefused);
}

// With the same registers it would skip the next instruction, say.
TEST_F(RawEntry, AnExceptionThatWasLookedAtIsRefusedTheSecondTime) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  Words words{1, 0};
  enclave_.mailbox.words = reinterpret_cast<std::uint64_t>(words.data());
  ASSERT_EQ(enclave_.enter(ENCLUME_COMMAND_CALL, mailbox(), kNumber<calls::divide>), kEresume);
  EXPECT_EQ(enter(ENCLUME_COMMAND_EXCEPTION, 0), kNotDone + ENCLUME_EXIT_RESUME);
  EXPECT_EQ(enter(ENCLUME_COMMAND_EXCEPTION, 0), kRefused);
  EXPECT_EQ(enclave_.resume(), kEexit);
  EXPECT_EQ(enclave_.mailbox.value, value(Code::kFault));
}

// The host takes pages away, so that an entry is interrupted before it has looked at where its mailbox is.
TEST_F(RawEntry, AMailboxInsideIsNotWrittenWhenTheEntryFails) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  Words words{};
  enclave_.mailbox.words = reinterpret_cast<std::uint64_t>(words.data());
  ASSERT_EQ(enter(ENCLUME_COMMAND_CALL, kNumber<calls::address_of_secret>), value(Code::kOk));
  const std::uint64_t secret = words[0];
  const auto read_secret = [&] {
    words[0] = secret;
    EXPECT_EQ(enter(ENCLUME_COMMAND_CALL, kNumber<calls::read_at>), value(Code::kOk));
    return words[0];
  };
  const std::uint64_t before = read_secret();
  ASSERT_TRUE(set_data(PROT_NONE));
  const auto at = secret - offsetof(enclume::edge::Mailbox, exit);
  ASSERT_EQ(enclave_.enter(ENCLUME_COMMAND_CALL, at, kNumber<calls::constructed>), kEresume);
  ASSERT_TRUE(set_data(PROT_READ | PROT_WRITE));
  ASSERT_EQ(enter(ENCLUME_COMMAND_EXCEPTION, 0), kNotDone + ENCLUME_EXIT_RESUME);
  enclave_.mailbox.exit = ENCLUME_EXIT_REFUSED;
  ASSERT_EQ(enclave_.resume(), kEexit);
  EXPECT_EQ(enclave_.mailbox.exit, std::uint64_t{ENCLUME_EXIT_REFUSED});
  EXPECT_EQ(read_secret(), before);
}

// The call that has left by an OCALL is not ended in place of one that has no frame yet.
TEST_F(RawEntry, AnExceptionBeforeTheEntrysFrameEndsNothing) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  Words words{reinterpret_cast<std::uint64_t>("text"), 4};
  alignas(16) static std::array<std::byte, 4096> scratch;
  enclave_.mailbox.words = reinterpret_cast<std::uint64_t>(words.data());
  enclave_.mailbox.scratch = reinterpret_cast<std::uint64_t>(scratch.data());
  enclave_.mailbox.scratch_size = scratch.size();
  ASSERT_EQ(enter(ENCLUME_COMMAND_CALL, kNumber<calls::talk>), kNotDone + ENCLUME_EXIT_OCALL);
  ASSERT_TRUE(set_stack(PROT_NONE));
  ASSERT_EQ(enclave_.enter(ENCLUME_COMMAND_CALL, mailbox(), kNumber<calls::constructed>), kEresume);
  ASSERT_TRUE(set_stack(PROT_READ | PROT_WRITE));
  EXPECT_EQ(enter(ENCLUME_COMMAND_EXCEPTION, 0), kRefused);
}

TEST_F(RawEntry, AnUnknownCommandIsRefused) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  EXPECT_EQ(enter(77, 0), value(Code::kRefused));
}

TEST_F(RawEntry, AMailboxInsideIsNotWritten) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  for (const std::uint64_t at : {enclave_.base() + 0x4000, enclave_.base() - 16, mailbox() + 4}) {
    EXPECT_EQ(enclave_.enter(ENCLUME_COMMAND_CALL, at, kNumber<calls::constructed>), kEexit);
    EXPECT_EQ(enclave_.mailbox.exit, std::uint64_t{ENCLUME_EXIT_REFUSED});
  }
}

TEST_F(RawEntry, AnotherInterfaceIsRefused) {
  EXPECT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint + 1), value(Code::kWrongInterface));
}

TEST_F(RawEntry, NothingIsLeftInTheRegisters) {
  ASSERT_EQ(enter(ENCLUME_COMMAND_START, Calls::kFingerprint), value(Code::kOk));
  Words words{reinterpret_cast<std::uint64_t>("text"), 4, 5};
  alignas(16) static std::array<std::byte, 4096> scratch;
  enclave_.mailbox.words = reinterpret_cast<std::uint64_t>(words.data());
  enclave_.mailbox.scratch = reinterpret_cast<std::uint64_t>(scratch.data());
  enclave_.mailbox.scratch_size = scratch.size();
  ASSERT_EQ(enter(ENCLUME_COMMAND_CALL, kNumber<calls::repeat>), value(Code::kOk));
  const auto& after = enclave_.after;
  for (const std::uint64_t value : after.high) EXPECT_EQ(value, 0U);
  EXPECT_EQ(after.rdi | after.rsi | after.rdx, 0U);
  for (const auto& xmm : after.xmm) EXPECT_EQ(xmm[0] | xmm[1], 0U);
}

}  // namespace
