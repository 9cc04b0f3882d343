// SPDX-License-Identifier: Apache-2.0
#include "engine/start/trace.h"

#include <array>
#include <string_view>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/start/message.h"
#include "trace/json_sink.h"
#include "trace/text_sink.h"

namespace enclume::engine {

namespace {

constinit trace::TextSink text_sink;
constinit trace::JsonSink json_sink;

template <typename SinkType>
bool listen(SinkType& sink, std::string_view path) {
  return sink.open(path).has_value() && engine().events.add(sink);
}

}  // namespace

void start_trace(const Settings& settings) {
  const std::string_view path(settings.trace.data());
  if (path.empty()) {
    return;
  }
  if (!(settings.trace_json ? listen(json_sink, path) : listen(text_sink, path))) {
    warn("cannot open the trace file; this program is not traced");
    return;
  }
  engine().trace_instructions = settings.trace_instructions;
  std::array<char, 512> program;
  const long n =
      sys::raw(__NR_readlink, sys::arg("/proc/self/exe"), sys::arg(program.data()), program.size());
  engine().events.emit(
      trace::Start{n > 0 ? std::string_view(program.data(), static_cast<std::size_t>(n)) : "?",
                   settings.epc_size, settings.sgx2});
}

}  // namespace enclume::engine
