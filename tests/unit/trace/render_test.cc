// SPDX-License-Identifier: Apache-2.0
// Golden lines: what a person, or a script that looks for something, finds in a trace.
#include "trace/render.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <csignal>
#include <string>

#include "base/errno.h"

namespace enclume::trace {
namespace {

std::string line_of(const Event& event) {
  char storage[1024];
  LineBuffer line(storage);
  render(event, line);
  EXPECT_FALSE(line.truncated());
  return std::string(line.view());
}

/// The line without what stands before the event.
std::string text_of(const What& what) {
  constexpr std::string_view kBefore = "[7] 0.000000 ";
  const std::string line = line_of({7, 7, 0, what});
  EXPECT_EQ(line.substr(0, kBefore.size()), kBefore);
  return line.substr(kBefore.size());
}

LinearAddress at(std::uint64_t value) {
  return LinearAddress(value);
}

TEST(Prefix, ShowsTheProcessAloneForItsFirstThread) {
  EXPECT_EQ(line_of({4711, 4711, 0, Close{5, 0L}}), "[4711] 0.000000 close(5) = 0");
}

TEST(Prefix, ShowsProcessAndThreadForTheOthers) {
  EXPECT_EQ(line_of({4711, 4713, 0, Close{5, 0L}}), "[4711/4713] 0.000000 close(5) = 0");
}

TEST(Prefix, CutsTimeToMicroseconds) {
  EXPECT_EQ(line_of({1, 1, 1'234'999, Close{5, 0L}}), "[1] 0.001234 close(5) = 0");
  EXPECT_EQ(line_of({1, 1, 999'999'999, Close{5, 0L}}), "[1] 0.999999 close(5) = 0");
  EXPECT_EQ(line_of({1, 1, 61'000'000'000, Close{5, 0L}}), "[1] 61.000000 close(5) = 0");
}

TEST(Calls, Start) {
  EXPECT_EQ(text_of(Start{"/usr/bin/app", 256 << 20, true}), "start /usr/bin/app epc=0x10000000 sgx=2");
  EXPECT_EQ(text_of(Start{"/usr/bin/app", 1 << 20, false}), "start /usr/bin/app epc=0x100000 sgx=1");
}

TEST(Calls, Open) {
  EXPECT_EQ(text_of(Open{"/dev/sgx_enclave", O_RDWR | O_CLOEXEC, 5L}),
            "open(\"/dev/sgx_enclave\", O_RDWR|O_CLOEXEC) = 5");
  EXPECT_EQ(text_of(Open{"/dev/sgx_provision", O_RDONLY, fail(static_cast<Errno>(EMFILE))}),
            "open(\"/dev/sgx_provision\", O_RDONLY) = -1 EMFILE");
}

TEST(Calls, OpenNamesAFlagThatContainsAnotherOnce) {
  EXPECT_EQ(text_of(Open{"p", O_WRONLY | O_SYNC, 5L}), "open(\"p\", O_WRONLY|O_SYNC) = 5");
  EXPECT_EQ(text_of(Open{"p", O_WRONLY | O_DSYNC, 5L}), "open(\"p\", O_WRONLY|O_DSYNC) = 5");
}

TEST(Calls, Mmap) {
  EXPECT_EQ(
      text_of(Mmap{at(0x7f0000002000), 0x1000, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, 5, 0,
                   0x7f0000002000L}),
      "mmap(0x7f0000002000, 0x1000, PROT_READ|PROT_EXEC, MAP_SHARED|MAP_FIXED, 5, 0x0) = 0x7f0000002000");
  EXPECT_EQ(text_of(Mmap{at(0), 0x1000, PROT_NONE, MAP_PRIVATE, 5, 0, fail(Errno::Access)}),
            "mmap(0x0, 0x1000, PROT_NONE, MAP_PRIVATE, 5, 0x0) = -1 EACCES");
}

TEST(Calls, MapSharedValidateIsNotSharedAndPrivate) {
  EXPECT_EQ(text_of(Mmap{at(0), 0x1000, PROT_NONE, MAP_SHARED_VALIDATE, 5, 0, 0x1000L}),
            "mmap(0x0, 0x1000, PROT_NONE, MAP_SHARED_VALIDATE, 5, 0x0) = 0x1000");
}

TEST(Calls, Mprotect) {
  EXPECT_EQ(text_of(Mprotect{at(0x2000), 0x1000, PROT_NONE, -1, 0L}),
            "mprotect(0x2000, 0x1000, PROT_NONE) = 0");
  EXPECT_EQ(text_of(Mprotect{at(0x2000), 0x1000, PROT_READ, 3, 0L}),
            "pkey_mprotect(0x2000, 0x1000, PROT_READ, 3) = 0");
}

TEST(Calls, MunmapAndMremap) {
  EXPECT_EQ(text_of(Munmap{at(0x2000), 0x1000, 0L}), "munmap(0x2000, 0x1000) = 0");
  EXPECT_EQ(text_of(Mremap{at(0x2000), 0x1000, 0x2000, MREMAP_MAYMOVE, at(9), fail(Errno::Invalid)}),
            "mremap(0x2000, 0x1000, 0x2000, MREMAP_MAYMOVE) = -1 EINVAL");
  EXPECT_EQ(text_of(Mremap{at(0x2000), 0x1000, 0x1000, MREMAP_MAYMOVE | MREMAP_FIXED, at(0x9000), 0x9000L}),
            "mremap(0x2000, 0x1000, 0x1000, MREMAP_MAYMOVE|MREMAP_FIXED, 0x9000) = 0x9000");
}

TEST(Ioctls, Create) {
  const SecsFields secs{.size = 0x4000,
                        .base = at(0x7f0000000000),
                        .ssa_frame_size = 1,
                        .miscselect = 0,
                        .attributes = 4,
                        .xfrm = 3};
  EXPECT_EQ(text_of(Ioctl{5, 0x4008a400, 0x7ffc00000010, CreateArgument{at(0x1000), secs}, 0L}),
            "ioctl(5, SGX_IOC_ENCLAVE_CREATE, {src=0x1000, base=0x7f0000000000, size=0x4000, ssaframesize=1, "
            "miscselect=0x0, attributes=0x4, xfrm=0x3}) = 0");
}

TEST(Ioctls, CreateWithASecsThatCannotBeRead) {
  EXPECT_EQ(text_of(Ioctl{5, 0x4008a400, 0x7ffc00000010, CreateArgument{at(0x10), {}}, fail(Errno::Fault)}),
            "ioctl(5, SGX_IOC_ENCLAVE_CREATE, {src=0x10}) = -1 EFAULT");
}

TEST(Ioctls, AddPages) {
  EXPECT_EQ(text_of(Ioctl{5, 0xc030a401, 0x7ffc00000010,
                          AddPagesArgument{at(0x5000), 0x2000, 0x1000, at(0x6000), 0x205, 1, 0x1000}, 0L}),
            "ioctl(5, SGX_IOC_ENCLAVE_ADD_PAGES, {src=0x5000, offset=0x2000, length=0x1000, secinfo=R-X REG, "
            "flags=MEASURE}) = 0 count=0x1000");
}

TEST(Ioctls, AddPagesWithASecinfoThatCannotBeRead) {
  EXPECT_EQ(
      text_of(Ioctl{5, 0xc030a401, 0x7ffc00000010,
                    AddPagesArgument{at(0x5000), 0x2000, 0x1000, at(0x10), {}, 0, 0}, fail(Errno::Fault)}),
      "ioctl(5, SGX_IOC_ENCLAVE_ADD_PAGES, {src=0x5000, offset=0x2000, length=0x1000, secinfo=0x10, "
      "flags=0}) = -1 EFAULT count=0x0");
}

TEST(Ioctls, Init) {
  SigstructFields fields{.enclave_hash = {}, .product_id = 7, .security_version = 2};
  fields.enclave_hash.front() = 0xab;
  fields.enclave_hash.back() = 0x01;
  EXPECT_EQ(text_of(Ioctl{5, 0x4008a402, 0x10, InitArgument{at(0x8000), fields}, fail(Errno::Perm)}),
            "ioctl(5, SGX_IOC_ENCLAVE_INIT, {sigstruct=0x8000, enclavehash=ab" + std::string(60, '0') +
                "01, isvprodid=7, isvsvn=2}) = -1 EPERM");
}

TEST(Ioctls, Provision) {
  EXPECT_EQ(text_of(Ioctl{5, 0x4008a403, 0x10, ProvisionArgument{6}, 0L}),
            "ioctl(5, SGX_IOC_ENCLAVE_PROVISION, {fd=6}) = 0");
}

TEST(Ioctls, RestrictPermissions) {
  EXPECT_EQ(
      text_of(Ioctl{5, 0xc028a405, 0x10, RestrictPermissionsArgument{0x2000, 0x1000, 1, 0, 0x1000}, 0L}),
      "ioctl(5, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, {offset=0x2000, length=0x1000, permissions=R, "
      "result=0}) = 0 count=0x1000");
}

TEST(Ioctls, ModifyTypesNamesTheLeafsCode) {
  EXPECT_EQ(
      text_of(Ioctl{5, 0xc028a406, 0x10, ModifyTypesArgument{0x2000, 0x1000, 4, 20, 0}, fail(Errno::Fault)}),
      "ioctl(5, SGX_IOC_ENCLAVE_MODIFY_TYPES, {offset=0x2000, length=0x1000, page_type=TRIM, "
      "result=PAGE_NOT_MODIFIABLE}) = -1 EFAULT count=0x0");
}

TEST(Ioctls, RemovePages) {
  EXPECT_EQ(text_of(Ioctl{5, 0xc018a407, 0x10, RemovePagesArgument{0x2000, 0x1000, 0x1000}, 0L}),
            "ioctl(5, SGX_IOC_ENCLAVE_REMOVE_PAGES, {offset=0x2000, length=0x1000}) = 0 count=0x1000");
}

TEST(Ioctls, ShowThePointerWhereNothingWasRead) {
  EXPECT_EQ(text_of(Ioctl{5, 0x4008a400, 0x10, std::monostate{}, fail(Errno::Fault)}),
            "ioctl(5, SGX_IOC_ENCLAVE_CREATE, 0x10) = -1 EFAULT");
  EXPECT_EQ(text_of(Ioctl{5, 0xa4ff, 0x10, std::monostate{}, fail(Errno::NotTty)}),
            "ioctl(5, 0xa4ff, 0x10) = -1 ENOTTY");
}

TEST(Ioctls, AnErrnoWithoutANameIsANumber) {
  EXPECT_EQ(text_of(Close{5, fail(static_cast<Errno>(131))}), "close(5) = -1 errno 131");
}

const LinearAddress kBase(0x7f0000000000);

TEST(Enclu, Enter) {
  EXPECT_EQ(text_of(Enclu{
                2, 0x7f0000003000, 0x7ffe00001007, 0x55, {}, Entered{0, at(0x7f0000004000)}, at(1), kBase}),
            "ENCLU[EENTER] tcs=0x7f0000003000 aep=0x7ffe00001007 cssa=0 -> rip=0x7f0000004000 (enclave "
            "0x7f0000000000+0x4000)");
}

TEST(Enclu, ResumeIntoAnEnclaveAtAddressZero) {
  EXPECT_EQ(text_of(Enclu{3, 0x3000, 0x7ffe00001007, 0x55, {}, Entered{1, at(0x4010)}, at(1), at(0)}),
            "ENCLU[ERESUME] tcs=0x3000 aep=0x7ffe00001007 cssa=1 -> rip=0x4010 (enclave 0x0+0x4010)");
}

TEST(Enclu, Exit) {
  EXPECT_EQ(text_of(Enclu{4, 0x7ffe00001020, 0, 0, at(0x7f0000003000), Exited{at(0x7ffe00001020)}, {}, {}}),
            "ENCLU[EEXIT] tcs=0x7f0000003000 -> rip=0x7ffe00001020");
}

TEST(Enclu, LeafInside) {
  const LinearAddress tcs = at(0x7f0000003000);
  EXPECT_EQ(text_of(Enclu{0, 0x200, 0x400, 0x600, tcs, Completed{0}, {}, {}}),
            "ENCLU[EREPORT] targetinfo=0x200 reportdata=0x400 report=0x600 = 0");
  EXPECT_EQ(text_of(Enclu{1, 0x200, 0x400, 0x600, tcs, Completed{256}, {}, {}}),
            "ENCLU[EGETKEY] keyrequest=0x200 key=0x400 = INVALID_KEYNAME");
  EXPECT_EQ(text_of(Enclu{5, 0x200, 0x5000, 0x600, tcs, Completed{19}, {}, {}}),
            "ENCLU[EACCEPT] secinfo=0x200 page=0x5000 = PAGE_ATTRIBUTES_MISMATCH");
  EXPECT_EQ(text_of(Enclu{7, 0x200, 0x5000, 0x6000, tcs, Completed{99}, {}, {}}),
            "ENCLU[EACCEPTCOPY] secinfo=0x200 page=0x5000 from=0x6000 = 99");
}

TEST(Enclu, Fault) {
  EXPECT_EQ(text_of(Enclu{2, 0x3001, 0x7ffe00001007, 0, {}, Exception{13, 0, {}}, at(0x1007), {}}),
            "ENCLU[EENTER] tcs=0x3001 aep=0x7ffe00001007 = #GP(0x0) at rip=0x1007");
  EXPECT_EQ(text_of(Enclu{3, 0x3000, 0x1007, 0, {}, Exception{14, 0x8005, at(0x3000)}, at(0x1007), {}}),
            "ENCLU[ERESUME] tcs=0x3000 aep=0x1007 = #PF(0x8005) addr=0x3000 at rip=0x1007");
  EXPECT_EQ(
      text_of(Enclu{1, 0x200, 0x400, 0, at(0x7f0000003000), Exception{13, 0, {}}, at(0x7f0000004010), kBase}),
      "ENCLU[EGETKEY] keyrequest=0x200 key=0x400 = #GP(0x0) at rip=0x7f0000004010 (enclave "
      "0x7f0000000000+0x4010)");
}

TEST(Enclu, UnknownLeaf) {
  EXPECT_EQ(text_of(Enclu{0x2a, 1, 2, 3, {}, Exception{13, 0, {}}, at(0x1007), {}}),
            "ENCLU[0x2a] rbx=0x1 rcx=0x2 rdx=0x3 = #GP(0x0) at rip=0x1007");
}

TEST(Enclu, ExitToAKnownPlace) {
  EXPECT_EQ(text_of(Enclu{4, 0x1020, 0, 0, at(0x3000), Exited{at(0x1020)}, {}, {}, Symbol{"back", 0x20}}),
            "ENCLU[EEXIT] tcs=0x3000 -> rip=0x1020 <back+0x20>");
}

TEST(Instructions, BytesAndWhatIsKnownOfThem) {
  constexpr std::array<std::byte, 2> kCode = {std::byte{0xeb}, std::byte{0x0e}};
  EXPECT_EQ(text_of(Instruction{at(0x7f0000004010), kBase, kCode, {}}),
            "insn 0x7f0000004010 (enclave 0x7f0000000000+0x4010) eb 0e");
  EXPECT_EQ(
      text_of(Instruction{at(0x7f0000004010), kBase, kCode, "jmp 0x20", Symbol{"f", 0}, Symbol{"g", 8}}),
      "insn 0x7f0000004010 (enclave 0x7f0000000000+0x4010) <f> eb 0e  jmp 0x20 <g+0x8>");
}

TEST(Aex, PageFault) {
  EXPECT_EQ(text_of(Aex{Exception{14, 0x8007, at(0x7f0000002008)}, at(0x7f0000004010), at(0x7f0000003000), 0,
                        0x8000030e, kBase, at(0x1007)}),
            "AEX #PF(0x8007) at rip=0x7f0000004010 (enclave 0x7f0000000000+0x4010) addr=0x7f0000002008 "
            "tcs=0x7f0000003000 aep=0x1007 cssa 0->1 exitinfo=0x8000030e (#PF hardware)");
}

TEST(Aex, ExceptionWithoutErrorCode) {
  EXPECT_EQ(text_of(Aex{Exception{6, 0, {}}, at(0x4010), at(0x3000), 1, 0x80000306, at(0x2000), at(0x1007)}),
            "AEX #UD at rip=0x4010 (enclave 0x2000+0x2010) tcs=0x3000 aep=0x1007 cssa 1->2 "
            "exitinfo=0x80000306 (#UD hardware)");
  EXPECT_EQ(text_of(Aex{Exception{3, 0, {}}, at(0x4010), at(0x3000), 1, 0x80000603, at(0x2000), at(0x1007)}),
            "AEX #BP at rip=0x4010 (enclave 0x2000+0x2010) tcs=0x3000 aep=0x1007 cssa 1->2 "
            "exitinfo=0x80000603 (#BP software)");
}

std::string text_of_interrupt(Interrupt interrupt) {
  const std::string text = text_of(Aex{interrupt, at(0x4010), at(0x3000), 0, 0, at(0x2000), at(0x1007)});
  const std::size_t end = text.find(" at rip=");
  EXPECT_EQ(text.substr(end),
            " at rip=0x4010 (enclave 0x2000+0x2010) tcs=0x3000 aep=0x1007 cssa 0->1 exitinfo=0x0");
  return text.substr(0, end);
}

TEST(Aex, Interrupt) {
  EXPECT_EQ(text_of_interrupt({SIGALRM, false}), "AEX interrupt (SIGALRM)");
  EXPECT_EQ(text_of_interrupt({40, false}), "AEX interrupt (40)");
  EXPECT_EQ(text_of_interrupt({SIGSYS, true}), "AEX interrupt (reclaim)");
  EXPECT_EQ(text_of_interrupt({}), "AEX interrupt");
}

const Question kQuestion{"vdso", {14, 0x8007, at(0x7f0000002000)}, at(0x1007), 3};

TEST(Delivery, Fixup) {
  const std::string before =
      "fixup vdso: vector=14 error=0x8007 addr=0x7f0000002000 leaf=ERESUME at rip=0x1007 -> rip=0x1010, ";
  EXPECT_EQ(text_of(Fixup{kQuestion, at(0x1010), {}}), before + "function returns");
  EXPECT_EQ(text_of(Fixup{kQuestion, at(0x1010), {Receiver::Who::Handler, at(0x5555)}}),
            before + "user handler 0x5555");
}

TEST(Delivery, PageFault) {
  EXPECT_EQ(text_of(PageFault{at(0x5008), 6, PageFault::How::Added}),
            "page fault addr=0x5008 error=0x6: page added (EAUG)");
  EXPECT_EQ(text_of(PageFault{at(0x5008), 4, PageFault::How::Loaded}),
            "page fault addr=0x5008 error=0x4: page loaded (ELDU)");
  EXPECT_EQ(text_of(PageFault{at(0x5008), 4, PageFault::How::Mapped}),
            "page fault addr=0x5008 error=0x4: page mapped (first touch)");
  EXPECT_EQ(text_of(PageFault{at(0x5008), 4, PageFault::How::Present}),
            "page fault addr=0x5008 error=0x4: page is there");
}

TEST(Delivery, Signal) {
  EXPECT_EQ(
      text_of(Signal{kQuestion, SIGSEGV, SEGV_ACCERR, at(0x5000), {Receiver::Who::Signal, at(0x6666)}}),
      "no fixup by vdso: vector=14 error=0x8007 addr=0x7f0000002000 leaf=ERESUME at rip=0x1007 -> SIGSEGV "
      "{si_code=SEGV_ACCERR, si_addr=0x5000}, signal handler 0x6666");
  const Question host{"signals", {3, 0, {}}, at(0x1007), {}};
  const std::string before = "no fixup by signals: vector=3 error=0x0 addr=0x0 at rip=0x1007 -> ";
  EXPECT_EQ(text_of(Signal{host, SIGTRAP, 0x80, at(0), {Receiver::Who::Default, {}}}),
            before + "SIGTRAP {si_code=SI_KERNEL, si_addr=0x0}, nobody, default action");
  EXPECT_EQ(text_of(Signal{host, SIGILL, 99, at(0x1007), {Receiver::Who::Blocked, {}}}),
            before + "SIGILL {si_code=99, si_addr=0x1007}, nobody, blocked: default action");
  EXPECT_EQ(text_of(Signal{host, SIGILL, 99, at(0x1007), {Receiver::Who::Ignored, {}}}),
            before + "SIGILL {si_code=99, si_addr=0x1007}, nobody, ignored: default action");
}

TEST(Delivery, Dropped) {
  EXPECT_EQ(text_of(Dropped{{"vdso", {16, 0, {}}, at(0x1007), 3}}),
            "no fixup by vdso: vector=16 error=0x0 addr=0x0 leaf=ERESUME at rip=0x1007 -> nobody");
}

TEST(Calls, WithoutLibc) {
  EXPECT_EQ(text_of(RawCalls{0, {}}), "system calls without libc: all");
  EXPECT_EQ(text_of(RawCalls{1, {}}), "system calls without libc: 1 instruction, in the program");
  EXPECT_EQ(text_of(RawCalls{12, "libfoo.so"}),
            "system calls without libc: 12 instructions, the first in libfoo.so");
}

TEST(Machine, InjectedEventsAreMarkedAsSuch) {
  EXPECT_EQ(text_of(Injected{"eenter=#GP@every:3", 6}), "injected eenter=#GP@every:3 at 6");
}

TEST(Machine, EpcLossSaysWhoAskedForIt) {
  EXPECT_EQ(text_of(EpcLoss{at(0x5000), 42}), "EPC lost (enclave 0x5000): asked for by process 42");
  EXPECT_EQ(text_of(EpcLoss{at(0x5000), 0}), "EPC lost (enclave 0x5000): injected");
}

TEST(Calls, Fork) {
  EXPECT_EQ(text_of(Fork{42}), "fork of 42");
}

TEST(Line, IsCutWhereTheBufferEnds) {
  char storage[16];
  LineBuffer line(storage);
  render({4711, 4711, 0, Close{5, 0L}}, line);
  EXPECT_TRUE(line.truncated());
  EXPECT_EQ(line.view(), "[4711] 0.000000 ");
}

}  // namespace
}  // namespace enclume::trace
