// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/kube/credentials.h"

namespace ullage::kube {

/// With certificates inside it is some ten KiB.
inline constexpr std::size_t kMaxKubeconfigBytes = std::size_t{1} << 20;

/// The access that a kubeconfig's context describes; an empty `context` is its current-context.
/// Relative files are looked for beside the kubeconfig. What would change who we are or whom we
/// trust, and is not understood here, is refused and not passed over: exec plugins, auth providers,
/// passwords, impersonation, proxies, tls-server-name, insecure-skip-tls-verify, plain http.
Result<Access> LoadKubeconfig(const std::string& path, const std::string& context = "");

/// The same of a file's content; `folder` is where it lies.
Result<Access> ParseKubeconfig(std::string_view text, const std::string& folder,
                               const std::string& context = "");

}  // namespace ullage::kube
