// SPDX-License-Identifier: Apache-2.0
#include "engine/start/trace.h"

#include <array>
#include <string_view>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/start/message.h"
#include "trace/text_sink.h"

namespace enclume::engine {

namespace {

constinit trace::TextSink text_sink;

}  // namespace

void start_trace(const Settings& settings) {
  const std::string_view path(settings.trace.data());
  if (path.empty()) {
    return;
  }
  if (!text_sink.open(path)) {
    warn("cannot open the trace file; this program is not traced");
    return;
  }
  engine().events.add(text_sink);
  std::array<char, 512> program;
  const long n =
      sys::raw(__NR_readlink, sys::arg("/proc/self/exe"), sys::arg(program.data()), program.size());
  engine().events.emit(
      trace::Start{n > 0 ? std::string_view(program.data(), static_cast<std::size_t>(n)) : "?",
                   settings.epc_size, settings.sgx2});
}

}  // namespace enclume::engine
