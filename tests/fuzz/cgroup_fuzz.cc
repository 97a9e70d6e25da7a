// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of the kernel's: /proc/PID/cgroup, memory.stat, a limit.
#include "node-agent/host/cgroup.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

// A process whose cgroup file says anything, in a tree of which every folder has accounting.
class Tree {
 public:
  Tree() {
    folder_.Write("cgroup/memory/memory.usage_in_bytes", "0\n");
    folder_.Write("cgroup/memory/a/memory.usage_in_bytes", "0\n");
    folder_.Write("cgroup/unified/cgroup.procs", "");
    folder_.Write("cgroup/unified/memory.current", "0\n");
    folder_.Write("cgroup/memory.current", "0\n");  // a way out would lead here
    folder_.Write("memory.current", "0\n");
    roots_ = {folder_ / "proc", folder_ / "cgroup"};
  }
  void Find(std::string_view text) const {
    folder_.Write("proc/1/cgroup", text);
    for (const char* base : {"/", "/a"}) From(base);
  }

 private:
  void From(const char* base) const {
    host::Roots roots = roots_;
    roots.cgroup_namespace = base;
    const auto path = host::MemoryCgroupOf(roots, 1);
    if (!path) return Require(IsShowable(path.error().message()), "an error can be shown");
    const auto clean = std::filesystem::path(path->c_str()).lexically_normal().string();
    Require(clean.starts_with(roots_.cgroup + "/memory") ||
                clean.starts_with(roots_.cgroup + "/unified"),
            "a path stays below its hierarchy");
  }

  Folder folder_;
  host::Roots roots_;
};

void Keyed(std::string_view text, std::string_view key) {
  const auto value = host::ParseKeyed(text, key);
  Require(!value || *value >= Bytes(0), "no figure is negative");
  Require(value || IsShowable(value.error().message()), "an error can be shown");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  static const fuzz::Tree tree;
  std::string_view text = fuzz::View(data, size);
  switch (fuzz::TakeByte(text) % 4) {
    case 0: {
      const auto line = host::ParseProcCgroup(text);
      if (line) {
        fuzz::Require(line->path.starts_with('/'), "a path is absolute");
        fuzz::Require(line->path.find('\n') == std::string::npos, "and one line");
      }
      break;
    }
    case 1:
      tree.Find(text);
      break;
    case 2:
      for (const char* key : {"inactive_file", "MemTotal", "MemAvailable"}) fuzz::Keyed(text, key);
      break;
    default: {
      const auto limit = host::ParseLimit(text);
      const auto number = host::ParseUnsigned(text);
      fuzz::Require(limit.ok() == (number || text == "max" || text == "max\n"), "digits or max");
      fuzz::Require(!limit || !*limit || **limit >= Bytes(0), "no limit is negative");
      fuzz::Require(limit || fuzz::IsShowable(limit.error().message()), "an error can be shown");
    }
  }
  return 0;
}
