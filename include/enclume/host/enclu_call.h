// SPDX-License-Identifier: Apache-2.0
// Entering an enclave by a bare function, ENCLU and a return, and taking its exceptions from registers: C++
// over uapi/sgx_vdso_enclu.h (and, with the same function brought along, over uapi/sgx_enclu_handler.h).
// Header only, against the Linux ABI alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace enclume {

/// ENCLU leaves that enter or leave.
enum class EncluLeaf : std::uint32_t {
  kEenter = 2,
  kEresume = 3,
  kEexit = 4,
};

/// The registers that carry arguments in and results out.
struct EncluRegisters {
  std::uint64_t rdi = 0;  ///< Offset 0.
  std::uint64_t rsi = 0;  ///< Offset 8.
  std::uint64_t rdx = 0;  ///< Offset 16.
  std::uint64_t r8 = 0;   ///< Offset 24.
  std::uint64_t r9 = 0;   ///< Offset 32.
};

/// How an entry ended.
struct EncluExit {
  /// kEexit: by the enclave's own will. kEenter: EENTER faulted. kEresume: an exception inside, or at
  /// ERESUME.
  EncluLeaf leaf;
  std::uint16_t vector;      ///< These three after an exception only, else 0.
  std::uint16_t error_code;  ///< The low 16 bits.
  std::uint64_t address;     ///< For a page fault; the low 12 bits of one inside the enclave are 0.
  EncluRegisters registers;  ///< As found. After an exception RDI, RSI and RDX are the facts above.

  /// Whether it was by the enclave's own will.
  [[nodiscard]] bool exited() const noexcept { return leaf == EncluLeaf::kEexit; }
};

namespace detail {

/// What enclume_enclu_call() works on.
struct EncluCall {
  const void* function;
  std::uint64_t leaf;
  std::uint64_t tcs;
  EncluRegisters registers;
  /// Asked after an exception; returns the next leaf, 0: none.
  std::uint32_t (*on_exception)(EncluCall*);
  void* context;
};
static_assert(offsetof(EncluCall, leaf) == 8 && offsetof(EncluCall, tcs) == 16 &&
              offsetof(EncluCall, registers) == 24 && offsetof(EncluCall, on_exception) == 64 &&
              sizeof(EncluRegisters) == 40);

/// Calls `function` by its register contract and keeps what the enclave and the AEX take: the callee-saved
/// registers, MXCSR, the x87 control word, DF, AC. RSP at the ENCLU is the same for each turn of the loop,
/// since an enclave that is resumed leaves to the stack that it was entered from. Exceptions of
/// `on_exception` pass through. Assembly that the compiler does not look into, or it would conclude that
/// nothing is thrown here.
extern "C" [[gnu::visibility("hidden")]] void enclume_enclu_call(EncluCall* call);
// clang-format off
// One copy in each library and program, from whichever of its files include this.
__asm__(
    ".pushsection .text.enclume_enclu_call, \"axG\", @progbits, enclume_enclu_call, comdat\n\t"
    ".weak enclume_enclu_call\n\t"
    ".hidden enclume_enclu_call\n\t"
    ".type enclume_enclu_call, @function\n"
    "enclume_enclu_call:\n\t"
    ".cfi_startproc\n\t"
    "endbr64\n\t"
    "pushq %rbx\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset %rbx, 0\n\t"
    "pushq %rbp\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset %rbp, 0\n\t"
    "pushq %r12\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset %r12, 0\n\t"
    "pushq %r13\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset %r13, 0\n\t"
    "pushq %r14\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset %r14, 0\n\t"
    "pushq %r15\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset %r15, 0\n\t"
    "pushq %rdi\n\t.cfi_adjust_cfa_offset 8\n\t"
    "subq $16, %rsp\n\t.cfi_adjust_cfa_offset 16\n\t"
    "stmxcsr (%rsp)\n\t"
    "fnstcw 4(%rsp)\n"
    "1:\n\t"
    "movq 16(%rsp), %r10\n\t"
    "movq 8(%r10), %rax\n\t"
    "movq 16(%r10), %rbx\n\t"
    "movq 24(%r10), %rdi\n\t"
    "movq 32(%r10), %rsi\n\t"
    "movq 40(%r10), %rdx\n\t"
    "movq 48(%r10), %r8\n\t"
    "movq 56(%r10), %r9\n\t"
    "callq *(%r10)\n\t"
    "movq 16(%rsp), %r10\n\t"
    "movl %eax, %eax\n\t"
    "movq %rax, 8(%r10)\n\t"
    "movq %rdi, 24(%r10)\n\t"
    "movq %rsi, 32(%r10)\n\t"
    "movq %rdx, 40(%r10)\n\t"
    "movq %r8, 48(%r10)\n\t"
    "movq %r9, 56(%r10)\n\t"
    "pushfq\n\t.cfi_adjust_cfa_offset 8\n\t"
    "andl $~0x40400, (%rsp)\n\t"     // DF, and AC, which an AEX leaks from the enclave
    "popfq\n\t.cfi_adjust_cfa_offset -8\n\t"
    "fnclex\n\t"                      // an AEX for #MF leaves an unmasked exception pending
    "ldmxcsr (%rsp)\n\t"
    "fldcw 4(%rsp)\n\t"
    "cmpl $4, %eax\n\t"
    "je 2f\n\t"
    "cmpq $0, 64(%r10)\n\t"
    "je 2f\n\t"
    "movq %r10, %rdi\n\t"
    "callq *64(%r10)\n\t"
    "movl %eax, %eax\n\t"
    "testl %eax, %eax\n\t"
    "je 2f\n\t"
    "movq 16(%rsp), %r10\n\t"
    "movq %rax, 8(%r10)\n\t"
    "jmp 1b\n"
    "2:\n\t"
    "addq $24, %rsp\n\t.cfi_adjust_cfa_offset -24\n\t"
    "popq %r15\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %r15\n\t"
    "popq %r14\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %r14\n\t"
    "popq %r13\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %r13\n\t"
    "popq %r12\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %r12\n\t"
    "popq %rbp\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %rbp\n\t"
    "popq %rbx\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %rbx\n\t"
    "ret\n\t"
    ".cfi_endproc\n\t"
    ".size enclume_enclu_call, . - enclume_enclu_call\n\t"
    ".popsection");
// clang-format on

inline EncluExit exit_of(const EncluCall& call) noexcept {
  const EncluRegisters& r = call.registers;
  const auto leaf = static_cast<EncluLeaf>(call.leaf);
  if (leaf == EncluLeaf::kEexit) {
    return {.leaf = leaf, .vector = 0, .error_code = 0, .address = 0, .registers = r};
  }
  return {.leaf = leaf,
          .vector = static_cast<std::uint16_t>(r.rdi),
          .error_code = static_cast<std::uint16_t>(r.rsi),
          .address = r.rdx,
          .registers = r};
}

}  // namespace detail

/// A function by the contract of uapi/sgx_vdso_enclu.h.
class EncluFunction {
 public:
  /// `function` must not be null and outlive every call.
  explicit EncluFunction(const void* function) noexcept : function_(function) {}

  /// EENTER. Returns at EEXIT or the first exception.
  [[nodiscard]] EncluExit enter(std::uint64_t tcs, const EncluRegisters& registers = {}) const noexcept {
    detail::EncluCall call = start(tcs, registers);
    detail::enclume_enclu_call(&call);
    return detail::exit_of(call);
  }

  /// EENTER, and after each exception as `on_exception(const EncluExit&, EncluRegisters& next)` says:
  /// kEresume or kEenter to go on with `next` in the registers, kEexit to give up and return. It runs on the
  /// stack of this call, and that is the place to resume from: an enclave leaves to the stack that it was
  /// entered from. It may enter this or other enclaves by calls of its own, and throw.
  template <typename OnException>
  [[nodiscard]] EncluExit enter(std::uint64_t tcs, const EncluRegisters& registers,
                                OnException&& on_exception) const {
    using Handler = std::remove_reference_t<OnException>;
    detail::EncluCall call = start(tcs, registers);
    call.context = const_cast<void*>(static_cast<const void*>(std::addressof(on_exception)));
    call.on_exception = [](detail::EncluCall* c) -> std::uint32_t {
      EncluRegisters next{};
      const EncluLeaf leaf = (*static_cast<Handler*>(c->context))(detail::exit_of(*c), next);
      if (leaf == EncluLeaf::kEexit) {
        return 0;
      }
      c->registers = next;
      return static_cast<std::uint32_t>(leaf);
    };
    detail::enclume_enclu_call(&call);
    return detail::exit_of(call);
  }

 private:
  [[nodiscard]] detail::EncluCall start(std::uint64_t tcs, const EncluRegisters& registers) const noexcept {
    return {.function = function_,
            .leaf = static_cast<std::uint64_t>(EncluLeaf::kEenter),
            .tcs = tcs,
            .registers = registers,
            .on_exception = nullptr,
            .context = nullptr};
  }

  const void* function_;
};

}  // namespace enclume
