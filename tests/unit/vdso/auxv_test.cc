// SPDX-License-Identifier: Apache-2.0
// A whole process whose AT_SYSINFO_EHDR names an image before its ld.so has run: what the kernel does on a
// machine with SGX, done here from outside by ptrace.
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "unit/vdso/vdso_images.h"

namespace enclume::test {
namespace {

constexpr int kImageFd = 100;

/// A child stopped at its first instruction after exec.
class StoppedProgram {
 public:
  StoppedProgram(const char* path, int image_fd, int output_fd) : pid_(fork()) {
    if (pid_ == 0) {
      if (dup2(image_fd, kImageFd) < 0 || dup2(output_fd, STDOUT_FILENO) < 0 ||
          ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
        _exit(125);
      }
      execl(path, path, nullptr);
      _exit(126);
    }
    EXPECT_EQ(wait_status() & 0xff, 0x7f) << "not stopped: ptrace is not allowed here?";
  }

  int wait_status() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    return status;
  }

  std::uint64_t peek(std::uint64_t address) {
    return static_cast<std::uint64_t>(ptrace(PTRACE_PEEKDATA, pid_, address, nullptr));
  }
  void poke(std::uint64_t address, std::uint64_t value) {
    EXPECT_EQ(ptrace(PTRACE_POKEDATA, pid_, address, value), 0);
  }

  /// Where the value of an auxiliary vector entry is.
  std::uint64_t auxv_place(std::uint64_t type) {
    user_regs_struct registers = {};
    EXPECT_EQ(ptrace(PTRACE_GETREGS, pid_, nullptr, &registers), 0);
    std::uint64_t place = registers.rsp + 8 + (peek(registers.rsp) + 1) * 8;  // argc, argv, its null
    while (peek(place) != 0) {                                                // the environment
      place += 8;
    }
    for (place += 8; peek(place) != AT_NULL; place += 16) {
      if (peek(place) == type) {
        return place + 8;
      }
    }
    ADD_FAILURE() << "no auxiliary vector entry " << type;
    return 0;
  }

  /// Maps the image as the kernel would, with a borrowed SYSCALL instruction.
  std::uint64_t map_image(std::size_t size) {
    constexpr std::uint64_t kSyscall = 0x050f;
    user_regs_struct before = {};
    EXPECT_EQ(ptrace(PTRACE_GETREGS, pid_, nullptr, &before), 0);
    const std::uint64_t code = peek(before.rip);
    poke(before.rip, (code & ~std::uint64_t{0xffff}) | kSyscall);
    user_regs_struct call = before;
    call.rax = SYS_mmap;
    call.rdi = 0;
    call.rsi = size;
    call.rdx = PROT_READ | PROT_EXEC;
    call.r10 = MAP_PRIVATE;
    call.r8 = kImageFd;
    call.r9 = 0;
    EXPECT_EQ(ptrace(PTRACE_SETREGS, pid_, nullptr, &call), 0);
    EXPECT_EQ(ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr), 0);
    wait_status();
    EXPECT_EQ(ptrace(PTRACE_GETREGS, pid_, nullptr, &call), 0);
    poke(before.rip, code);
    EXPECT_EQ(ptrace(PTRACE_SETREGS, pid_, nullptr, &before), 0);
    return call.rax;
  }

  /// Lets it run to its end. Returns its wait status.
  int finish() {
    EXPECT_EQ(ptrace(PTRACE_DETACH, pid_, nullptr, nullptr), 0);
    return wait_status();
  }

 private:
  pid_t pid_;
};

TEST(VdsoAuxiliaryVector, MakesTheImageTheVdso) {
  const int image_fd = memfd_create("image", 0);
  const int output_fd = memfd_create("output", 0);
  ASSERT_TRUE(image_fd >= 0 && output_fd >= 0);
  StoppedProgram program(ENCLUME_AUXV_PROGRAM, image_fd, output_fd);

  // The vDSO's bytes are the same for every process, its address is not.
  const std::uint64_t entry = program.auxv_place(AT_SYSINFO_EHDR);
  const BuiltImage image = build_image(own_vdso(), LinearAddress(program.peek(entry)));
  ASSERT_EQ(write(image_fd, image.bytes.data(), image.bytes.size()),
            static_cast<ssize_t>(image.bytes.size()));
  const std::uint64_t base = program.map_image(image.bytes.size());
  ASSERT_LT(base, std::uint64_t{1} << 47);
  program.poke(entry, base);
  EXPECT_EQ(program.finish(), 0);

  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, pread(output_fd, text.data(), text.size(), 0))));
  close(image_fd);
  close(output_fd);
  std::map<std::string, std::uint64_t> findings;
  std::istringstream lines(text);
  std::string what;
  for (std::uint64_t value = 0; lines >> what >> value;) {
    findings[what] = value;
  }
  EXPECT_EQ(findings["base"], base);
  EXPECT_EQ(findings["dlsym"], image.layout.enter) << text;
  EXPECT_EQ(findings["dlvsym"], image.layout.enter) << text;
  EXPECT_EQ(findings["weak"], findings["weak_of_machine"]) << text;
  EXPECT_EQ(findings["listed"], 0U) << text;
  EXPECT_EQ(findings["clock"], 1U) << text;
  EXPECT_EQ(findings["time"], 1U) << text;
  EXPECT_EQ(findings["fde"], image.layout.enter) << text;
}

}  // namespace
}  // namespace enclume::test
