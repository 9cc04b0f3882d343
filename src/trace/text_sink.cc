// SPDX-License-Identifier: Apache-2.0
#include "trace/text_sink.h"

#include "base/format.h"
#include "trace/render.h"

namespace enclume::trace {

void TextSink::take(const Event& event) noexcept {
  // The longest line is an INIT, a third of this, or the start of a program with a long path, which is cut.
  char storage[1024];
  LineBuffer line({storage, sizeof(storage) - 1});
  render(event, line);
  const std::size_t size = line.view().size();
  storage[size] = '\n';
  output_.write({storage, size + 1});
}

}  // namespace enclume::trace
