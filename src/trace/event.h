// SPDX-License-Identifier: Apache-2.0
// What a trace tells: one value for each thing that happened between a program and the machine. Plain numbers
// as the processor and the system call interface have them; names are given by the sink that needs them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "base/errno.h"
#include "base/types.h"

namespace enclume::trace {

/// The name of an address.
struct Symbol {
  std::string_view name;
  std::uint64_t offset = 0;  ///< from the symbol
};

/// The engine is ready in a program: after `enclume run` and after each exec.
struct Start {
  std::string_view program;
  std::uint64_t epc_size = 0;  ///< bytes
  bool sgx2 = false;
};

/// The engine sees system calls of the program that don't come from libc (`--front`).
struct RawCalls {
  std::uint32_t instructions = 0;  ///< how many SYSCALLs trap, newly; 0: all there are or will be
  std::string_view object;         ///< the file that the first of them is in, "" for the program's own
};

/// The engine notices that the process is a forked child.
struct Fork {
  int parent = 0;
};

// -- System calls on the devices and on memory of enclaves
// ------------------------------------------------------

struct Open {
  std::string_view path;
  int flags = 0;
  SysResult<long> result{};  ///< the descriptor
};

struct Close {
  int fd = -1;
  SysResult<long> result{};
};

struct Mmap {
  LinearAddress address;
  std::uint64_t length = 0;
  int prot = 0;
  int flags = 0;
  int fd = -1;
  std::uint64_t offset = 0;
  SysResult<long> result{};  ///< the address
};

struct Mprotect {
  LinearAddress address;
  std::uint64_t length = 0;
  int prot = 0;
  int key = -1;  ///< of pkey_mprotect; -1: mprotect
  SysResult<long> result{};
};

struct Munmap {
  LinearAddress address;
  std::uint64_t length = 0;
  SysResult<long> result{};
};

struct Mremap {
  LinearAddress address;
  std::uint64_t old_length = 0;
  std::uint64_t new_length = 0;
  int flags = 0;
  LinearAddress to;          ///< counts with MREMAP_FIXED
  SysResult<long> result{};  ///< the address
};

/// The fields of SECS that the program filled in for CREATE.
struct SecsFields {
  std::uint64_t size = 0;
  LinearAddress base;
  std::uint32_t ssa_frame_size = 0;  ///< pages
  std::uint32_t miscselect = 0;
  std::uint64_t attributes = 0;
  std::uint64_t xfrm = 0;
};

/// What INIT's SIGSTRUCT says of the enclave.
struct SigstructFields {
  std::array<std::uint8_t, 32> enclave_hash{};
  std::uint16_t product_id = 0;
  std::uint16_t security_version = 0;
};

// The argument of each ioctl, `count` and `result` as after the call. What a pointer in it leads to is
// missing if it could not be read.
struct CreateArgument {
  LinearAddress src;
  std::optional<SecsFields> secs;
};
struct AddPagesArgument {
  LinearAddress src;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  LinearAddress secinfo;
  std::optional<std::uint64_t> secinfo_flags;
  std::uint64_t flags = 0;
  std::uint64_t count = 0;
};
struct InitArgument {
  LinearAddress sigstruct;
  std::optional<SigstructFields> fields;
};
struct ProvisionArgument {
  std::uint64_t fd = 0;
};
struct RestrictPermissionsArgument {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t permissions = 0;  ///< SECINFO.R, W and X
  std::uint64_t result = 0;       ///< code of EMODPR
  std::uint64_t count = 0;
};
struct ModifyTypesArgument {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t page_type = 0;
  std::uint64_t result = 0;  ///< code of EMODT
  std::uint64_t count = 0;
};
struct RemovePagesArgument {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t count = 0;
};

struct Ioctl {
  int fd = -1;
  std::uint32_t command = 0;
  std::uint64_t argument = 0;  ///< the pointer itself
  /// monostate: an unknown command, or a pointer that can't be read.
  std::variant<std::monostate, CreateArgument, AddPagesArgument, InitArgument, ProvisionArgument,
               RestrictPermissionsArgument, ModifyTypesArgument, RemovePagesArgument>
      decoded;
  SysResult<long> result{};
};

// -- The processor
// ------------------------------------------------------------------------------------------------

/// An exception as the instruction raised it.
struct Exception {
  std::uint8_t vector = 0;
  std::uint32_t error_code = 0;
  LinearAddress address;  ///< #PF only
};

/// EENTER or ERESUME has entered: the SSA frame in use, and where the enclave goes on.
struct Entered {
  std::uint32_t cssa = 0;
  LinearAddress rip;
};
/// EEXIT has left.
struct Exited {
  LinearAddress rip;
};
/// Any other leaf has executed; its code in RAX, 0 for leaves without one.
struct Completed {
  std::uint32_t code = 0;
};

/// One execution of ENCLU.
struct Enclu {
  std::uint32_t leaf = 0;  ///< EAX
  std::uint64_t rbx = 0;   ///< the leaf's operands
  std::uint64_t rcx = 0;
  std::uint64_t rdx = 0;
  LinearAddress tcs;  ///< of the enclave that the instruction stands in; 0 outside
  std::variant<Entered, Exited, Completed, Exception> outcome;
  LinearAddress rip;                  ///< of the instruction
  std::optional<LinearAddress> base;  ///< of the enclave that is entered, or that the instruction stands in
  std::optional<Symbol> symbol = {};  ///< where an EEXIT goes to; with instructions only
};

/// A signal, or an interprocessor interrupt of the engine's own, made the thread leave.
struct Interrupt {
  int signo = 0;  ///< 0: not known
  bool kick = false;
};

/// Asynchronous exit.
struct Aex {
  std::variant<Exception, Interrupt> cause;
  LinearAddress rip;  ///< inside
  LinearAddress tcs;
  std::uint32_t cssa = 0;      ///< before; one more after
  std::uint32_t exitinfo = 0;  ///< as the enclave finds it in the SSA frame
  LinearAddress base;          ///< of the enclave
  LinearAddress aep;
};

/// Strict mode is about to execute an instruction of enclave code, or to refuse it.
struct Instruction {
  LinearAddress rip;
  LinearAddress base;                 ///< of the enclave
  std::span<const std::byte> code;    ///< its bytes, or what there is of them
  std::string_view text;              ///< disassembled; empty if it can't be
  std::optional<Symbol> symbol = {};  ///< of `rip`
  std::optional<Symbol> target = {};  ///< of the address that a branch or an operand names
};

// -- What became of an exception
// ----------------------------------------------------------------------------------

/// Who learns of it, and where that code begins.
struct Receiver {
  enum class Who : std::uint8_t {
    Function,  ///< the caller of the function that entered, by its return
    Handler,   ///< a handler that was registered with the design: for this entry, or for the process
    Signal,    ///< the program's signal handler
    Default,   ///< nobody: the signal's default action
    Blocked,   ///< nobody: blocked, so the kernel takes the default action in its place
    Ignored,   ///< nobody: ignored, so the kernel takes the default action in its place
  };
  Who who = Who::Function;
  LinearAddress address;  ///< of a handler
};

/// What the kernel's half had before it, and by which design it decided.
struct Question {
  std::string_view design;
  Exception exception;                ///< `address` as in CR2: without the low bits after an AEX
  LinearAddress rip;                  ///< the program's: of an ENCLU, or the AEP
  std::optional<std::uint32_t> leaf;  ///< EAX, if RIP is at an ENCLU
};

/// The program goes on at a fixup instead of getting a signal.
struct Fixup {
  Question question;
  LinearAddress rip;
  Receiver receiver;
};

/// The kernel's half has dealt with a page fault by itself.
struct PageFault {
  enum class How : std::uint8_t {
    Added,    ///< a new page: EAUG
    Loaded,   ///< an evicted page: ELDU
    Mapped,   ///< the first touch of a page that was there
    Present,  ///< somebody else was faster
  };
  LinearAddress address;
  std::uint32_t error_code = 0;
  How how = How::Present;
};

/// A signal that an exception at an ENCLU, in an enclave or at its memory becomes.
struct Signal {
  Question question;
  int signo = 0;
  int code = 0;
  LinearAddress address;
  Receiver receiver;
};

/// An exception that the kernel drops: the program goes on as if nothing had been.
struct Dropped {
  Question question;
};

/// Something that `--inject` asked for happens now.
struct Injected {
  std::string_view what;     ///< as it was given: "eenter=#GP@3"
  std::uint64_t number = 0;  ///< the how-manieth opportunity this is
};

/// An enclave has lost its EPC, as by a power transition.
struct EpcLoss {
  LinearAddress base;  ///< of the enclave
  int process = 0;     ///< that has asked for it; 0: injected
};

using What = std::variant<Start, RawCalls, Fork, Open, Close, Mmap, Mprotect, Munmap, Mremap, Ioctl, Enclu,
                          Aex, Instruction, Fixup, PageFault, Signal, Dropped, Injected, EpcLoss>;

struct Event {
  int process = 0;
  int thread = 0;
  std::uint64_t nanoseconds = 0;  ///< since the engine started in this program
  What what;
  std::uint64_t clock = 0;  ///< the same moment by CLOCK_MONOTONIC, which all processes share
  std::uint64_t began = 0;  ///< by that clock; 0: what happened took no time
};

/// Calls `f` with the alternative that `value` holds. As std::visit, which wants exceptions.
template <typename F, typename... T>
constexpr void match(const std::variant<T...>& value, F&& f) {
  (void)((std::get_if<T>(&value) != nullptr && (f(*std::get_if<T>(&value)), true)) || ...);
}

}  // namespace enclume::trace
