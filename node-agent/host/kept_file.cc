// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/kept_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>

namespace ullage::host {
namespace {

// Whether reading says by itself that a file was removed. Elsewhere, as in a plain folder that
// stands for one of the kernel's, an open file can be read for ever.
bool EndsWithItsName(const Fd& file) {
  struct statfs status {};
  if (fstatfs(file.get(), &status) != 0) return false;
  return status.f_type == PROC_SUPER_MAGIC || status.f_type == CGROUP_SUPER_MAGIC ||
         status.f_type == CGROUP2_SUPER_MAGIC;
}

}  // namespace

Result<KeptFile> KeptFile::OpenAt(int directory, const char* name) {
  Fd file(openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return FromErrno(errno, name);
  const bool outlives = !EndsWithItsName(file);
  return KeptFile(std::move(file), outlives);
}

Result<std::string_view> KeptFile::Read(std::span<char> buffer, std::string_view what) const {
  ssize_t got = 0;
  do {
    got = pread(file_.get(), buffer.data(), buffer.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return FromErrno(errno, what);
  if (outlives_its_name_) {
    struct stat status {};
    if (fstat(file_.get(), &status) == 0 && status.st_nlink == 0) return FromErrno(ENOENT, what);
  }
  const auto size = static_cast<std::size_t>(got);
  if (size >= buffer.size()) {
    return Error(Code::kInvalid, std::string(what) + ": longer than " +
                                     std::to_string(buffer.size() - 1) + " bytes");
  }
  return std::string_view(buffer.data(), size);
}

Result<std::string_view> ReadKept(std::optional<KeptFile>& kept, const std::string& path,
                                  std::span<char> buffer) {
  if (kept) {
    if (auto text = kept->Read(buffer, path)) return text;
    kept.reset();
  }
  auto opened = KeptFile::OpenAt(AT_FDCWD, path.c_str());
  if (!opened) return opened.error();
  kept = *std::move(opened);
  return kept->Read(buffer, path);
}

}  // namespace ullage::host
