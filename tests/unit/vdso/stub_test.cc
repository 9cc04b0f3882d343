// SPDX-License-Identifier: Apache-2.0
// What the machine's vDSO does still works through the image's stubs.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>

#include "unit/vdso/image_lookups.h"
#include "unit/vdso/probe.h"
#include "unit/vdso/vdso_images.h"

namespace enclume::test {
namespace {

class VdsoStubs : public testing::Test {
 protected:
  template <typename Function>
  Function* find(const char* name) const {
    const void* place = find_by_gnu_hash(image_.base(), name);
    EXPECT_NE(place, nullptr) << name;
    return reinterpret_cast<Function*>(reinterpret_cast<std::uintptr_t>(place));
  }

  const MappedImage image_;
};

std::int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

TEST_F(VdsoStubs, TellTheTime) {
  const auto clock_gettime_here = find<int(clockid_t, timespec*)>("__vdso_clock_gettime");
  for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_THREAD_CPUTIME_ID}) {
    timespec before = {};
    timespec here = {};
    timespec after = {};
    ASSERT_EQ(clock_gettime(clock, &before), 0);
    ASSERT_EQ(clock_gettime_here(clock, &here), 0);
    ASSERT_EQ(clock_gettime(clock, &after), 0);
    EXPECT_LE(nanoseconds(before), nanoseconds(here)) << clock;
    EXPECT_LE(nanoseconds(here), nanoseconds(after)) << clock;
  }
  timespec unused = {};
  EXPECT_EQ(clock_gettime_here(12345, &unused), -EINVAL);

  timespec ours = {};
  timespec theirs = {};
  EXPECT_EQ(find<int(clockid_t, timespec*)>("clock_getres")(CLOCK_MONOTONIC, &ours), 0);
  ASSERT_EQ(clock_getres(CLOCK_MONOTONIC, &theirs), 0);
  EXPECT_EQ(nanoseconds(ours), nanoseconds(theirs));
}

TEST_F(VdsoStubs, TellTheDate) {
  timeval before = {};
  timeval here = {};
  timeval after = {};
  ASSERT_EQ(gettimeofday(&before, nullptr), 0);
  ASSERT_EQ((find<int(timeval*, struct timezone*)>("gettimeofday")(&here, nullptr)), 0);
  ASSERT_EQ(gettimeofday(&after, nullptr), 0);
  EXPECT_FALSE(timercmp(&here, &before, <));
  EXPECT_FALSE(timercmp(&after, &here, <));

  const time_t first = time(nullptr);
  time_t stored = 0;
  const time_t middle = find<time_t(time_t*)>("time")(&stored);
  EXPECT_LE(first, middle);
  EXPECT_LE(middle, time(nullptr));
  EXPECT_EQ(stored, middle);
}

TEST_F(VdsoStubs, TellTheCpu) {
  const auto getcpu_here = find<long(unsigned*, unsigned*, void*)>("__vdso_getcpu");
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &before)) {
      continue;
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    unsigned here = UINT_MAX;
    unsigned node = UINT_MAX;
    EXPECT_EQ(getcpu_here(&here, &node, nullptr), 0);
    EXPECT_EQ(here, cpu);
    EXPECT_NE(node, UINT_MAX);
  }
  EXPECT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

/// A stub jumps and does nothing else: seen from the target, every register is the caller's.
TEST_F(VdsoStubs, TouchNoRegister) {
  // A machine whose vDSO is our image, so that its functions are ours to look at: the address of __vdso_time
  // is that of a function which notes its registers.
  BuiltImage machine = build_image();
  const auto* base = machine.bytes.data();
  const auto* place = static_cast<const std::byte*>(find_by_sysv_hash(base, "__vdso_time"));
  ASSERT_NE(place, nullptr);
  const auto target = reinterpret_cast<std::uintptr_t>(&vdso_probe_handler);
  const BuiltImage second =
      build_image(machine.bytes, LinearAddress(target - static_cast<std::uintptr_t>(place - base)));
  const MappedImage image(second);

  probe_hook = [] { return 42; };
  const auto* stub = find_by_sysv_hash(image.base(), "__vdso_time");
  ASSERT_NE(stub, nullptr);
  kernel::SgxEnclaveRun run = {};
  ProbeCall call =
      probe_call(reinterpret_cast<kernel::SgxEnterEnclave>(reinterpret_cast<std::uintptr_t>(stub)), &run, 0);
  vdso_probe_call(&call);
  EXPECT_EQ(call.out.rax, 42U);
  EXPECT_EQ(vdso_probe_at_handler.rsp, call.in.rsp - 8);
  EXPECT_EQ(vdso_probe_handler_run, &run);
  ProbeRegisters expected = call.in;
  expected.rsp -= 8;
  vdso_probe_at_handler.rflags = expected.rflags;
  // RAX served to fetch the stack argument, but was noted before.
  EXPECT_EQ(std::memcmp(&vdso_probe_at_handler, &expected, sizeof expected), 0);
}

// Another process has the same vDSO elsewhere.
TEST(MovedImage, IsTheOneThatWouldBeBuiltThere) {
  constexpr std::uint64_t kDistance = 0x7'5000;
  const LinearAddress elsewhere = own_vdso_address() + kDistance;
  for (const bool direct : {false, true}) {
    const LinearAddress one(direct ? 0x1234'0000 : 0);
    const LinearAddress other(direct ? 0x5678'9000 : 0);
    BuiltImage moved = build_image(own_vdso(), own_vdso_address(), {.direct_entry = one});
    const BuiltImage built = build_image(own_vdso(), elsewhere, {.direct_entry = other});
    if (!built.layout.movable) {
      GTEST_SKIP() << "this kernel's vDSO has data symbols";
    }
    ASSERT_NE(moved.bytes, built.bytes);
    kernel::move_vdso_image(moved.layout, kDistance, other, moved.bytes);
    EXPECT_EQ(moved.bytes, built.bytes);
  }
}

}  // namespace
}  // namespace enclume::test
