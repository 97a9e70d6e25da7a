// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/history_file.h"

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "node-agent/host/file.h"
#include "node-agent/host/json_fields.h"

namespace ullage::agent {
namespace {

using host::Count;
using host::Number;
using nlohmann::json;
using policy::Histories;
using policy::VmHistory;

constexpr int kVersion = 1;
constexpr std::size_t kFileLimit = 16 << 20;
constexpr std::size_t kIdLimit = 64;
// Weights of one each, decayed: no sum of them comes near.
constexpr double kMostWeight = 1e6;
constexpr std::int64_t kMostSeconds = std::int64_t{100} * 365 * 86400;
constexpr double kWidest = 3;

// FNV-1a: finds what a disk or an editor did to the file. It is no protection from an attacker, who
// would need the agent's own rights to write here.
std::uint64_t Checksum(std::string_view text) {
  std::uint64_t sum = 14695981039346656037U;
  for (const char c : text) {
    sum ^= static_cast<unsigned char>(c);
    sum *= 1099511628211U;
  }
  return sum;
}

std::optional<double> Real(const json& value, double most) {
  if (!value.is_number()) return std::nullopt;
  const auto real = value.get<double>();
  if (!std::isfinite(real) || real < 0 || real > most) return std::nullopt;
  return real;
}

json ToJson(const VmHistory& history) {
  json weights = json::object();  // most buckets are empty
  const auto& all = history.growth.weights();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] > 0) weights[std::to_string(i)] = all[i];
  }
  return {{"cgroup", history.cgroup},
          {"seen_at", std::max<std::int64_t>(0, history.seen_at.time_since_epoch().count())},
          {"observed", history.observed.count()},
          {"held", history.held.count()},
          {"taken", history.reclaimed_a_slot.count()},
          {"growth", std::move(weights)}};
}

std::optional<VmHistory> FromJson(const json& entry, BootTime now) {
  const auto cgroup = Count(entry, "cgroup");
  const auto seen_at = Number(entry, "seen_at");
  const auto observed = Number(entry, "observed");
  const auto held = Number(entry, "held");
  const auto taken = Number(entry, "taken");
  if (!cgroup || !seen_at || !observed || !held || !taken) return std::nullopt;
  VmHistory history;
  history.cgroup = *cgroup;
  history.seen_at = BootTime(std::chrono::nanoseconds(*seen_at));
  if (*observed > kMostSeconds || history.seen_at > now) return std::nullopt;
  history.observed = seconds(*observed);
  history.held = Bytes(*held);
  history.reclaimed_a_slot = Bytes(*taken);
  const auto growth = entry.find("growth");
  if (growth == entry.end() || !growth->is_object() || growth->size() > policy::kBuckets) {
    return std::nullopt;
  }
  policy::GrowthHistogram::Weights weights{};
  std::size_t known = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto weight = growth->find(std::to_string(i));
    if (weight == growth->end()) continue;
    const auto value = Real(*weight, kMostWeight);
    if (!value) return std::nullopt;
    weights[i] = static_cast<float>(*value);
    ++known;
  }
  if (known != growth->size()) return std::nullopt;
  history.growth.Set(weights);
  return history;
}

json ToJson(const policy::TogetherHistory& together) {
  json hours = json::array();
  for (const auto& hour : together.hours()) {
    hours.push_back(
        {{"number", hour.number}, {"rise", hour.rise.value}, {"high", hour.high.value}});
  }
  return {{"observed", together.observed().count()}, {"hours", std::move(hours)}};
}

std::optional<policy::TogetherHistory> TogetherFrom(const json& entry, BootTime now) {
  const auto observed = Number(entry, "observed");
  const auto hours = entry.is_object() ? entry.find("hours") : entry.end();
  policy::TogetherHistory::Hours all{};
  if (!observed || *observed > kMostSeconds || hours == entry.end() || !hours->is_array() ||
      hours->size() != all.size()) {
    return std::nullopt;
  }
  const auto this_hour = std::chrono::duration_cast<std::chrono::hours>(now.time_since_epoch());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto number = Number((*hours)[i], "number");
    const auto rise = Number((*hours)[i], "rise");
    const auto high = Number((*hours)[i], "high");
    if (!number || *number > this_hour.count() || !rise || *rise > 10000 || !high ||
        *high > 10000) {
      return std::nullopt;
    }
    all[i] = {static_cast<std::uint64_t>(*number), Permyriad{*rise}, Permyriad{*high}};
  }
  policy::TogetherHistory together;
  together.Set(all, seconds(*observed));
  return together;
}

struct Kept {
  Histories::Vms vms;
  policy::TogetherHistory together;
  PromiseAudit audit;
  seconds horizon{};
};

Result<std::optional<Kept>> Parse(std::string_view text, const std::string& boot_id, BootTime now) {
  const Error wrong(Code::kInvalid, "no histories, or of another version");
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return wrong;
  const std::string_view body = text.substr(end + 1);
  if (text.substr(0, end) != std::to_string(Checksum(body))) {
    return Error(Code::kInvalid, "the checksum of the histories is not theirs");
  }
  const json root = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (Number(root, "version") != kVersion) return wrong;
  const auto boot = root.find("boot_id");
  if (boot == root.end() || !boot->is_string()) return wrong;
  if (boot->get_ref<const std::string&>() != boot_id) return std::optional<Kept>();
  const auto horizon = Number(root, "horizon");
  const auto windows = Number(root, "windows");
  const auto broken = Number(root, "broken");
  const auto width = root.contains("width") ? Real(root["width"], kWidest) : std::nullopt;
  const auto vms = root.find("vms");
  if (!horizon || *horizon > kMostSeconds || !windows || !broken || *broken > *windows || !width ||
      vms == root.end() || !vms->is_object() || vms->size() > Histories::kMostVms) {
    return Error(Code::kInvalid, "the histories make no sense");
  }
  Kept kept;
  kept.horizon = seconds(*horizon);
  kept.audit = {static_cast<std::uint64_t>(*windows), static_cast<std::uint64_t>(*broken), *width};
  // One of a version without it: the sum begins anew, and until then each VM counts by itself.
  if (const auto entry = root.find("together"); entry != root.end()) {
    const auto together = TogetherFrom(*entry, now);
    if (!together) return Error(Code::kInvalid, "what the VMs did together makes no sense");
    kept.together = *together;
  }
  for (const auto& [id, entry] : vms->items()) {
    auto history = FromJson(entry, now);
    if (!history || id.empty() || id.size() > kIdLimit) {
      return Error(Code::kInvalid, "a VM's history makes no sense");
    }
    kept.vms.emplace(VmId{id}, *history);
  }
  return std::optional(std::move(kept));
}

}  // namespace

Status HistoryFile::Restore(policy::Histories& histories, BootTime now) const {
  const auto text = host::ReadFile(file_, kFileLimit);
  if (!text) {
    if (text.error().code() == Code::kGone) return Ok();
    return text.error();
  }
  auto kept = Parse(*text, boot_id_, now);
  if (!kept) return kept.error().In(file_);
  if (*kept) {
    histories.Restore(std::move((*kept)->vms), (*kept)->together, (*kept)->audit, (*kept)->horizon);
  }
  return Ok();
}

Status HistoryFile::Keep(const policy::Histories& histories, BootTime now) {
  if (written_at_ == BootTime{}) written_at_ = now;
  if (now - written_at_ < kHistoryEvery) return Ok();
  written_at_ = now;  // also where it fails: a full disk is no reason to try each second
  return Write(histories);
}

Status HistoryFile::Write(const policy::Histories& histories) const {
  json vms = json::object();
  for (const auto& [id, history] : histories.vms()) {
    if (history.cgroup == 0 || id.value.size() > kIdLimit) continue;
    vms[id.value] = ToJson(history);
  }
  const PromiseAudit& audit = histories.audit();
  const json root = {{"version", kVersion},
                     {"boot_id", boot_id_},
                     {"horizon", histories.horizon().count()},
                     {"windows", audit.windows},
                     {"broken", audit.broken},
                     {"width", audit.width},
                     {"together", ToJson(histories.together())},
                     {"vms", std::move(vms)}};
  const std::string body = root.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return host::ReplaceFile(file_, std::to_string(Checksum(body)) + "\n" + body, 0600);
}

}  // namespace ullage::agent
