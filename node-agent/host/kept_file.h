// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "node-agent/host/file.h"

namespace ullage::host {

/// A file of the kernel's that is read again and again. It stays open: finding it by its name each
/// time costs several times as much as reading it.
class KeptFile {
 public:
  /// `name` below `directory` (AT_FDCWD: a path).
  static Result<KeptFile> OpenAt(int directory, const char* name);

  /// The text of this moment, all of it from one read: such files give no less. It stands in
  /// `buffer`, and has to leave room there, else it is kInvalid. kGone: the file was removed, also
  /// when another of the same name has taken its place. `what` names it in errors.
  Result<std::string_view> Read(std::span<char> buffer, std::string_view what) const;

 private:
  KeptFile(Fd file, bool outlives_its_name)
      : file_(std::move(file)), outlives_its_name_(outlives_its_name) {}

  Fd file_;
  bool outlives_its_name_;
};

/// The text of the file at `path`, which is kept in `kept` and opened anew where that one fails:
/// for files that are found by nothing but their path. Errors: ReadFile's.
Result<std::string_view> ReadKept(std::optional<KeptFile>& kept, const std::string& path,
                                  std::span<char> buffer);

}  // namespace ullage::host
