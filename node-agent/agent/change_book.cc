// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/change_book.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "node-agent/host/file.h"
#include "node-agent/host/json_fields.h"
#include "node-agent/model/guest_module.h"

namespace ullage::agent {
namespace {

using host::Text;
using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::size_t kFileLimit = 4 << 20;
constexpr std::size_t kMostEntries = 16384;
constexpr std::size_t kUuidLimit = 64;

// What stands here is written into a guest one day: nothing but what we could have written.
std::optional<GuestChange> FromJson(const json& entry) {
  const auto vm = Text(entry, "uuid");
  const auto name = Text(entry, "parameter");
  const auto before = Text(entry, "before");
  const auto written = Text(entry, "written");
  if (!vm || !name || !before || !written || vm->empty() || vm->size() > kUuidLimit) {
    return std::nullopt;
  }
  const GuestParameter* known = FindGuestParameter(*name);
  if (known == nullptr || Canonical(*known, *before) != before ||
      Canonical(*known, *written) != written) {
    return std::nullopt;
  }
  return GuestChange{{*vm}, *name, *before, *written};
}

}  // namespace

Result<std::unique_ptr<ChangeBook>> ChangeBook::Open(std::string file, std::string boot_id) {
  std::unique_ptr<ChangeBook> book(new ChangeBook(std::move(file), std::move(boot_id)));
  const std::string& path = book->file_;
  const auto text = host::ReadFile(path, kFileLimit);
  if (!text) {
    if (text.error().code() != Code::kGone) return text.error();
    return book;
  }
  if (const Status loaded = book->Load(*text); !loaded) {
    book->entries_.clear();
    book->trouble_ = loaded.error().In(path).message() + "; moved to " + path + ".bad";
    std::rename(path.c_str(), (path + ".bad").c_str());
  }
  return book;
}

Status ChangeBook::Load(std::string_view text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto version = root.is_object() ? root.find("version") : root.end();
  if (!root.is_object() || version == root.end() || *version != kVersion) {
    return Error(Code::kInvalid, "no book of changes, or of another version");
  }
  const auto boot_id = Text(root, "boot_id");
  if (!boot_id) return Error(Code::kInvalid, "no boot_id");
  if (*boot_id != boot_id_) return Ok();  // no guest of another boot runs
  const auto changes = root.find("changes");
  if (changes == root.end() || !changes->is_array() || changes->size() > kMostEntries) {
    return Error(Code::kInvalid, "no list of changes");
  }
  for (const json& entry : *changes) {
    auto change = FromJson(entry);
    if (!change) return Error(Code::kInvalid, "an entry makes no sense");
    Key key{change->vm, change->name};
    entries_.insert_or_assign(std::move(key), std::move(*change));
  }
  return Ok();
}

Status ChangeBook::Commit(Entries next) {
  json changes = json::array();
  for (const auto& [key, change] : next) {
    changes.push_back({{"uuid", change.vm.value},
                       {"parameter", change.name},
                       {"before", change.before},
                       {"written", change.written}});
  }
  const json root = {{"version", kVersion}, {"boot_id", boot_id_}, {"changes", std::move(changes)}};
  const std::string text = root.dump(1, ' ', false, json::error_handler_t::replace);
  if (auto written = host::ReplaceFile(file_, text + "\n", 0600); !written) {
    return written.error().In("writing down what is changed in a guest");
  }
  entries_ = std::move(next);
  return Ok();
}

Status ChangeBook::Remember(const GuestChange& change) {
  const Key key{change.vm, change.name};
  const auto known = entries_.find(key);
  if (known != entries_.end() && known->second.before == change.before &&
      known->second.written == change.written) {
    return Ok();
  }
  if (entries_.size() >= kMostEntries && known == entries_.end()) {
    return Error(Code::kExhausted, "too many changes in guests to remember");
  }
  Entries next = entries_;
  next.insert_or_assign(key, change);
  return Commit(std::move(next));
}

Status ChangeBook::Forget(const std::vector<GuestChange>& changes) {
  Entries next = entries_;
  for (const GuestChange& change : changes) next.erase({change.vm, change.name});
  if (next.size() == entries_.size()) return Ok();
  return Commit(std::move(next));
}

std::vector<GuestChange> ChangeBook::Changes() const {
  std::vector<GuestChange> changes;
  for (const auto& [key, change] : entries_) changes.push_back(change);
  return changes;
}

}  // namespace ullage::agent
