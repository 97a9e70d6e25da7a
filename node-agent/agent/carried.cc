// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/carried.h"

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "node-agent/host/file.h"
#include "node-agent/host/json_fields.h"

namespace ullage::agent {
namespace {

using host::Number;
using host::Text;
using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::size_t kFileLimit = 4 << 20;
constexpr std::size_t kMostVms = 4096;
constexpr std::size_t kIdLimit = 64;

std::int64_t SinceBoot(BootTime time) { return time.time_since_epoch().count(); }
BootTime AtBoot(std::int64_t nanoseconds) {
  return BootTime(std::chrono::nanoseconds(nanoseconds));
}

// `gap`: in which nobody watched.
std::optional<Inherited::Vm> FromJson(const json& entry, std::int64_t left_at,
                                      BootTime::duration gap) {
  const auto id = Text(entry, "id");
  const auto cgroup = Number(entry, "cgroup");
  const auto resident = Number(entry, "resident");
  const auto since = Number(entry, "watched_since");
  if (!id || !cgroup || !resident || !since) return std::nullopt;
  if (id->empty() || id->size() > kIdLimit || *since > left_at) return std::nullopt;
  return Inherited::Vm{
      {*id}, static_cast<std::uint64_t>(*cgroup), Bytes(*resident), AtBoot(*since) + gap};
}

Result<std::optional<Inherited>> Parse(const std::string& text, const std::string& boot_id,
                                       BootTime now) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (Number(root, "version") != kVersion) {
    return Error(Code::kInvalid, "nothing that an agent left, or of another version");
  }
  // The clock of another boot is another one.
  if (Text(root, "boot_id") != boot_id) return std::optional<Inherited>();
  const auto left_at = Number(root, "left_at");
  const auto additional = Number(root, "additional");
  const auto granted = Number(root, "granted");
  const auto vms = root.find("vms");
  if (!left_at || !additional || !granted || vms == root.end() || !vms->is_array() ||
      vms->size() > kMostVms || AtBoot(*left_at) > now) {
    return Error(Code::kInvalid, "what an agent left makes no sense");
  }
  if (now - AtBoot(*left_at) >= kInheritedFor) return std::optional<Inherited>();
  Inherited inherited{Bytes(*additional), Bytes(*granted), AtBoot(*left_at) + kInheritedFor, {}};
  for (const json& entry : *vms) {
    auto vm = FromJson(entry, *left_at, now - AtBoot(*left_at));
    if (!vm) return Error(Code::kInvalid, "a VM that an agent left makes no sense");
    inherited.vms.push_back(*std::move(vm));
  }
  return std::optional(std::move(inherited));
}

}  // namespace

Status LeaveCarried(const std::string& file, const std::string& boot_id, const Report& last) {
  if (!last.plan.capacity.terms) return Ok();
  json vms = json::array();
  for (const VmState& vm : last.snapshot.vms) {
    if (!vm.watched_since || !vm.resident || vm.cgroup == 0 || vms.size() == kMostVms) continue;
    vms.push_back({{"id", vm.spec.id.value},
                   {"cgroup", vm.cgroup},
                   {"resident", vm.resident->count()},
                   {"watched_since", SinceBoot(*vm.watched_since)}});
  }
  const json root = {{"version", kVersion},
                     {"boot_id", boot_id},
                     {"left_at", SinceBoot(last.snapshot.at.boot)},
                     {"additional", last.plan.carry.additional.count()},
                     {"granted", last.plan.carry.granted.count()},
                     {"vms", std::move(vms)}};
  const std::string text = root.dump(1, ' ', false, json::error_handler_t::replace);
  return host::ReplaceFile(file, text + "\n", 0600);
}

Result<std::optional<Inherited>> TakeCarried(const std::string& file, const std::string& boot_id,
                                             BootTime now) {
  const auto text = host::ReadFile(file, kFileLimit);
  if (!text && text.error().code() == Code::kGone) return std::optional<Inherited>();
  if (std::remove(file.c_str()) != 0) return host::FromErrno(errno, file);
  if (!text) return text.error();
  auto inherited = Parse(*text, boot_id, now);
  if (!inherited) return inherited.error().In(file);
  return inherited;
}

}  // namespace ullage::agent
