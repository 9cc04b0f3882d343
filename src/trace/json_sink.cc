// SPDX-License-Identifier: Apache-2.0
#include "trace/json_sink.h"

#include <sys/prctl.h>

#include "base/format.h"
#include "base/syscall.h"
#include "trace/render_json.h"

namespace enclume::trace {

bool JsonSink::first_of_thread(int thread) noexcept {
  auto& place = named_[static_cast<std::size_t>(thread) % named_.size()];
  return place.exchange(thread, std::memory_order_relaxed) != thread;
}

void JsonSink::take(const Event& event) noexcept {
  char storage[kMaxJsonText];
  LineBuffer line(storage);
  if (first_of_thread(event.thread)) {
    std::array<char, 17> name{};  // TASK_COMM_LEN is 16
    if (sys::raw(__NR_prctl, PR_GET_NAME, sys::arg(name.data())) == 0) {
      render_thread_name(event.process, event.thread, name.data(), line);
      output_.write(line.view());
      line.clear();
    }
  }
  render_json(event, line);
  if (!line.truncated()) {
    output_.write(line.view());
  }
}

}  // namespace enclume::trace
