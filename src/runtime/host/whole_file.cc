// SPDX-License-Identifier: Apache-2.0
#include "runtime/host/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace enclume::host {

namespace {

struct OpenFile {
  explicit OpenFile(const char* path) : fd(open(path, O_RDONLY | O_CLOEXEC)) {}
  ~OpenFile() {
    if (fd >= 0) close(fd);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  const int fd;
};

}  // namespace

int read_whole_file(const char* path, std::vector<char>& contents) {
  constexpr off_t kLeast = 4096, kMost = off_t{16} << 20;
  // Some files have no end.
  constexpr std::size_t kLimit = std::size_t{1} << 30;
  const OpenFile file(path);
  if (file.fd < 0) return errno;
  struct stat about {};
  const bool has_size = fstat(file.fd, &about) == 0;
  // One more than the file has, so that its end is seen by the same read.
  contents.resize(static_cast<std::size_t>(std::clamp(has_size ? about.st_size + 1 : 0, kLeast, kMost)));
  std::size_t done = 0;
  int error = 0;
  for (;;) {
    if (done >= kLimit) {
      error = EFBIG;
      break;
    }
    if (done == contents.size()) contents.resize(2 * done);
    const ssize_t n = read(file.fd, contents.data() + done, contents.size() - done);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0 || errno != EINTR) {
      error = n == 0 ? 0 : errno;
      break;
    }
  }
  contents.resize(done);
  return error;
}

}  // namespace enclume::host
