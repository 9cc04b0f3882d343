// SPDX-License-Identifier: Apache-2.0
// system() and popen(), whose children libc makes by itself with the `environ` that it finds. If a program
// has cleaned that, the shell is told to put the engine's variables back and to begin anew: `environ` is
// other threads', too, and none of it may be seen there.
#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "engine/exec_program.h"
#include "engine/front/handed_mask.h"
#include "engine/front/real.h"
#include "engine/load/exec_vectors.h"

namespace enclume::engine {

namespace {

/// Text on the heap that grows; null once there was no memory.
class Script {
 public:
  Script() = default;
  ~Script() = default;  // release() is the owner's
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;

  Script& text(std::string_view part) {
    if (auto* more = static_cast<char*>(good_ ? std::realloc(text_, size_ + part.size() + 1) : nullptr);
        more != nullptr) {
      text_ = more;
      part.copy(text_ + size_, part.size());
      size_ += part.size();
      text_[size_] = '\0';
    } else {
      good_ = false;
    }
    return *this;
  }

  /// As one word of the shell's.
  Script& quoted(std::string_view part) {
    text("'");
    for (std::size_t quote; (quote = part.find('\'')) != std::string_view::npos;) {
      text(part.substr(0, quote)).text("'\\''");
      part.remove_prefix(quote + 1);
    }
    return text(part).text("'");
  }

  /// For the caller to free.
  [[nodiscard]] char* release() {
    if (!good_) {
      std::free(text_);
      return nullptr;
    }
    return text_;
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  bool good_ = true;
};

/// The command for a shell without our variables that has it executed with them; null if `environ` has them.
char* with_our_variables(const char* command) {
  const ExecSetup& setup = exec_setup();
  const auto needs = measure_for_engine(setup, environ);
  if (!needs || !needs->changes || setup.preload == nullptr || setup.settings == nullptr) {
    return nullptr;
  }
  const VectorStorage storage(nullptr, needs->bytes());
  if (storage.bytes().size() < needs->bytes()) {
    return nullptr;
  }
  VectorWriter writer(setup, storage.bytes(), *needs);
  char* const* entry = writer.environment(environ, *needs);
  if (!writer.good()) {
    return nullptr;
  }
  Script script;
  for (; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    const std::size_t equals = variable.find('=');
    if (variable.starts_with("LD_PRELOAD=") || variable.starts_with("ENCLUME_SETTINGS=")) {
      script.text("export ")
          .text(variable.substr(0, equals + 1))
          .quoted(variable.substr(equals + 1))
          .text("; ");
    }
  }
  return script.text("exec /bin/sh -c ").quoted(command).text(" sh").release();
}

/// What has to be undone when system() ends, or is cancelled.
struct SystemCall {
  char* command;
  std::optional<HandedMask> mask;
};

void end_system(void* raw) {
  auto& call = *static_cast<SystemCall*>(raw);
  call.mask.reset();
  std::free(call.command);
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the exported names below are C's

ENCLUME_EXPORT int system(const char* command) {
  static Real<int(const char*)> real{"system"};
  SystemCall call{command != nullptr ? with_our_variables(command) : nullptr, std::nullopt};
  call.mask.emplace(virtual_mask_of_thread());
  int result;
  pthread_cleanup_push(&end_system, &call);
  result = real(call.command != nullptr ? call.command : command);
  pthread_cleanup_pop(1);
  return result;
}

ENCLUME_EXPORT FILE* popen(const char* command, const char* mode) {
  static Real<FILE*(const char*, const char*)> real{"popen"};
  char* const own = with_our_variables(command);
  FILE* stream;
  {
    const HandedMask mask(virtual_mask_of_thread());
    stream = real(own != nullptr ? own : command, mode);
  }
  const int error = errno;
  std::free(own);
  errno = error;
  return stream;
}
