// SPDX-License-Identifier: Apache-2.0
// Who uses an enclave, in how many processes, and what is left when they go.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstring>
#include <ctime>
#include <random>

#include "arch/epc/tracking.h"
#include "arch/structs/secs.h"
#include "kernel_world.h"

namespace enclume::test {
namespace {

using arch::Access;

/// Runs f in a forked child, which fails the test by a non-zero status.
template <typename F>
void in_child(F f) {
  const pid_t pid = fork();
  if (pid == 0) {
    _exit(f() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

void become_child(KernelWorld& w) {
  w.platform.pid = getpid();
  w.vmas.after_fork_in_child();
  w.enclaves.after_fork_in_child();
}

void release(KernelWorld& w, Enclave& e) {
  const int fd = e.file().value;
  w.enclaves.release(e, e.identity());
  close(fd);
}

// The second enclave has the first one's place in the table, and must not have its history.
TEST(LifetimeTest, NothingIsKnownOfPermissionsThatAnEarlierEnclaveHad) {
  KernelWorld w(256);
  Enclave& first = w.load(test_image());
  first.protection_seen = 1000;
  release(w, first);
  Enclave& second = w.load(test_image());
  ASSERT_EQ(&second, &first);
  EXPECT_TRUE(second.protection_settled());
  second.shared().protection_epoch.fetch_add(1);
  EXPECT_FALSE(second.protection_settled());
}

TEST(LifetimeTest, ReleaseGivesTheEpcBack) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  EXPECT_GT(w.shared->epc_used, 6);
  release(w, e);
  EXPECT_EQ(w.shared->epc_used, 0);
  Enclave& next = w.load(test_image());
  EXPECT_EQ(&next, &e);  // the slot is used again
  EXPECT_EQ(next.number(), 2);
  w.expect_consistent();
}

TEST(LifetimeTest, ReleaseOfOneThatIsGoneLeavesItsSuccessorAlone) {
  KernelWorld w;
  Enclave& e = w.open_device();
  const kernel::FileIdentity gone = e.identity();
  const int fd = e.file().value;
  w.enclaves.release(e, gone);
  Enclave& next = w.open_device();
  close(fd);  // only now, or the file system might use its number again
  ASSERT_EQ(&next, &e);
  w.enclaves.release(e, gone);  // as of another thread that had found it unused
  EXPECT_EQ(w.enclaves.find(next.identity()), &next);
  w.expect_consistent();
}

TEST(LifetimeTest, AttachFindsWhatIsThere) {
  KernelWorld w;
  Enclave& e = w.open_device();
  const auto again = w.enclaves.attach(e.identity(), {-1});
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, &e);
  EXPECT_EQ(w.enclaves.find(e.identity()), &e);
  EXPECT_EQ(w.enclaves.find(e.number()), &e);
  EXPECT_EQ(w.enclaves.find(kernel::FileIdentity{1, 2}), nullptr);
}

TEST(LifetimeTest, ManyEnclavesAtOnce) {
  KernelWorld w(1024);
  std::vector<Enclave*> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(&w.open_device());
  }
  for (Enclave* e : all) {
    EXPECT_EQ(w.create(*e, test_image().secs(kTestBase)), 0);
    const arch::EpcPage secs = e->secs_page();
    EXPECT_EQ(w.enclaves.page(secs.address).data, secs.data);
  }
  EXPECT_EQ(w.shared->epc_used, 80);
}

TEST(LifetimeTest, EpcNamesLeadToTheirPages) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  for (const arch::EpcPage page : {e.epc_page(0), e.epc_page(e.pages() - 1), e.secs_page(), e.va_page(0)}) {
    EXPECT_EQ(w.enclaves.page(page.address).data, page.data);
    EXPECT_EQ(w.enclaves.page(page.address).epcm, page.epcm);
    EXPECT_EQ(e.epc_page_of(page.data + 17).address, page.address);
  }
  EXPECT_FALSE(w.enclaves.page({}));
  EXPECT_FALSE(w.enclaves.page({e.secs_page().address.value + (1ULL << 40)}));
  EXPECT_FALSE(w.enclaves.page({e.va_page(e.layout().max_va_pages).address.value}));
  EXPECT_FALSE(e.epc_page_of(e.pcmd(0)));
}

TEST(LifetimeTest, AForkedChildSharesTheEnclave) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  const std::uint64_t used = w.shared->epc_used;
  in_child([&] {
    become_child(w);
    EnclaveThread thread(w, e);
    thread.write(part::kData, 123);
    thread.leave();
    return !::testing::Test::HasFailure();  // dies without a word: no release
  });
  EXPECT_EQ(w.shared->epc_used, used);
  EnclaveThread thread(w, e);
  EXPECT_EQ(thread.read(part::kData), 123);
  thread.leave();
}

constexpr int kChild = 424242;

/// As if a child had been born, which alone has the enclave now.
void leave_to_child(KernelWorld& w, Enclave& e) {
  w.platform.pid = kChild;
  w.enclaves.after_fork_in_child();
  w.platform.pid = getpid();
  release(w, e);
}

TEST(LifetimeTest, TheLastProcessFreesAndTheDeadAreSwept) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  leave_to_child(w, e);
  EXPECT_GT(w.shared->epc_used, 0);
  EXPECT_EQ(sweep_dead_processes(w.kernel), 0);
  w.platform.dead.insert(kChild);
  EXPECT_GT(sweep_dead_processes(w.kernel), 0);
  EXPECT_EQ(w.shared->epc_used, 0);
}

TEST(LifetimeTest, AChildThatHasEndedHasItNoMoreThoughNobodyWaitsForIt) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  leave_to_child(w, e);
  w.platform.zombies.insert(kChild);
  std::uint64_t pages = 0;
  for (int sweep = 0; sweep < 16; ++sweep) {
    pages += sweep_dead_processes(w.kernel);
  }
  EXPECT_GT(pages, 0);
  EXPECT_EQ(w.shared->epc_used, 0);
}

TEST(LifetimeTest, AChildThatExecutesAProgramHasItNoMore) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  leave_to_child(w, e);
  EXPECT_EQ(sweep_dead_processes(w.kernel, true), 0);
  w.platform.executed.insert(kChild);
  EXPECT_GT(sweep_dead_processes(w.kernel, true), 0);
  EXPECT_EQ(w.shared->epc_used, 0);
}

// The first process of a machine has executed a program, too: the one that it is.
TEST(LifetimeTest, AProcessThatWasNotForkedKeepsItsOwn) {
  KernelWorld w;
  w.platform.pid = 434343;
  Enclave& e = w.load(test_image());
  w.platform.pid = getpid();
  w.platform.executed.insert(434343);
  EXPECT_EQ(sweep_dead_processes(w.kernel, true), 0);
  EXPECT_GT(e.record().epc_pages, 0);
}

TEST(LifetimeTest, AnExhaustedEpcIsSweptByItself) {
  KernelWorld w(12);
  Enclave& e = w.load(test_image());
  leave_to_child(w, e);
  w.platform.dead.insert(kChild);
  Enclave& next = w.load(test_image());  // needs what the dead one holds
  EXPECT_TRUE(next.initialized());
  w.expect_consistent();
}

TEST(LifetimeTest, AnEnclaveOutlivesItsProcessesInAMessage) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  {
    EnclaveThread thread(w, e);
    thread.write(part::kData, 77);
    thread.leave();
  }
  const std::uint64_t used = w.shared->epc_used;
  const std::uint32_t number = e.number();
  const int in_flight = dup(e.file().value);
  {
    kernel::VmaTable::Writer writer(w.vmas, w.platform.thread_id());
    ASSERT_TRUE(writer.remove({LinearAddress(0), LinearAddress(1ULL << 47)}));
  }
  w.platform.native.clear();
  release(w, e);
  EXPECT_EQ(w.shared->epc_used, 0);

  const auto back = w.enclaves.attach(KernelWorld::identity_of(in_flight), {in_flight});
  ASSERT_TRUE(back);
  EXPECT_EQ((*back)->number(), number);
  EXPECT_EQ(w.shared->epc_used, used);
  ASSERT_TRUE((*back)->ensure_mapped(w.platform));
  w.map_pages(**back);
  EnclaveThread thread(w, **back);
  EXPECT_EQ(thread.read(part::kData), 77);
  thread.leave();
  w.expect_consistent();
}

TEST(LifetimeTest, CreatedByAnotherProcess) {
  KernelWorld w;
  Enclave& e = w.open_device();
  in_child([&] {
    become_child(w);
    return w.create(e, test_image().secs(kTestBase)).has_value();
  });
  EXPECT_TRUE(e.created());
  EXPECT_FALSE(e.mapped());
  const EnclaveImage image = test_image();
  const auto& [offset, page] = *image.pages().begin();
  EXPECT_EQ(w.add(e, offset, page), 0);
  EXPECT_TRUE(e.mapped());
}

TEST(LifetimeTest, AFileOfAnotherMachineIsRefused) {
  KernelWorld w;
  Enclave& e = w.open_device();
  KernelWorld other;
  other.shared->machine.boot_nonce.fill(std::byte{0x77});
  EXPECT_EQ(other.enclaves.attach(e.identity(), e.file()), fail(Errno::NoDevice));
}

TEST(LifetimeTest, NoRoomToAttach) {
  KernelWorld w;
  const int fd = memfd_create("enclave", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, static_cast<off_t>(kernel::kFileLength)), 0);
  w.platform.refuse_pages = true;
  EXPECT_EQ(w.enclaves.attach(KernelWorld::identity_of(fd), {fd}), fail(Errno::NoMemory));
  w.platform.refuse_pages = false;
  w.platform.refuse_mappings = true;
  EXPECT_EQ(w.enclaves.attach(KernelWorld::identity_of(fd), {fd}), fail(Errno::NoMemory));
  w.platform.refuse_mappings = false;
  for (kernel::Attachment& a : w.shared->attachments) {
    a.number = 999;
    a.process = 1;
  }
  w.shared->attachments_end = kernel::kMaxAttachments;
  EXPECT_EQ(w.enclaves.attach(KernelWorld::identity_of(fd), {fd}), fail(Errno::NoMemory));
  close(fd);
}

TEST(RepairTest, ALockWhoseOwnerDiedInTheMiddleOfAnEviction) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  // The page is written out, but the table does not say so yet, and a page's own lock is held.
  in_child([&] {
    become_child(w);
    (void)e.shared().lock.lock(gettid());
    arch::EpcmEntry& entry = *e.epc_page(part::kCode / kPage).epcm;
    entry.lock = 1;
    e.page(part::kData / kPage).store({});  // a page half removed
    e.epc_page(part::kData / kPage).epcm->store({});
    e.shared().secs_children -= 3;
    return true;
  });
  EnclaveThread thread(w, e);
  EXPECT_EQ(handle_enclave_fault(w.kernel, LinearAddress(kTestBase + part::kCode), arch::pfec::kUser),
            Outcome::Resolved);
  w.expect_consistent();
  EXPECT_FALSE(e.index().contains(part::kData / kPage));
  EXPECT_EQ(thread.access(part::kCode, Access::Execute), Outcome::Resolved);
  thread.leave();
}

// Every ETRACK after it would be #GP, and no page could be written back.
TEST(RepairTest, ALockWhoseOwnerDiedInTheMiddleOfAnEtrack) {
  KernelWorld w;
  Enclave& e = w.load(test_image());
  arch::Secs& secs = arch::secs_of(e.secs_page());
  in_child([&] {
    become_child(w);
    (void)e.shared().lock.lock(gettid());
    std::atomic_ref(secs.internal.tracking_lock).store(1);
    std::atomic_ref(secs.internal.measurement_lock).store(1);
    std::atomic_ref(secs.internal.tracking).fetch_add(1);  // and the stripes are behind
    return true;
  });
  EXPECT_EQ(handle_enclave_fault(w.kernel, LinearAddress(kTestBase + part::kCode), arch::pfec::kUser),
            Outcome::Resolved);
  EXPECT_EQ(secs.internal.tracking_lock, 0U);
  EXPECT_EQ(secs.internal.measurement_lock, 0U);
  for (const arch::TrackingStripe& stripe : secs.stripes) {
    EXPECT_EQ(arch::tracking_word::epoch(stripe.word), arch::tracking_epoch(secs));
  }
  EXPECT_GT(reclaim_batch(w.kernel), 0U);
  w.expect_consistent();
}

// Each page is where it was and holds what it held, wherever the process was when it died.
TEST(RepairTest, ProcessesThatAreKilledWhileTheyEvictAndLoad) {
  constexpr std::uint64_t kPages = 40;
  KernelWorld w;
  Enclave& e = w.load(test_image(0x100000, kPages));
  const auto touch = [&](std::uint64_t page) {
    return handle_enclave_fault(w.kernel, LinearAddress(kTestBase + part::kData + page * kPage),
                                arch::pfec::kUser);
  };
  std::array<std::array<std::byte, kPage>, kPages> contents;
  std::mt19937_64 random(1);
  for (std::uint64_t i = 0; i < kPages; ++i) {
    std::byte* const data = e.epc_page(part::kData / kPage + i).data;
    for (std::size_t at = 0; at < kPage; at += 8) {
      const std::uint64_t word = random();
      std::memcpy(data + at, &word, sizeof word);
    }
    std::memcpy(contents[i].data(), data, kPage);
  }
  for (int round = 0; round < 150; ++round) {
    const pid_t pid = fork();
    if (pid == 0) {
      become_child(w);
      for (std::uint64_t page = 0;; page = (page + 7) % kPages) {
        reclaim_batch(w.kernel);
        (void)touch(page);
      }
    }
    const timespec pause{0, static_cast<long>(200'000 + random() % 1'000'000)};
    nanosleep(&pause, nullptr);
    kill(pid, SIGKILL);
    ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
    for (std::uint64_t i = 0; i < kPages; ++i) {
      ASSERT_EQ(touch(i), Outcome::Resolved) << "round " << round << ", page " << i;
      ASSERT_EQ(std::memcmp(e.epc_page(part::kData / kPage + i).data, contents[i].data(), kPage), 0)
          << "round " << round << ", page " << i;
    }
    EXPECT_EQ(e.shared().journal.what, 0U);
    w.platform.dead.insert(pid);
    sweep_dead_processes(w.kernel);
    // One page at most stays charged: who dies between two of the three counts.
    const std::uint64_t pages = e.shared().epc_pages();
    EXPECT_LE(w.shared->epc_used - pages, 1U);
    w.shared->epc_used = pages;
    e.record().epc_pages = pages;
    w.expect_consistent();
  }
}

}  // namespace
}  // namespace enclume::test
