// SPDX-License-Identifier: Apache-2.0
#include "trace/render_json.h"

#include <sys/mman.h>

#include "trace/fields.h"
#include "trace/json.h"

namespace enclume::trace {

namespace {

std::string_view file_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

/// One element of the array. `fill` appends the members of "args".
class Elements {
 public:
  Elements(const Event& event, LineBuffer& out) : event_(event), out_(out) {}

  /// "M": what the tool should know, at no time.
  template <typename Fill>
  void metadata(std::string_view name, Fill fill) {
    out_.text(",\n");
    JsonObject element(out_);
    element.string("name", name).string("ph", "M");
    thread(element);
    element.object("args", fill).end();
  }
  /// "i": a moment, on the track of its thread.
  template <typename Name, typename Fill>
  void instant(std::string_view category, Name put_name, Fill fill) {
    JsonObject element = begin("i", category, put_name, event_.clock);
    element.string("s", "t").object("args", fill).end();
  }
  /// "X": from where the event began until now.
  template <typename Name, typename Fill>
  void slice(std::string_view category, Name put_name, Fill fill) {
    const std::uint64_t began = event_.began != 0 ? event_.began : event_.clock;
    JsonObject element = begin("X", category, put_name, began);
    element.microseconds("dur", event_.clock - began).object("args", fill).end();
  }
  /// "B" and "E": the ends of a slice that is written while it lasts. An end closes what the thread has open,
  /// so it needs no name.
  template <typename Name, typename Fill>
  void open(std::string_view category, Name put_name, Fill fill) {
    begin("B", category, put_name, event_.clock).object("args", fill).end();
  }
  template <typename Fill>
  void close(Fill fill) {
    out_.text(",\n");
    JsonObject element(out_);
    element.string("ph", "E");
    thread(element);
    element.microseconds("ts", event_.clock).object("args", fill).end();
  }

 private:
  template <typename Name>
  JsonObject begin(std::string_view phase, std::string_view category, Name put_name, std::uint64_t at) {
    out_.text(",\n");
    JsonObject element(out_);
    element.text("name", put_name).string("cat", category).string("ph", phase);
    thread(element);
    element.microseconds("ts", at);
    return element;
  }
  void thread(JsonObject& element) const {
    element.number("pid", std::int64_t{event_.process}).number("tid", std::int64_t{event_.thread});
  }

  const Event& event_;
  LineBuffer& out_;
};

auto constant(std::string_view name) {
  return [name](LineBuffer& l) { l.text(name); };
}

void put_members(JsonObject& args, const Exception& e) {
  args.text("vector", [&](LineBuffer& l) { put_name(l, vector_name(e.vector), e.vector); });
  args.hex("error_code", e.error_code);
  if (is_page_fault(e)) {
    args.hex("address", e.address);
  }
}

void put_place(JsonObject& args, LinearAddress rip, std::optional<LinearAddress> base) {
  args.hex("rip", rip);
  if (base) {
    args.hex("enclave", *base).hex("offset", rip - *base);
  }
}

void put_members(JsonObject& args, const Question& q) {
  args.string("design", q.design);
  put_members(args, q.exception);
  if (q.leaf) {
    args.text("leaf", [&](LineBuffer& l) { put_leaf(l, *q.leaf); });
  }
  args.hex("rip", q.rip);
}

void put_answer(JsonObject& args, const SysResult<long>& result, Number how = Number::Decimal) {
  args.text("result", [&](LineBuffer& l) { put_result(l, result, how); });
}

// -- Kinds of events
// ------------------------------------------------------------------------------------------------

void put(Elements& to, const Start& e) {
  to.metadata("process_name", [&](JsonObject& a) { a.string("name", file_name(e.program)); });
  to.instant("process", constant("start"), [&](JsonObject& a) {
    a.string("program", e.program).hex("epc", e.epc_size).number("sgx", std::uint64_t{e.sgx2 ? 2U : 1U});
  });
}

void put(Elements& to, const RawCalls& e) {
  to.instant("process", constant("system calls without libc"), [&](JsonObject& a) {
    a.number("instructions", std::uint64_t{e.instructions}).string("object", e.object);
  });
}

void put(Elements& to, const Fork& e) {
  to.instant("process", constant("fork"), [&](JsonObject& a) { a.number("parent", std::int64_t{e.parent}); });
}

void put(Elements& to, const Open& e) {
  to.slice("call", constant("open"), [&](JsonObject& a) {
    a.string("path", e.path).text("flags", [&](LineBuffer& l) { put_open_flags(l, e.flags); });
    put_answer(a, e.result);
  });
}

void put(Elements& to, const Close& e) {
  to.slice("call", constant("close"), [&](JsonObject& a) {
    a.number("fd", std::int64_t{e.fd});
    put_answer(a, e.result);
  });
}

void put(Elements& to, const Mmap& e) {
  to.slice("call", constant("mmap"), [&](JsonObject& a) {
    a.hex("address", e.address).hex("length", e.length);
    a.text("prot", [&](LineBuffer& l) { put_prot(l, e.prot); });
    a.text("flags", [&](LineBuffer& l) { put_map_flags(l, e.flags); });
    a.number("fd", std::int64_t{e.fd}).hex("offset", e.offset);
    put_answer(a, e.result, Number::Address);
  });
}

void put(Elements& to, const Mprotect& e) {
  to.slice("call", constant(e.key < 0 ? "mprotect" : "pkey_mprotect"), [&](JsonObject& a) {
    a.hex("address", e.address).hex("length", e.length);
    a.text("prot", [&](LineBuffer& l) { put_prot(l, e.prot); });
    if (e.key >= 0) {
      a.number("pkey", std::int64_t{e.key});
    }
    put_answer(a, e.result);
  });
}

void put(Elements& to, const Munmap& e) {
  to.slice("call", constant("munmap"), [&](JsonObject& a) {
    a.hex("address", e.address).hex("length", e.length);
    put_answer(a, e.result);
  });
}

void put(Elements& to, const Mremap& e) {
  to.slice("call", constant("mremap"), [&](JsonObject& a) {
    a.hex("address", e.address).hex("old_length", e.old_length).hex("new_length", e.new_length);
    a.text("flags", [&](LineBuffer& l) { put_mremap_flags(l, e.flags); });
    if ((e.flags & MREMAP_FIXED) != 0) {
      a.hex("to", e.to);
    }
    put_answer(a, e.result, Number::Address);
  });
}

void put(Elements& to, const Ioctl& e) {
  const auto name = [&](LineBuffer& l) {
    if (const std::string_view known = ioctl_name(e.command); !known.empty()) {
      l.text(known);
    } else {
      l.text("ioctl ").hex(e.command);
    }
  };
  to.slice("ioctl", name, [&](JsonObject& a) {
    a.number("fd", std::int64_t{e.fd}).hex("argument", e.argument);
    match(e.decoded, [&]<typename T>(const T& argument) {
      if constexpr (!std::is_same_v<T, std::monostate>) {
        // RESTRICT_PERMISSIONS and MODIFY_TYPES have a field `result` of their own.
        fields_of(argument, [&](std::string_view field, auto put_value) {
          a.text(field == "result" ? "leaf_code" : field == "fd" ? "argument_fd" : field, put_value);
        });
        if constexpr (requires { argument.count; }) {
          a.hex("count", argument.count);
        }
      }
    });
    put_answer(a, e.result);
  });
}

void put_operands(JsonObject& args, const Enclu& e) {
  LeafNames names = leaf_names(e.leaf);
  if (names.leaf.empty()) {
    names = {"", "rbx", "rcx", "rdx"};
  }
  const std::pair<std::string_view, std::uint64_t> operands[] = {
      {names.rbx, e.rbx}, {names.rcx, e.rcx}, {names.rdx, e.rdx}};
  for (const auto& [name, value] : operands) {
    if (!name.empty()) {
      args.hex(name, value);
    }
  }
}

void put(Elements& to, const Enclu& e) {
  const auto leaf = [&](LineBuffer& l) { put_leaf(l, e.leaf); };
  if (const auto* entered = std::get_if<Entered>(&e.outcome)) {
    to.open("enclave", leaf, [&](JsonObject& a) {
      put_operands(a, e);
      a.number("cssa", std::uint64_t{entered->cssa});
      put_place(a, entered->rip, e.base);
    });
  } else if (const auto* exited = std::get_if<Exited>(&e.outcome)) {
    to.close([&](JsonObject& a) { a.text("left_by", leaf).hex("target", exited->rip); });
  } else if (const auto* completed = std::get_if<Completed>(&e.outcome)) {
    to.instant("leaf", leaf, [&](JsonObject& a) {
      put_operands(a, e);
      a.text("result", [&](LineBuffer& l) { put_leaf_code(l, completed->code); });
    });
  } else if (const auto* fault = std::get_if<Exception>(&e.outcome)) {
    const auto name = [&](LineBuffer& l) {
      leaf(l);
      put_exception(l.text(" "), *fault);
    };
    to.instant("exception", name, [&](JsonObject& a) {
      put_operands(a, e);
      put_members(a, *fault);
      put_place(a, e.rip, e.base);
    });
  }
}

void put_interrupt(LineBuffer& line, const Interrupt& interrupt) {
  line.text("interrupt");
  if (interrupt.kick) {
    line.text(" (reclaim)");
  } else if (interrupt.signo != 0) {
    put_name(line.text(" ("), signal_name(interrupt.signo), static_cast<std::uint32_t>(interrupt.signo));
    line.text(")");
  }
}

void put(Elements& to, const Aex& e) {
  const auto* exception = std::get_if<Exception>(&e.cause);
  const auto* interrupt = std::get_if<Interrupt>(&e.cause);
  const auto cause = [&](LineBuffer& l) {
    l.text("AEX ");
    if (exception != nullptr) {
      put_exception(l, *exception);
    } else if (interrupt != nullptr) {
      put_interrupt(l, *interrupt);
    }
  };
  to.close([&](JsonObject& a) { a.text("left_by", cause); });
  to.instant(exception != nullptr ? "exception" : "interrupt", cause, [&](JsonObject& a) {
    if (exception != nullptr) {
      put_members(a, *exception);
    }
    put_place(a, e.rip, e.base);
    a.hex("tcs", e.tcs).hex("aep", e.aep);
    a.number("cssa", std::uint64_t{e.cssa}).number("cssa_after", std::uint64_t{e.cssa} + 1);
    a.hex("exitinfo", e.exitinfo).text("exitinfo_event", [&](LineBuffer& l) { put_exitinfo(l, e.exitinfo); });
  });
}

void put(Elements& to, const Instruction& e) {
  const auto name = [&](LineBuffer& l) {
    if (e.text.empty()) {
      put_bytes(l, e.code);
    } else {
      l.text(e.text);
    }
  };
  to.instant("instruction", name, [&](JsonObject& a) {
    put_place(a, e.rip, e.base);
    const std::pair<std::string_view, const std::optional<Symbol>&> names[] = {{"symbol", e.symbol},
                                                                               {"target_symbol", e.target}};
    for (const auto& [name_of, symbol] : names) {
      if (symbol) {
        a.text(name_of,
               [&symbol = symbol](LineBuffer& l) { l.text(symbol->name).text("+").hex(symbol->offset); });
      }
    }
    a.text("bytes", [&](LineBuffer& l) { put_bytes(l, e.code); });
  });
}

void put(Elements& to, const Fixup& e) {
  to.instant(
      "delivery", [&](LineBuffer& l) { l.text("fixup ").text(e.question.design); },
      [&](JsonObject& a) {
        put_members(a, e.question);
        a.hex("goes_on_at", e.rip);
        a.text("receiver", [&](LineBuffer& l) { put_receiver(l, e.receiver); });
      });
}

void put(Elements& to, const PageFault& e) {
  to.slice("kernel", constant("page fault"), [&](JsonObject& a) {
    a.hex("address", e.address).hex("error_code", e.error_code).string("end", page_fault_end(e.how));
  });
}

void put(Elements& to, const Signal& e) {
  const auto name = [&](LineBuffer& l) {
    put_name(l, signal_name(e.signo), static_cast<std::uint32_t>(e.signo));
  };
  to.instant("delivery", name, [&](JsonObject& a) {
    put_members(a, e.question);
    a.text("signal", name).number("signo", std::int64_t{e.signo});
    a.text("si_code", [&](LineBuffer& l) {
      if (const std::string_view code = signal_code_name(e.signo, e.code); !code.empty()) {
        l.text(code);
      } else {
        l.dec(e.code);
      }
    });
    a.hex("si_addr", e.address);
    a.text("receiver", [&](LineBuffer& l) { put_receiver(l, e.receiver); });
  });
}

void put(Elements& to, const Dropped& e) {
  to.instant("delivery", constant("dropped"), [&](JsonObject& a) {
    put_members(a, e.question);
    a.string("receiver", "nobody");
  });
}

void put(Elements& to, const Injected& e) {
  to.instant("injection", constant("injected"),
             [&](JsonObject& a) { a.string("what", e.what).number("at", e.number); });
}

void put(Elements& to, const EpcLoss& e) {
  to.instant("machine", constant("EPC lost"), [&](JsonObject& a) {
    a.hex("enclave", e.base);
    if (e.process != 0) {
      a.number("asked_by", std::int64_t{e.process});
    } else {
      a.string("asked_by", "injection");
    }
  });
}

}  // namespace

void render_json(const Event& event, LineBuffer& out) {
  Elements to(event, out);
  match(event.what, [&](const auto& what) { put(to, what); });
}

void render_thread_name(int process, int thread, std::string_view name, LineBuffer& out) {
  const Event event{process, thread, 0, Fork{}};
  Elements(event, out).metadata("thread_name", [&](JsonObject& a) { a.string("name", name); });
}

}  // namespace enclume::trace
