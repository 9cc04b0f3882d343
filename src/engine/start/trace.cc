// SPDX-License-Identifier: Apache-2.0
#include "engine/start/trace.h"

#include <dlfcn.h>

#include <array>
#include <cstddef>
#include <new>
#include <string_view>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/start/alone.h"
#include "engine/start/message.h"
#include "engine/trace/disassembly.h"
#include "trace/json_sink.h"
#include "trace/text_sink.h"

namespace enclume::engine {

namespace {

/// The one that is wanted begins to exist in here.
template <typename SinkType>
alignas(SinkType) std::byte storage[sizeof(SinkType)];

template <typename SinkType>
bool listen(std::string_view path) {
  auto& sink = *new (storage<SinkType>) SinkType();
  return sink.open(path).has_value() && engine().events.add(sink);
}

}  // namespace

void start_trace(const Settings& settings, const char* program_name) {
  const std::string_view path(settings.trace.data());
  if (path.empty()) {
    return;
  }
  if (!(settings.trace_json ? listen<trace::JsonSink>(path) : listen<trace::TextSink>(path))) {
    warn("cannot open the trace file; this program is not traced");
    return;
  }
  engine().trace_instructions = settings.trace_instructions;
  if (settings.trace_instructions && has_libc()) {
    find_disassembler([](const char* name) { return dlsym(RTLD_DEFAULT, name); });
  }
  std::array<char, 512> executable;
  std::string_view program = program_name != nullptr ? program_name : "?";
  if (program_name == nullptr) {
    const long n =
        sys::raw(__NR_readlink, sys::arg("/proc/self/exe"), sys::arg(executable.data()), executable.size());
    if (n > 0) {
      program = {executable.data(), static_cast<std::size_t>(n)};
    }
  }
  engine().events.emit(trace::Start{program, settings.epc_size, settings.sgx2});
}

}  // namespace enclume::engine
