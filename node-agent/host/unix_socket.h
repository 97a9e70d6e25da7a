// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "node-agent/model/result.h"

namespace ullage::host {

/// Absolute, of a file, without a NUL, and at most `limit` bytes: what the kernel takes for a unix
/// socket. kInvalid says which of it is wrong.
Status CheckSocketPath(const std::string& path, std::size_t limit);

/// Whether something new may listen at `path`: nothing is there, or a socket that nobody answers
/// on. kExists: "<who> answers on …", or what is there is no socket (a link is none).
Status CheckSocketFree(const std::string& path, std::string_view who);

/// The folder that `path`, an absolute one, is in.
std::string FolderOf(const std::string& path);

}  // namespace ullage::host
