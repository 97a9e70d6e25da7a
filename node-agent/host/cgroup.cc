// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <limits>

#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

constexpr std::size_t kValueLimit = 64;
constexpr std::size_t kStatLimit = 64 << 10;
constexpr const char* kV2Usage = "memory.current";
constexpr const char* kV1Usage = "memory.usage_in_bytes";

Bytes ToBytes(std::uint64_t n) {
  constexpr auto kMax = static_cast<std::uint64_t>(Bytes::Max().count());
  return Bytes(static_cast<std::int64_t>(n > kMax ? kMax : n));
}

bool Has(const Fd& folder, const char* name) { return faccessat(folder.get(), name, F_OK, 0) == 0; }

std::string Join(const std::string& root, std::string_view path) {
  std::string joined = root;
  if (!path.starts_with('/')) joined += '/';
  joined += path;
  while (joined.size() > 1 && joined.ends_with('/')) joined.pop_back();
  return joined;
}

bool HasMemory(const std::string& path) {
  return access((path + '/' + kV2Usage).c_str(), F_OK) == 0 ||
         access((path + '/' + kV1Usage).c_str(), F_OK) == 0;
}

bool NamesMemory(std::string_view controllers) {
  while (!controllers.empty()) {
    if (TakeUntil(controllers, ',') == "memory") return true;
  }
  return false;
}

}  // namespace

Result<MemoryCgroup> MemoryCgroup::Open(const std::string& path) {
  auto folder = OpenDirectory(path);
  if (!folder) return folder.error();
  const auto inode = Inode(*folder);
  if (!inode) return inode.error().In(Printable(path));
  const bool v2 = Has(*folder, kV2Usage);
  if (!v2 && !Has(*folder, kV1Usage)) {
    return Error(Code::kInvalid, Printable(path) +
                                     ": no memory accounting (neither memory.current nor "
                                     "memory.usage_in_bytes)");
  }
  const char* name = v2 ? kV2Usage : kV1Usage;
  auto usage = KeptFile::OpenAt(folder->get(), name);
  if (!usage) return usage.error().In(Printable(path));
  return MemoryCgroup(std::move(*folder), *std::move(usage), path, v2 ? Version::kV2 : Version::kV1,
                      *inode);
}

Result<std::optional<Bytes>> MemoryCgroup::ReadOptional(const char* name) const {
  auto text = ReadFileAt(folder_.get(), name, kValueLimit);
  if (!text) {
    // A cgroup that is gone has no files at all; one that lives may lack this one.
    if (text.error().code() == Code::kGone && Has(folder_, "cgroup.procs")) {
      return std::optional<Bytes>();
    }
    return text.error().In(Printable(path_));
  }
  auto value = ParseLimit(*text);
  if (!value) return value.error().In(name).In(Printable(path_));
  return value;
}

Result<Bytes> MemoryCgroup::Usage() const {
  const char* name = version_ == Version::kV2 ? kV2Usage : kV1Usage;
  char buffer[kValueLimit + 1];
  const auto text = usage_.Read(buffer, name);
  if (!text) return text.error().In(Printable(path_));
  const auto value = ParseUnsigned(*text);
  if (!value) {
    return Error(Code::kInvalid,
                 Printable(path_) + ": " + name + ": not a number: " + Printable(*text, 32));
  }
  return ToBytes(*value);
}

Result<std::optional<Bytes>> MemoryCgroup::Peak() const {
  return ReadOptional(version_ == Version::kV2 ? "memory.peak" : "memory.max_usage_in_bytes");
}

Result<std::optional<Bytes>> MemoryCgroup::Swap() const {
  if (version_ == Version::kV2) return Swap(Bytes());
  const auto usage = Usage();
  if (!usage) return usage.error();
  return Swap(*usage);
}

Result<std::optional<Bytes>> MemoryCgroup::Swap(Bytes usage) const {
  if (version_ == Version::kV2) return ReadOptional("memory.swap.current");
  auto both = ReadOptional("memory.memsw.usage_in_bytes");
  if (!both || !*both) return both;
  // Two files are two moments: a charge between them must not show as negative swap.
  return std::optional(std::max(**both - usage, Bytes()));
}

Result<std::optional<Bytes>> MemoryCgroup::Limit() const {
  auto limit = ReadOptional(version_ == Version::kV2 ? "memory.max" : "memory.limit_in_bytes");
  // v1 writes "no limit" as the largest page-aligned number.
  constexpr Bytes kV1NoLimit = Bytes::Max().FloorTo(Bytes::MiB(1));
  if (limit.ok() && *limit && **limit >= kV1NoLimit) return std::optional<Bytes>();
  return limit;
}

Result<std::optional<Bytes>> MemoryCgroup::SoftLimit() const {
  return version_ == Version::kV2 ? ReadOptional("memory.high") : Limit();
}

Result<std::optional<Bytes>> MemoryCgroup::SwapLimit() const {
  if (version_ == Version::kV1) return std::optional<Bytes>();
  return ReadOptional("memory.swap.max");
}

Result<MemoryCgroup::Faults> MemoryCgroup::ReadFaults() const {
  const auto text = ReadFileAt(folder_.get(), "memory.stat", kStatLimit);
  if (!text) return text.error().In(Printable(path_));
  const std::string prefix = version_ == Version::kV2 ? "" : "total_";
  const auto count = [&](const char* key) -> Result<std::optional<std::uint64_t>> {
    const auto value = ParseKeyed(*text, prefix + key);
    if (value) return std::optional(static_cast<std::uint64_t>(value->count()));
    if (value.error().code() == Code::kNotFound) return std::optional<std::uint64_t>();
    return value.error().In("memory.stat").In(Printable(path_));
  };
  const auto major = count("pgmajfault");
  if (!major) return major.error();
  const auto refaults = count("workingset_refault_anon");
  if (!refaults) return refaults.error();
  return Faults{*major, *refaults};
}

Result<std::string> MemoryCgroup::Pressure() const {
  return ReadFileAt(folder_.get(), "memory.pressure", kStatLimit);
}

Result<Bytes> MemoryCgroup::Cache() const {
  const auto text = ReadFileAt(folder_.get(), "memory.stat", kStatLimit);
  if (!text) return text.error().In(Printable(path_));
  const std::string prefix = version_ == Version::kV2 ? "" : "total_";
  Bytes cache;
  for (const char* key : {"active_file", "inactive_file"}) {
    const auto value = ParseKeyed(*text, prefix + key);
    if (!value) return value.error().In("memory.stat").In(Printable(path_));
    cache += *value;
  }
  if (version_ == Version::kV1) return cache;  // v1 does not say
  const auto slab = ParseKeyed(*text, "slab_reclaimable");
  return slab ? cache + *slab : cache;
}

Result<Bytes> MemoryCgroup::InactiveFile() const {
  auto text = ReadFileAt(folder_.get(), "memory.stat", kStatLimit);
  if (!text) return text.error().In(Printable(path_));
  const char* key = version_ == Version::kV2 ? "inactive_file" : "total_inactive_file";
  return ParseKeyed(*text, key).In("memory.stat").In(Printable(path_));
}

Result<CgroupLine> ParseProcCgroup(std::string_view text) {
  CgroupLine unified;
  while (!text.empty()) {
    std::string_view line = TakeUntil(text, '\n');
    const std::string_view hierarchy = TakeUntil(line, ':');
    const std::string_view controllers = TakeUntil(line, ':');
    // No path holds a NUL, and opening one would stop there.
    if (!line.starts_with('/') || line.find('\0') != std::string_view::npos) continue;
    if (NamesMemory(controllers)) return CgroupLine{std::string(line), true};
    if (hierarchy == "0" && controllers.empty()) unified.path = line;
  }
  if (unified.path.empty()) return Error(Code::kInvalid, "neither a memory line nor a 0:: line");
  return unified;
}

Result<std::string> ResolveCgroup(std::string_view base, std::string_view path) {
  const auto invalid = [&](const char* why) {
    return Error(Code::kInvalid, std::string(why) + ": " + Printable(path, 128));
  };
  std::string resolved(base == "/" ? "" : base);
  if (!path.starts_with('/') || (path.size() > 1 && path.ends_with('/'))) {
    return invalid("no path of a cgroup");
  }
  bool down = false;
  for (std::string_view rest = path.substr(1); !rest.empty();) {
    const std::string_view name = TakeUntil(rest, '/');
    if (name == "..") {
      if (down) return invalid("a way up after a way down");
      if (resolved.empty()) return invalid("lies outside this cgroup namespace");
      resolved.resize(resolved.rfind('/'));
    } else if (name.empty() || name == ".") {
      return invalid("no path of a cgroup");
    } else {
      down = true;
      resolved.append("/").append(name);
    }
  }
  return resolved.empty() ? "/" : resolved;
}

Result<CgroupLine> LocateCgroup(const Roots& roots, std::string_view text) {
  auto line = ParseProcCgroup(text);
  if (!line) return line;
  auto path = ResolveCgroup(roots.cgroup_namespace, line->path);
  if (!path) return path.error();
  return CgroupLine{*std::move(path), line->v1};
}

std::string MemoryRoot(const Roots& roots, bool v1) {
  if (v1) return roots.cgroup + "/memory";
  const std::string unified = roots.cgroup + "/unified";
  return access((unified + "/cgroup.procs").c_str(), F_OK) == 0 ? unified : roots.cgroup;
}

Result<std::string> MemoryCgroupAt(const Roots& roots, const CgroupLine& cgroup) {
  const std::string root = MemoryRoot(roots, cgroup.v1);
  std::string path = Join(root, cgroup.path);
  // Up only from a folder that is there: one that vanished meanwhile, or may not be looked into,
  // must not be answered by its parent, which charges everybody.
  while (path.size() > root.size()) {
    const auto folder = OpenDirectory(path);
    if (!folder) return folder.error();
    if (HasMemory(path)) return path;
    path.resize(path.rfind('/'));
  }
  return Error(Code::kInvalid, "no memory cgroup of its own below " + root);
}

std::string ProcCgroup(const Roots& roots, std::int32_t pid) {
  return roots.proc + "/" + std::to_string(pid) + "/cgroup";
}

Result<CgroupLine> CgroupOf(const Roots& roots, std::int32_t pid) {
  const std::string file = ProcCgroup(roots, pid);
  const auto text = ReadFile(file, kStatLimit);
  if (!text) return text.error();
  return LocateCgroup(roots, *text).In(file);
}

Result<std::string> MemoryCgroupOf(const Roots& roots, std::int32_t pid) {
  const auto cgroup = CgroupOf(roots, pid);
  if (!cgroup) return cgroup.error();
  return MemoryCgroupAt(roots, *cgroup).In(ProcCgroup(roots, pid));
}

Result<std::vector<std::int32_t>> ParseMembers(std::string_view text) {
  std::vector<std::int32_t> pids;
  while (!text.empty()) {
    const std::string_view line = TakeUntil(text, '\n');
    const auto pid = ParseUnsigned(line);
    if (!pid || *pid > std::numeric_limits<std::int32_t>::max()) {
      return Error(Code::kInvalid, "not a pid: " + Printable(line, 32));
    }
    // v2 writes 0 for a process of a pid namespace that the reader does not see.
    if (*pid != 0) pids.push_back(static_cast<std::int32_t>(*pid));
  }
  return pids;
}

Result<std::vector<std::int32_t>> CgroupMembers(const std::string& path) {
  const std::string file = path + "/cgroup.procs";
  const auto text = ReadFile(file, kStatLimit);
  if (!text) return text.error();
  return ParseMembers(*text).In(Printable(file));
}

Result<std::optional<Bytes>> ParseLimit(std::string_view text) {
  if (text == "max\n" || text == "max") return std::optional<Bytes>();
  const auto value = ParseUnsigned(text);
  if (!value) return Error(Code::kInvalid, "not a number: " + Printable(text, 32));
  return std::optional(ToBytes(*value));
}

Result<Bytes> ParseKeyed(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view line = TakeUntil(text, '\n');
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    if (line.starts_with(':')) line.remove_prefix(1);
    if (!line.starts_with(' ')) continue;  // a longer key that begins the same
    line.remove_prefix(line.find_first_not_of(' ') == std::string_view::npos
                           ? line.size()
                           : line.find_first_not_of(' '));
    const bool kib = line.ends_with(" kB");
    if (kib) line.remove_suffix(3);
    const auto value = ParseUnsigned(line);
    if (!value) return Error(Code::kInvalid, std::string(key) + ": not a number");
    return kib ? Bytes::KiB(ToBytes(*value).count()) : ToBytes(*value);
  }
  return Error(Code::kNotFound, "no line " + std::string(key));
}

}  // namespace ullage::host
