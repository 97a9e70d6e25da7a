// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/host_memory.h"

#include <algorithm>

#include "node-agent/host/text.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kLimit = 16 << 10;

}  // namespace

Result<Permyriad> ParsePressure(std::string_view text) {
  constexpr std::string_view kPrefix = "some avg10=";
  if (!text.starts_with(kPrefix)) return Error(Code::kNotFound, "no \"some\" line");
  text.remove_prefix(kPrefix.size());
  std::string_view number = host::TakeUntil(text, ' ');
  const auto percent = host::ParseUnsigned(host::TakeUntil(number, '.'));
  const auto hundredth = host::ParseUnsigned(number);
  const bool two = number.size() == 2 && !number.ends_with('\n');
  if (!percent || !hundredth || !two || *percent > 100 || *percent * 100 + *hundredth > 10000) {
    return Error(Code::kInvalid, "avg10 is no percentage with two decimals");
  }
  return Permyriad{static_cast<std::int64_t>(*percent * 100 + *hundredth)};
}

HostSample HostMemory::Read() {
  HostSample sample;
  Status status = ReadMachine(sample);
  // The kubelet goes by the machine's own figures.
  if (status.ok() && kubelet_) kubelet_->Read(sample);
  if (status.ok() && !cgroup_path_.empty()) status = ReadCgroup(sample);
  if (!status) {
    // Half a picture would let the machine's larger figures stand for the cgroup's.
    sample = {};
    sample.fault = status.error().In("host memory").message();
  }
  const auto pressure = host::ReadFile(roots_.proc + "/pressure/memory", kLimit);
  if (pressure.ok()) {
    if (const auto some = ParsePressure(*pressure); some.ok()) sample.pressure_some_avg10 = *some;
  }
  return sample;
}

std::optional<Bytes> HostMemory::Available() {
  HostSample sample;
  if (!ReadMachine(sample)) return std::nullopt;
  if (!cgroup_path_.empty() && !ReadCgroup(sample)) return std::nullopt;
  return sample.available;
}

Status HostMemory::ReadMachine(HostSample& sample) {
  const std::string file = roots_.proc + "/meminfo";
  char buffer[kLimit];
  const auto text = host::ReadKept(meminfo_, file, buffer);
  if (!text) return text.error();
  const auto total = host::ParseKeyed(*text, "MemTotal");
  if (!total) return total.error().In(file);
  const auto available = host::ParseKeyed(*text, "MemAvailable");
  if (!available) return available.error().In(file);
  const auto free = host::ParseKeyed(*text, "MemFree");
  if (!free) return free.error().In(file);
  sample.total = *total;
  sample.available = *available;
  sample.free = *free;
  // Kernels without swap have no such lines.
  const auto swap_total = host::ParseKeyed(*text, "SwapTotal");
  const auto swap_free = host::ParseKeyed(*text, "SwapFree");
  if (swap_total && swap_free) {
    sample.swap_total = *swap_total;
    sample.swap_free = std::min(*swap_free, *swap_total);
  }
  return Ok();
}

Status HostMemory::ReadCgroup(HostSample& sample) {
  if (!cgroup_) {
    auto opened = host::MemoryCgroup::Open(cgroup_path_);
    if (!opened) return opened.error();
    cgroup_ = std::move(*opened);
  }
  const auto read = [&]() -> Status {
    const auto limit = cgroup_->Limit();
    if (!limit) return limit.error();
    if (!*limit) return Ok();  // unbounded: the machine is the bound
    const auto usage = cgroup_->Usage();
    if (!usage) return usage.error();
    const auto cache = cgroup_->InactiveFile();
    if (!cache) return cache.error();
    const Bytes left = **limit - *usage;
    sample.total = std::min(*sample.total, **limit);
    sample.available = std::min(*sample.available, left + *cache);
    sample.free = std::min(*sample.free, left);
    return Ok();
  };
  Status status = read();
  if (!status) cgroup_.reset();  // it may have been made anew
  return status;
}

}  // namespace ullage::sources
