// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/client.h"

#include <algorithm>

#include "node-agent/host/text.h"
#include "node-agent/kube/line_framer.h"

namespace ullage::kube {
namespace {

// A Status with its causes; more of an error is not worth having.
constexpr std::size_t kErrorLimit = std::size_t{64} << 10;
// What virt-api answers to an eviction that it turned into a migration (kubevirt/kubevirt,
// pod-eviction-admitter).
constexpr std::string_view kMigrates = "Eviction triggered evacuation";

constexpr const char* kJson = "application/json";

Status AppendBounded(std::string& to, std::string_view piece, std::size_t limit) {
  if (to.size() + piece.size() > limit) {
    return Error(Code::kExhausted, "an answer of more than " + std::to_string(limit) + " bytes");
  }
  to += piece;
  return Ok();
}

// The cause that the API server gives to its own 429 (kubernetes/kubernetes,
// pkg/registry/core/pod/storage/eviction.go).
bool OfDisruptionBudget(const std::string& body) {
  const auto status = ReadJson<k8s::Status>(body);
  if (!status) return false;
  const auto& causes = status->details().causes();
  return std::any_of(causes.begin(), causes.end(), [](const k8s::StatusCause& cause) {
    return cause.reason() == "DisruptionBudget";
  });
}

std::string Named(const HttpRequest& request) {
  return request.method + " " + host::Printable(request.target.substr(0, request.target.find('?')));
}

}  // namespace

Client::Client(std::shared_ptr<Transport> transport, Timing timing, ClientOptions options)
    : transport_(std::move(transport)), timing_(std::move(timing)), options_(options) {}

Result<Answer> Client::SendOnce(const HttpRequest& request, const HttpLimits& limits,
                                std::size_t limit, const std::stop_token& stop) const {
  Answer answer;
  const auto head = transport_->Exchange(
      request, limits, stop, [&](const HttpHead& so_far, std::string_view piece) {
        const bool ok = so_far.status >= 200 && so_far.status < 300;
        return AppendBounded(answer.body, piece, ok ? limit : std::min(limit, kErrorLimit));
      });
  if (!head) return head.error().In(Named(request));
  answer.status = head->status;
  answer.retry_after = head->retry_after;
  return answer;
}

Result<Answer> Client::Send(const HttpRequest& request, std::size_t limit,
                            const std::stop_token& stop) const {
  const BootTime end = timing_.clock.Now().boot + options_.deadline;
  const auto left = [&] {
    return std::chrono::duration_cast<milliseconds>(end - timing_.clock.Now().boot);
  };
  for (unsigned attempt = 0;; ++attempt) {
    auto answer = SendOnce(request, {std::max(left(), milliseconds(1))}, limit, stop);
    const bool again = answer ? MayTryAgain(*answer)
                              : answer.error().code() == Code::kUnavailable &&
                                    request.method == "GET" && !stop.stop_requested();
    if (!again || attempt + 1 >= options_.tries) return answer;
    const milliseconds asked =
        answer ? answer->retry_after.value_or(milliseconds(0)) : milliseconds(0);
    const milliseconds rest = asked + FullJitter(attempt, options_.backoff, timing_.random());
    if (rest >= left() || !timing_.pause.For(rest, stop)) return answer;
  }
}

Result<Answer> Client::Stream(const HttpRequest& request, const HttpLimits& limits,
                              std::size_t line_limit,
                              const std::function<Status(std::string_view)>& on_line,
                              const std::stop_token& stop) const {
  Answer answer;
  LineFramer framer(line_limit);
  const auto head = transport_->Exchange(request, limits, stop,
                                         [&](const HttpHead& so_far, std::string_view piece) {
                                           if (so_far.status == 200)
                                             return framer.Feed(piece, on_line);
                                           return AppendBounded(answer.body, piece, kErrorLimit);
                                         });
  if (!head) return head.error().In(Named(request));
  answer.status = head->status;
  answer.retry_after = head->retry_after;
  return answer;
}

Result<std::string> Client::Call(const HttpRequest& request, std::size_t limit,
                                 const std::stop_token& stop) const {
  auto answer = Send(request, limit, stop);
  if (!answer) return answer.error();
  if (!answer->ok()) return ErrorOf(request, *answer);
  return std::move(answer->body);
}

Result<std::string> Client::GetText(const ObjectRef& ref, const std::stop_token& stop) const {
  const auto path = PathOf(ref);
  if (!path) return path.error();
  return Call({"GET", *path}, options_.object_limit, stop);
}

Result<std::string> Client::CreateText(const ObjectRef& ref, std::string body,
                                       const std::stop_token& stop) const {
  const auto path = PathOf(ref);
  if (!path) return path.error();
  return Call({"POST", *path, kJson, std::move(body)}, options_.object_limit, stop);
}

Result<std::string> Client::PatchText(const ObjectRef& ref, const Patch& patch,
                                      const std::stop_token& stop) const {
  const auto path = PathOf(ref);
  if (!path) return path.error();
  const std::string target = patch.query.empty() ? *path : *path + "?" + patch.query;
  return Call({"PATCH", target, patch.content_type, patch.body}, options_.object_limit, stop);
}

Status Client::Delete(const ObjectRef& ref, const std::string& uid,
                      const std::stop_token& stop) const {
  const auto path = PathOf(ref);
  if (!path) return path.error();
  if (ref.name.empty()) return Error(Code::kInvalid, "a name is wanted to delete");
  HttpRequest request{"DELETE", *path};
  if (!uid.empty()) {
    request.content_type = kJson;
    // A UID is made of what needs no escape, or it is none.
    if (uid.find_first_not_of("0123456789abcdefABCDEF-") != std::string::npos) {
      return Error(Code::kInvalid, "'" + host::Printable(uid) + "' is no UID");
    }
    request.body =
        R"({"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":")" + uid + R"("}})";
  }
  const auto done = Call(request, options_.object_limit, stop);
  if (!done) return done.error();
  return Ok();
}

Result<EvictionAnswer> Client::Evict(const ObjectRef& ref, const std::string& uid,
                                     const std::string& version,
                                     const std::stop_token& stop) const {
  const auto path = PathOf({kPods, ref.name_space, ref.name, "eviction"});
  if (!path) return path.error();
  k8s::Eviction eviction;
  eviction.set_api_version(version);
  eviction.set_kind("Eviction");
  eviction.mutable_metadata()->set_name(ref.name);
  eviction.mutable_metadata()->set_namespace_(ref.name_space);
  if (!uid.empty()) eviction.mutable_delete_options()->mutable_preconditions()->set_uid(uid);
  const auto body = WriteJson(eviction);
  if (!body) return body.error();
  const HttpRequest request{"POST", *path, kJson, *body};
  const auto answer = SendOnce(request, {options_.deadline}, options_.object_limit, stop);
  if (!answer) return answer.error();
  if (answer->ok()) return EvictionAnswer{Eviction::kEvicted, "", {}};
  const Error error = ErrorOf(request, *answer);
  if (answer->status != 429) return error;
  if (answer->body.find(kMigrates) != std::string::npos) {
    return EvictionAnswer{Eviction::kMigrating, error.message(), {}};
  }
  if (!OfDisruptionBudget(answer->body)) return error;
  return EvictionAnswer{Eviction::kBlocked, error.message(), answer->retry_after};
}

Result<HttpRequest> ListRequest(const ObjectRef& ref, const Selection& selection,
                                unsigned page_size, const std::string& version,
                                const std::string& next) {
  const auto path = PathOf(ref);
  if (!path) return path.error();
  std::string target = *path;
  const auto add = [&](const char* key, const std::string& value) {
    if (value.empty()) return;
    target += target.size() == path->size() ? '?' : '&';
    target += std::string(key) + "=" + PercentEncode(value);
  };
  if (!next.empty() || version.empty() || version == "0") add("limit", std::to_string(page_size));
  add("labelSelector", selection.labels);
  add("fieldSelector", selection.fields);
  add("continue", next);
  // A page after the first belongs to the version of the first.
  if (next.empty()) add("resourceVersion", version);
  return HttpRequest{"GET", target};
}

}  // namespace ullage::kube
