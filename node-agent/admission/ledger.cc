// SPDX-License-Identifier: Apache-2.0
#include "node-agent/admission/ledger.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "node-agent/host/json_fields.h"
#include "node-agent/host/text.h"

namespace ullage::admission {
namespace {

using host::Number;
using host::Text;
using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::size_t kFileLimit = 4 << 20;
constexpr std::size_t kMostEntries = 4096;
constexpr std::uint32_t kMostVcpus = 4096;
// The clock counts nanoseconds: later seconds than these are beyond it.
constexpr std::int64_t kLatest =
    std::chrono::duration_cast<seconds>(WallTime::max().time_since_epoch()).count();

json ToJson(const Grant& grant) {
  const auto since = grant.since.time_since_epoch();
  return {{"uuid", grant.spec.id.value},
          {"name", grant.spec.name},
          {"guest_memory", grant.spec.guest_memory.count()},
          {"vcpus", grant.spec.vcpus},
          {"placement", Name(grant.spec.placement)},
          {"reclaim", Name(grant.spec.reclaim)},
          {"ordinary", grant.ordinary.count()},
          {"reclaimed", grant.reclaimed.count()},
          {"since", std::chrono::duration_cast<seconds>(since).count()}};
}

std::optional<Grant> FromJson(const json& entry) {
  if (!entry.is_object()) return std::nullopt;
  const auto uuid = Text(entry, "uuid");
  const auto name = Text(entry, "name");
  const auto placement = Text(entry, "placement");
  const auto reclaim = Text(entry, "reclaim");
  const auto memory = Number(entry, "guest_memory");
  const auto vcpus = Number(entry, "vcpus");
  const auto ordinary = Number(entry, "ordinary");
  const auto reclaimed = Number(entry, "reclaimed");
  const auto since = Number(entry, "since");
  if (!uuid || !name || !placement || !reclaim || !memory || !vcpus || !ordinary || !reclaimed ||
      !since || uuid->empty() || *vcpus > kMostVcpus || *since > kLatest) {
    return std::nullopt;
  }
  Grant grant;
  grant.spec.id.value = *uuid;
  grant.spec.name = host::Printable(*name);
  grant.spec.guest_memory = Bytes(*memory);
  grant.spec.vcpus = static_cast<std::uint32_t>(*vcpus);
  grant.spec.placement =
      *placement == Name(Placement::kReclaimed) ? Placement::kReclaimed : Placement::kStandard;
  grant.spec.reclaim = *reclaim == Name(Reclaim::kOff)      ? Reclaim::kOff
                       : *reclaim == Name(Reclaim::kHybrid) ? Reclaim::kHybrid
                                                            : Reclaim::kHints;
  grant.ordinary = Bytes(*ordinary);
  grant.reclaimed = Bytes(*reclaimed);
  grant.since = WallTime(seconds(*since));
  return grant;
}

}  // namespace

Result<std::unique_ptr<Ledger>> Ledger::Open(std::string file, std::string boot_id) {
  std::unique_ptr<Ledger> ledger(new Ledger(std::move(file), std::move(boot_id)));
  const std::string& path = ledger->file_;
  if (auto made = host::MakeDirectories(path.substr(0, path.rfind('/')), 0755); !made) {
    return made.error().In("state folder");
  }
  auto lock = host::LockFile(path + ".lock");
  if (!lock) return lock.error();
  ledger->lock_ = std::move(*lock);
  const auto text = host::ReadFile(path, kFileLimit);
  if (text.ok()) {
    if (const Status loaded = ledger->Load(*text); !loaded) {
      ledger->entries_.clear();
      ledger->trouble_ = loaded.error().In(path).message() + "; moved to " + path + ".bad";
      std::rename(path.c_str(), (path + ".bad").c_str());
    }
  } else if (text.error().code() != Code::kGone) {
    return text.error();
  }
  // Written once at the start, so that a folder that cannot be written shows now and not when the
  // first VM wants to start.
  if (auto written = ledger->Commit(ledger->entries_, ledger->complete_); !written) {
    return written.error();
  }
  return ledger;
}

Status Ledger::Load(std::string_view text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) return Error(Code::kInvalid, "no JSON object");
  if (Number(root, "version") != kVersion) return Error(Code::kInvalid, "unknown version");
  const auto boot_id = Text(root, "boot_id");
  if (!boot_id) return Error(Code::kInvalid, "no boot_id");
  if (*boot_id != boot_id_) return Ok();  // no VM of another boot runs
  const auto grants = root.find("grants");
  if (grants == root.end() || !grants->is_array() || grants->size() > kMostEntries) {
    return Error(Code::kInvalid, "no list of grants");
  }
  for (const json& entry : *grants) {
    auto grant = FromJson(entry);
    if (!grant) return Error(Code::kInvalid, "an entry makes no sense");
    const VmId id = grant->spec.id;
    entries_.insert_or_assign(id, std::move(*grant));
  }
  const auto complete = root.find("complete");
  complete_ = complete != root.end() && complete->is_boolean() && complete->get<bool>();
  return Ok();
}

Status Ledger::Commit(Entries next, bool complete) {
  json grants = json::array();
  for (const auto& [id, grant] : next) grants.push_back(ToJson(grant));
  const json root = {{"version", kVersion},
                     {"boot_id", boot_id_},
                     {"complete", complete},
                     {"grants", std::move(grants)}};
  // Names are printable UTF-8 here; "replace" keeps a mistake elsewhere from becoming a throw.
  const std::string text = root.dump(1, ' ', false, json::error_handler_t::replace);
  if (auto written = host::ReplaceFile(file_, text + "\n", 0600); !written) {
    return written.error().In("writing the ledger");
  }
  entries_ = std::move(next);
  complete_ = complete;
  return Ok();
}

std::optional<Grant> Ledger::Find(const VmId& vm) const {
  const std::lock_guard lock(mutex_);
  const auto at = entries_.find(vm);
  if (at == entries_.end()) return std::nullopt;
  return at->second;
}

std::vector<Grant> Ledger::Grants() const {
  const std::lock_guard lock(mutex_);
  std::vector<Grant> grants;
  for (const auto& [id, grant] : entries_) grants.push_back(grant);
  return grants;
}

bool Ledger::complete() const {
  const std::lock_guard lock(mutex_);
  return complete_;
}

Status Ledger::Put(const Grant& grant) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kMostEntries && !entries_.contains(grant.spec.id)) {
    return Error(Code::kExhausted, "the ledger holds its most entries");
  }
  Entries next = entries_;
  next.insert_or_assign(grant.spec.id, grant);
  return Commit(std::move(next), complete_);
}

Status Ledger::PutAll(const std::vector<Grant>& grants, bool complete) {
  const std::lock_guard lock(mutex_);
  Entries next = entries_;
  for (const Grant& grant : grants) next.insert_or_assign(grant.spec.id, grant);
  if (next.size() > kMostEntries) {
    return Error(Code::kExhausted, "the ledger holds its most entries");
  }
  return Commit(std::move(next), complete);
}

Result<bool> Ledger::Remove(const VmId& vm) {
  const std::lock_guard lock(mutex_);
  Entries next = entries_;
  if (next.erase(vm) == 0) return false;
  if (auto written = Commit(std::move(next), complete_); !written) return written.error();
  return true;
}

}  // namespace ullage::admission
