// SPDX-License-Identifier: Apache-2.0
#include "trace/render.h"

#include <sys/mman.h>

#include "trace/names.h"

namespace enclume::trace {

namespace {

/// A name, or the number where there is none.
void put_name(LineBuffer& line, std::string_view name, std::uint64_t value) {
  if (name.empty()) {
    line.dec(value);
  } else {
    line.text(name);
  }
}

enum class Number : std::uint8_t {
  Decimal,
  Address
};

void put_result(LineBuffer& line, const SysResult<long>& result, Number how = Number::Decimal) {
  line.text(" = ");
  if (!result) {
    const int error = static_cast<int>(result.error());
    line.text("-1 ");
    if (const std::string_view name = errno_name(error); !name.empty()) {
      line.text(name);
    } else {
      line.text("errno ").dec(error);
    }
  } else if (how == Number::Address) {
    line.hex(static_cast<std::uint64_t>(*result));
  } else {
    line.dec(static_cast<std::int64_t>(*result));
  }
}

/// #PF(0x7), #UD
void put_exception(LineBuffer& line, const Exception& e) {
  if (const std::string_view name = vector_name(e.vector); !name.empty()) {
    line.text(name);
  } else {
    line.text("vector ").dec(static_cast<unsigned>(e.vector));
  }
  if (has_error_code(e.vector)) {
    line.text("(").hex(e.error_code).text(")");
  }
}

bool is_page_fault(const Exception& e) {
  return e.vector == 14;
}

// -- Arguments of ioctls: what stands between the braces
// -----------------------------------------------------------

void put_range(LineBuffer& line, std::uint64_t offset, std::uint64_t length) {
  line.text("offset=").hex(offset).text(", length=").hex(length);
}

void put_leaf_code(LineBuffer& line, std::uint64_t code) {
  line.text(", result=");
  if (code == 0) {
    line.text("0");
  } else {
    put_name(line, leaf_code_name(code), code);
  }
}

void put_argument(LineBuffer& line, const CreateArgument& a) {
  line.text("src=").hex(a.src);
  if (a.secs) {
    line.text(", base=").hex(a.secs->base).text(", size=").hex(a.secs->size);
    line.text(", ssaframesize=").dec(a.secs->ssa_frame_size).text(", miscselect=").hex(a.secs->miscselect);
    line.text(", attributes=").hex(a.secs->attributes).text(", xfrm=").hex(a.secs->xfrm);
  }
}

void put_argument(LineBuffer& line, const AddPagesArgument& a) {
  constexpr Named kMeasure[] = {{1, "MEASURE"}};
  line.text("src=").hex(a.src).text(", ");
  put_range(line, a.offset, a.length);
  line.text(", secinfo=");
  if (a.secinfo_flags) {
    put_secinfo(line, *a.secinfo_flags);
  } else {
    line.hex(a.secinfo);
  }
  line.text(", flags=");
  put_flags(line, a.flags, kMeasure, "0");
}

void put_argument(LineBuffer& line, const InitArgument& a) {
  line.text("sigstruct=").hex(a.sigstruct);
  if (a.fields) {
    line.text(", enclavehash=");
    for (const std::uint8_t byte : a.fields->enclave_hash) {
      for (const int digit : {byte >> 4, byte & 0xf}) {
        line.text({&"0123456789abcdef"[digit], 1});
      }
    }
    line.text(", isvprodid=").dec(static_cast<unsigned>(a.fields->product_id));
    line.text(", isvsvn=").dec(static_cast<unsigned>(a.fields->security_version));
  }
}

void put_argument(LineBuffer& line, const ProvisionArgument& a) {
  line.text("fd=").dec(static_cast<std::int64_t>(a.fd));
}

void put_argument(LineBuffer& line, const RestrictPermissionsArgument& a) {
  constexpr Named kPermissions[] = {{1, "R"}, {2, "W"}, {4, "X"}};
  put_range(line, a.offset, a.length);
  line.text(", permissions=");
  put_flags(line, a.permissions, kPermissions, "0");
  put_leaf_code(line, a.result);
}

void put_argument(LineBuffer& line, const ModifyTypesArgument& a) {
  put_range(line, a.offset, a.length);
  line.text(", page_type=");
  put_name(line, page_type_name(a.page_type), a.page_type);
  put_leaf_code(line, a.result);
}

void put_argument(LineBuffer& line, const RemovePagesArgument& a) {
  put_range(line, a.offset, a.length);
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

void put(LineBuffer& line, const Open& e) {
  line.text("open(\"").text(e.path).text("\", ");
  put_open_flags(line, e.flags);
  line.text(")");
  put_result(line, e.result);
}

void put(LineBuffer& line, const Close& e) {
  line.text("close(").dec(e.fd).text(")");
  put_result(line, e.result);
}

void put(LineBuffer& line, const Mmap& e) {
  line.text("mmap(").hex(e.address).text(", ").hex(e.length).text(", ");
  put_prot(line, e.prot);
  line.text(", ");
  put_map_flags(line, e.flags);
  line.text(", ").dec(e.fd).text(", ").hex(e.offset).text(")");
  put_result(line, e.result, Number::Address);
}

void put(LineBuffer& line, const Mprotect& e) {
  line.text(e.key < 0 ? "mprotect(" : "pkey_mprotect(").hex(e.address).text(", ").hex(e.length).text(", ");
  put_prot(line, e.prot);
  if (e.key >= 0) {
    line.text(", ").dec(e.key);
  }
  line.text(")");
  put_result(line, e.result);
}

void put(LineBuffer& line, const Munmap& e) {
  line.text("munmap(").hex(e.address).text(", ").hex(e.length).text(")");
  put_result(line, e.result);
}

void put(LineBuffer& line, const Mremap& e) {
  line.text("mremap(").hex(e.address).text(", ").hex(e.old_length).text(", ").hex(e.new_length).text(", ");
  put_mremap_flags(line, e.flags);
  if ((e.flags & MREMAP_FIXED) != 0) {
    line.text(", ").hex(e.to);
  }
  line.text(")");
  put_result(line, e.result, Number::Address);
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
      put_result(line, e.result);
    } else {
      line.text("{");
      put_argument(line, argument);
      line.text("})");
      put_result(line, e.result);
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
  } else if (exited != nullptr) {
    line.text(" -> rip=").hex(exited->rip);
  } else if (const auto* completed = std::get_if<Completed>(&e.outcome)) {
    line.text(" = ");
    if (completed->code == 0) {
      line.text("0");
    } else {
      put_name(line, leaf_code_name(completed->code), completed->code);
    }
  } else if (const auto* fault = std::get_if<Exception>(&e.outcome)) {
    line.text(" = ");
    put_exception(line, *fault);
    if (is_page_fault(*fault)) {
      line.text(" addr=").hex(fault->address);
    }
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
  if (const auto* exception = std::get_if<Exception>(&e.cause);
      exception != nullptr && is_page_fault(*exception)) {
    line.text(" addr=").hex(exception->address);
  }
  line.text(" tcs=").hex(e.tcs).text(" cssa ").dec(e.cssa).text("->").dec(e.cssa + 1);
  line.text(" exitinfo=").hex(e.exitinfo);
}

void put(LineBuffer& line, const Fixup& e) {
  line.text("fixup ").text(e.design).text(": vector=").dec(e.vector).text(" error=").hex(e.error_code);
  line.text(" addr=").hex(e.address).text(" -> rip=").hex(e.rip);
}

void put(LineBuffer& line, const PageFault& e) {
  line.text("page fault addr=").hex(e.address).text(" error=").hex(e.error_code);
  switch (e.how) {
    case PageFault::How::Added:
      line.text(": page added (EAUG)");
      break;
    case PageFault::How::Loaded:
      line.text(": page loaded (ELDU)");
      break;
    case PageFault::How::Present:
      line.text(": page is there");
      break;
  }
}

void put(LineBuffer& line, const Signal& e) {
  line.text("--- ");
  put_name(line, signal_name(e.signo), static_cast<std::uint32_t>(e.signo));
  line.text(" {si_code=");
  if (const std::string_view name = signal_code_name(e.signo, e.code); !name.empty()) {
    line.text(name);
  } else {
    line.dec(e.code);
  }
  line.text(", si_addr=").hex(e.address).text("} at rip=").hex(e.rip).text(" ---");
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
