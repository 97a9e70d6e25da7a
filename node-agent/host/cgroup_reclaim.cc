// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/cgroup_reclaim.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/interrupted_write.h"
#include "node-agent/model/time.h"

namespace ullage::host {
namespace {

constexpr seconds kLongest{1};

Result<Fd> OpenToWrite(const std::string& path) {
  Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return FromErrno(errno, path);
  return file;
}

// EAGAIN: less was reclaimed than asked for.
Status ByAmount(const std::string& path, Bytes amount) {
  const auto file = OpenToWrite(path);
  if (!file) return file.error();
  const std::string text = std::to_string(amount.count());
  if (write(file->get(), text.data(), text.size()) >= 0 || errno == EAGAIN) return Ok();
  return FromErrno(errno, path);
}

Status Downto(const std::string& path, const MemoryCgroup& group, Bytes least) {
  const auto file = OpenToWrite(path);
  if (!file) return file.error();
  const auto until = std::chrono::steady_clock::now() + kLongest;
  const auto enough = [&] {
    const auto now = group.Usage();
    return !now || *now <= least || std::chrono::steady_clock::now() >= until;
  };
  const int error = WriteUntil(file->get(), "0", enough);
  if (error != 0 && error != EINTR) return FromErrno(error, path);
  return Ok();
}

}  // namespace

Result<Bytes> ReclaimFrom(const std::string& path, Bytes amount) {
  const auto group = MemoryCgroup::Open(path);
  if (!group) return group.error();
  const auto before = group->Usage();
  if (!before) return before.error();
  const Status taken = group->version() == MemoryCgroup::Version::kV2
                           ? ByAmount(path + "/memory.reclaim", amount)
                           : Downto(path + "/memory.force_empty", *group, *before - amount);
  if (!taken) return taken.error();
  const auto after = group->Usage();
  if (!after) return after.error();
  return std::max(*before - *after, Bytes());
}

}  // namespace ullage::host
