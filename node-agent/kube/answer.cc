// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/answer.h"

#include "node-agent/host/text.h"
#include "node-agent/kube/json.h"

namespace ullage::kube {
namespace {

constexpr std::size_t kShownTarget = 256;
constexpr std::size_t kShownMessage = 1024;

}  // namespace

Code CodeOf(int status) {
  switch (status) {
    case 401:
    case 403:
      return Code::kDenied;
    case 404:
      return Code::kNotFound;
    case 408:
    case 504:
      return Code::kDeadline;
    case 409:
      return Code::kExists;
    case 410:
      return Code::kGone;
    case 413:
    case 507:
      return Code::kExhausted;
    case 429:
    case 502:
    case 503:
      return Code::kUnavailable;
    default:
      return status >= 400 && status < 500 ? Code::kInvalid : Code::kInternal;
  }
}

Error ErrorOf(const HttpRequest& request, const Answer& answer) {
  const std::string target = request.target.substr(0, request.target.find('?'));
  std::string message = request.method + " " + host::Printable(target, kShownTarget) + ": " +
                        std::to_string(answer.status);
  // A proxy in between answers with what is no Status.
  const auto status = ReadJson<k8s::Status>(answer.body);
  if (status && !status->reason().empty()) message += " " + host::Printable(status->reason());
  const std::string said = host::Printable(
      status && !status->message().empty() ? status->message() : answer.body, kShownMessage);
  if (!said.empty()) message += ": " + said;
  return {CodeOf(answer.status), message};
}

bool MayTryAgain(const Answer& answer) {
  return answer.status == 429 || answer.status == 503 ||
         (answer.status >= 500 && answer.retry_after.has_value());
}

}  // namespace ullage::kube
