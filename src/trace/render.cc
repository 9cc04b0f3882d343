// SPDX-License-Identifier: Apache-2.0
#include "trace/render.h"

#include <sys/mman.h>

#include "trace/fields.h"

namespace enclume::trace {

namespace {

/// ` (enclave 0x7f0000000000+0x1018)` behind an address inside.
void put_place(LineBuffer& line, LinearAddress address, std::optional<LinearAddress> base) {
  if (base) {
    line.text(" (enclave ").hex(*base).text("+").hex(address - *base).text(")");
  }
}

void put_symbol(LineBuffer& line, const std::optional<Symbol>& symbol) {
  if (symbol) {
    line.text(" <").text(symbol->name);
    if (symbol->offset != 0) {
      line.text("+").hex(symbol->offset);
    }
    line.text(">");
  }
}

void end(LineBuffer& line, const SysResult<long>& result, Number how = Number::Decimal) {
  line.text(" = ");
  put_result(line, result, how);
}

/// The bytes that the ioctl got done, where it counts them.
template <typename T>
void put_count(LineBuffer& line, const T& argument) {
  if constexpr (requires { argument.count; }) {
    line.text(" count=").hex(argument.count);
  }
}

// -- Kinds of events
// -----------------------------------------------------------------------------------------------

void put(LineBuffer& line, const Start& e) {
  line.text("start ").text(e.program).text(" epc=").hex(e.epc_size).text(e.sgx2 ? " sgx=2" : " sgx=1");
}

void put(LineBuffer& line, const RawCalls& e) {
  line.text("system calls without libc: ");
  if (e.instructions == 0) {
    line.text("all");
    return;
  }
  line.dec(e.instructions).text(e.instructions == 1 ? " instruction, in " : " instructions, the first in ");
  line.text(e.object.empty() ? "the program" : e.object);
}

void put(LineBuffer& line, const Fork& e) {
  line.text("fork of ").dec(e.parent);
}

void put(LineBuffer& line, const Open& e) {
  line.text("open(\"").text(e.path).text("\", ");
  put_open_flags(line, e.flags);
  line.text(")");
  end(line, e.result);
}

void put(LineBuffer& line, const Close& e) {
  line.text("close(").dec(e.fd).text(")");
  end(line, e.result);
}

void put(LineBuffer& line, const Mmap& e) {
  line.text("mmap(").hex(e.address).text(", ").hex(e.length).text(", ");
  put_prot(line, e.prot);
  line.text(", ");
  put_map_flags(line, e.flags);
  line.text(", ").dec(e.fd).text(", ").hex(e.offset).text(")");
  end(line, e.result, Number::Address);
}

void put(LineBuffer& line, const Mprotect& e) {
  line.text(e.key < 0 ? "mprotect(" : "pkey_mprotect(").hex(e.address).text(", ").hex(e.length).text(", ");
  put_prot(line, e.prot);
  if (e.key >= 0) {
    line.text(", ").dec(e.key);
  }
  line.text(")");
  end(line, e.result);
}

void put(LineBuffer& line, const Munmap& e) {
  line.text("munmap(").hex(e.address).text(", ").hex(e.length).text(")");
  end(line, e.result);
}

void put(LineBuffer& line, const Mremap& e) {
  line.text("mremap(").hex(e.address).text(", ").hex(e.old_length).text(", ").hex(e.new_length).text(", ");
  put_mremap_flags(line, e.flags);
  if ((e.flags & MREMAP_FIXED) != 0) {
    line.text(", ").hex(e.to);
  }
  line.text(")");
  end(line, e.result, Number::Address);
}

void put(LineBuffer& line, const Ioctl& e) {
  line.text("ioctl(").dec(e.fd).text(", ");
  if (const std::string_view name = ioctl_name(e.command); !name.empty()) {
    line.text(name);
  } else {
    line.hex(e.command);
  }
  line.text(", ");
  match(e.decoded, [&]<typename T>(const T& argument) {
    if constexpr (std::is_same_v<T, std::monostate>) {
      line.hex(e.argument).text(")");
      end(line, e.result);
    } else {
      std::string_view before = "{";
      fields_of(argument, [&](std::string_view name, auto put_value) {
        line.text(before).text(name).text("=");
        put_value(line);
        before = ", ";
      });
      line.text("})");
      end(line, e.result);
      put_count(line, argument);
    }
  });
}

void put_operand(LineBuffer& line, std::string_view name, std::uint64_t value) {
  if (!name.empty()) {
    line.text(" ").text(name).text("=").hex(value);
  }
}

void put(LineBuffer& line, const Enclu& e) {
  LeafNames names = leaf_names(e.leaf);
  line.text("ENCLU[");
  if (names.leaf.empty()) {
    line.hex(e.leaf);
    names = {"", "rbx", "rcx", "rdx"};
  } else {
    line.text(names.leaf);
  }
  line.text("]");
  const auto* exited = std::get_if<Exited>(&e.outcome);
  if (exited != nullptr) {
    put_operand(line, "tcs", e.tcs.value());
  } else {
    put_operand(line, names.rbx, e.rbx);
    put_operand(line, names.rcx, e.rcx);
    put_operand(line, names.rdx, e.rdx);
  }
  if (const auto* entered = std::get_if<Entered>(&e.outcome)) {
    line.text(" cssa=").dec(entered->cssa).text(" -> rip=").hex(entered->rip);
    put_place(line, entered->rip, e.base);
  } else if (exited != nullptr) {
    line.text(" -> rip=").hex(exited->rip);
    put_symbol(line, e.symbol);
  } else if (const auto* completed = std::get_if<Completed>(&e.outcome)) {
    line.text(" = ");
    put_leaf_code(line, completed->code);
  } else if (const auto* fault = std::get_if<Exception>(&e.outcome)) {
    line.text(" = ");
    put_exception(line, *fault);
    if (is_page_fault(*fault)) {
      line.text(" addr=").hex(fault->address);
    }
    line.text(" at rip=").hex(e.rip);
    put_place(line, e.rip, e.base);
  }
}

void put(LineBuffer& line, const Aex& e) {
  line.text("AEX ");
  if (const auto* exception = std::get_if<Exception>(&e.cause)) {
    put_exception(line, *exception);
  } else if (const auto* interrupt = std::get_if<Interrupt>(&e.cause)) {
    line.text("interrupt");
    if (interrupt->kick) {
      line.text(" (reclaim)");
    } else if (interrupt->signo != 0) {
      line.text(" (");
      put_name(line, signal_name(interrupt->signo), static_cast<std::uint32_t>(interrupt->signo));
      line.text(")");
    }
  }
  line.text(" at rip=").hex(e.rip);
  put_place(line, e.rip, e.base);
  if (const auto* exception = std::get_if<Exception>(&e.cause);
      exception != nullptr && is_page_fault(*exception)) {
    line.text(" addr=").hex(exception->address);
  }
  line.text(" tcs=").hex(e.tcs).text(" aep=").hex(e.aep);
  line.text(" cssa ").dec(e.cssa).text("->").dec(e.cssa + 1);
  line.text(" exitinfo=").hex(e.exitinfo);
  if (e.exitinfo != 0) {
    line.text(" (");
    put_exitinfo(line, e.exitinfo);
    line.text(")");
  }
}

void put(LineBuffer& line, const Instruction& e) {
  line.text("insn ").hex(e.rip);
  put_place(line, e.rip, e.base);
  put_symbol(line, e.symbol);
  line.text(" ");
  put_bytes(line, e.code);
  if (!e.text.empty()) {
    line.text("  ").text(e.text);
  }
  put_symbol(line, e.target);
}

/// What the registers say that a fixup hands over, or a signal's context.
void put_question(LineBuffer& line, const Question& q) {
  line.text(" vector=").dec(static_cast<unsigned>(q.exception.vector));
  line.text(" error=").hex(q.exception.error_code).text(" addr=").hex(q.exception.address);
  if (q.leaf) {
    line.text(" leaf=");
    put_leaf(line, *q.leaf);
  }
  line.text(" at rip=").hex(q.rip);
}

void put(LineBuffer& line, const Fixup& e) {
  line.text("fixup ").text(e.question.design).text(":");
  put_question(line, e.question);
  line.text(" -> rip=").hex(e.rip).text(", ");
  put_receiver(line, e.receiver);
}

void put(LineBuffer& line, const PageFault& e) {
  line.text("page fault addr=").hex(e.address).text(" error=").hex(e.error_code).text(": ");
  line.text(page_fault_end(e.how));
}

void put(LineBuffer& line, const Signal& e) {
  line.text("no fixup by ").text(e.question.design).text(":");
  put_question(line, e.question);
  line.text(" -> ");
  put_name(line, signal_name(e.signo), static_cast<std::uint32_t>(e.signo));
  line.text(" {si_code=");
  if (const std::string_view name = signal_code_name(e.signo, e.code); !name.empty()) {
    line.text(name);
  } else {
    line.dec(e.code);
  }
  line.text(", si_addr=").hex(e.address).text("}, ");
  put_receiver(line, e.receiver);
}

void put(LineBuffer& line, const Dropped& e) {
  line.text("no fixup by ").text(e.question.design).text(":");
  put_question(line, e.question);
  line.text(" -> nobody");
}

void put(LineBuffer& line, const Injected& e) {
  line.text("injected ").text(e.what).text(" at ").dec(e.number);
}

void put(LineBuffer& line, const EpcLoss& e) {
  line.text("EPC lost (enclave ").hex(e.base).text(")");
  if (e.process != 0) {
    line.text(": asked for by process ").dec(e.process);
  } else {
    line.text(": injected");
  }
}

/// 1234567 ns as 0.001234: cut, as clocks do.
void put_time(LineBuffer& line, std::uint64_t nanoseconds) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  line.dec(nanoseconds / kSecond).text(".");
  std::uint64_t rest = nanoseconds % kSecond;
  for (std::uint64_t digit = kSecond / 10; digit >= 1'000; digit /= 10) {
    line.dec(rest / digit);
    rest %= digit;
  }
}

}  // namespace

void render(const Event& event, LineBuffer& line) {
  line.text("[").dec(event.process);
  if (event.thread != event.process) {
    line.text("/").dec(event.thread);
  }
  line.text("] ");
  put_time(line, event.nanoseconds);
  line.text(" ");
  match(event.what, [&](const auto& what) { put(line, what); });
}

}  // namespace enclume::trace
