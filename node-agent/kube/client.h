// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "node-agent/host/clock.h"
#include "node-agent/kube/answer.h"
#include "node-agent/kube/backoff.h"
#include "node-agent/kube/http.h"
#include "node-agent/kube/json.h"
#include "node-agent/kube/pause.h"
#include "node-agent/kube/resource.h"

namespace ullage::kube {

struct ClientOptions {
  milliseconds deadline{10000};  ///< of a call, further tries and the rests between them included
  unsigned tries = 4;
  BackoffRange backoff{};
  /// etcd takes objects of 1.5 MiB.
  std::size_t object_limit = std::size_t{4} << 20;
  /// A page of 500 pods of 100 KiB. A server that serves from its cache takes no page size.
  std::size_t list_limit = std::size_t{64} << 20;
  unsigned page_size = 500;
};

/// Where time and chance come from. What is referred to must outlive who holds it.
struct Timing {
  Pause& pause;
  const host::Clock& clock;
  Random random;
};

struct Patch {
  std::string content_type;
  std::string body;
  std::string query{};

  static Patch Json(const JsonPatch& patch) {
    return {"application/json-patch+json", patch.Text()};
  }
  /// Server-side apply of a whole object (`body` is JSON, which is YAML): fields that `manager` set
  /// before and leaves out now are removed. `force`: takes fields over from other managers, without
  /// it that is kExists.
  static Patch Apply(std::string body, const std::string& manager, bool force) {
    return {"application/apply-patch+yaml", std::move(body),
            "fieldManager=" + PercentEncode(manager) + (force ? "&force=true" : "")};
  }
};

enum class Eviction {
  kEvicted,    ///< the pod is being deleted
  kMigrating,  ///< KubeVirt keeps the pod and migrates its VM away
  kBlocked,    ///< a PodDisruptionBudget keeps it for now
};
struct EvictionAnswer {
  Eviction outcome;
  std::string message;                      ///< the API server's; printable
  std::optional<milliseconds> retry_after;  ///< of kBlocked
};

/// Calls to one API server. Each has a deadline and a bounded answer. Calls are repeated, with
/// rests (FullJitter, and what Retry-After asks for on top), where the server did not take them
/// (MayTryAgain), and reads also where it could not be reached. Blocks; thread-safe. `stop` ends a
/// call at once with kUnavailable.
class Client {
 public:
  Client(std::shared_ptr<Transport> transport, Timing timing, ClientOptions options = {});

  const ClientOptions& options() const { return options_; }
  const Timing& timing() const { return timing_; }

  /// Errors: those of Transport::Exchange, and kExhausted: a longer answer than `limit`.
  Result<Answer> Send(const HttpRequest& request, std::size_t limit,
                      const std::stop_token& stop = {}) const;
  /// One try, without repetition.
  Result<Answer> SendOnce(const HttpRequest& request, const HttpLimits& limits, std::size_t limit,
                          const std::stop_token& stop = {}) const;
  /// A stream of lines. An answer that is ok() has no body: it went to `on_line`, and the server
  /// ended the stream. An error from `on_line` ends it, too, and is returned.
  Result<Answer> Stream(const HttpRequest& request, const HttpLimits& limits,
                        std::size_t line_limit,
                        const std::function<Status(std::string_view)>& on_line,
                        const std::stop_token& stop = {}) const;

  /// The object's JSON. Errors: CodeOf().
  Result<std::string> GetText(const ObjectRef& ref, const std::stop_token& stop = {}) const;
  Result<std::string> CreateText(const ObjectRef& ref, std::string body,
                                 const std::stop_token& stop = {}) const;
  Result<std::string> PatchText(const ObjectRef& ref, const Patch& patch,
                                const std::stop_token& stop = {}) const;
  /// `uid`: only the object that has it (kExists otherwise); empty: whichever has the name.
  Status Delete(const ObjectRef& ref, const std::string& uid = "",
                const std::stop_token& stop = {}) const;
  /// All of them, page by page. kGone: the list expired between two pages. Reflector is for those
  /// who want to go on.
  template <typename ListOf>
  Result<ListOf> List(const ObjectRef& ref, const Selection& selection = {},
                      const std::stop_token& stop = {}) const;

  template <typename M>
  Result<M> Get(const ObjectRef& ref, const std::stop_token& stop = {}) const {
    return Read<M>(GetText(ref, stop));
  }
  /// `ref` without a name.
  template <typename M>
  Result<M> Create(const ObjectRef& ref, const M& object, const std::stop_token& stop = {}) const {
    auto body = WriteJson(object);
    if (!body) return body.error();
    return Read<M>(CreateText(ref, *std::move(body), stop));
  }
  template <typename M>
  Result<M> PatchAs(const ObjectRef& ref, const Patch& patch,
                    const std::stop_token& stop = {}) const {
    return Read<M>(PatchText(ref, patch, stop));
  }
  template <typename M>
  Result<M> Apply(const ObjectRef& ref, const M& object, const std::string& manager, bool force,
                  const std::stop_token& stop = {}) const {
    auto body = WriteJson(object);
    if (!body) return body.error();
    return PatchAs<M>(ref, Patch::Apply(*std::move(body), manager, force), stop);
  }

  /// `ref` is the pod. `uid`: only the pod that has it (kExists otherwise); empty: whichever has
  /// the name. `version` as EvictionVersion() gives it. Not repeated: a 429 that is none of
  /// `Eviction` (the server has too much to do, KubeVirt refuses) is kUnavailable.
  Result<EvictionAnswer> Evict(const ObjectRef& ref, const std::string& uid,
                               const std::string& version, const std::stop_token& stop = {}) const;

 private:
  template <typename M>
  static Result<M> Read(const Result<std::string>& text) {
    if (!text) return text.error();
    return ReadJson<M>(*text);
  }
  Result<std::string> Call(const HttpRequest& request, std::size_t limit,
                           const std::stop_token& stop) const;

  const std::shared_ptr<Transport> transport_;
  const Timing timing_;
  const ClientOptions options_;
};

/// The GET of one page of a list. `version`: "" as fresh as etcd, "0" whatever the server has at
/// hand, else not older than that: then it is one page, because API servers serve such lists from
/// their cache only where no limit is asked for (kubernetes/kubernetes, storage/cacher,
/// shouldDelegateList).
Result<HttpRequest> ListRequest(const ObjectRef& ref, const Selection& selection,
                                unsigned page_size, const std::string& version,
                                const std::string& next);

/// More pages than any cluster has objects to fill.
inline constexpr int kMaxPages = 1000;

template <typename ListOf>
Result<ListOf> Client::List(const ObjectRef& ref, const Selection& selection,
                            const std::stop_token& stop) const {
  ListOf all;
  for (int page = 0; page < kMaxPages; ++page) {
    const auto request =
        ListRequest(ref, selection, options_.page_size, "", all.metadata().continue_());
    if (!request) return request.error();
    auto next = Read<ListOf>(Call(*request, options_.list_limit, stop));
    if (!next) return next.error();
    all.clear_metadata();  // MergeFrom would keep a `continue` that the last page does not have
    all.MergeFrom(*next);
    if (all.metadata().continue_().empty()) return all;
  }
  return Error(Code::kExhausted, "a list of more than " + std::to_string(kMaxPages) + " pages");
}

}  // namespace ullage::kube
