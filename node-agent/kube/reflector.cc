// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/reflector.h"

#include <pthread.h>

#include <algorithm>
#include <system_error>

#include "node-agent/host/text.h"
#include "node-agent/kube/threads.h"

namespace ullage::kube {

void WatchLoop::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const WatchState::Step step = state_.Next();
    if (step.rest > milliseconds(0) && !client_.timing().pause.For(step.rest, stop)) return;
    if (step.what == WatchState::Do::kList) {
      List(step.version, stop);
    } else {
      Watch(step.version, stop);
    }
  }
}

Result<Answer> WatchLoop::ReadPage(const std::string& version, const std::string& next,
                                   const std::stop_token& stop,
                                   std::optional<milliseconds>& retry_after) {
  const auto request =
      ListRequest(collection_, options_.selection, client_.options().page_size, version, next);
  if (!request) return request.error();
  auto answer =
      client_.SendOnce(*request, {options_.list_deadline}, client_.options().list_limit, stop);
  // A 504 says that the server waited for our version in vain. That nothing came in time says that
  // it has too much to do.
  if (!answer && answer.error().code() == Code::kDeadline) {
    return Error(Code::kUnavailable, answer.error().message());
  }
  if (!answer || answer->ok()) return answer;
  retry_after = answer->retry_after;
  return ErrorOf(*request, *answer);
}

void WatchLoop::List(const std::string& version, const std::stop_token& stop) {
  feed_.BeginList();
  std::string listed;
  std::string next;
  for (int page = 0; page < kMaxPages; ++page) {
    std::optional<milliseconds> retry_after;
    const auto answer = ReadPage(version, next, stop, retry_after);
    if (!answer) return Fail(answer.error(), retry_after, stop);
    const auto meta = feed_.Page(answer->body);
    if (!meta) return Fail(meta.error().In("reading a list"), {}, stop);
    // All pages are of the first one's version.
    if (page == 0) listed = meta->resource_version();
    next = meta->continue_();
    if (!next.empty()) continue;
    if (listed.empty()) return Fail({Code::kInvalid, "a list without a version"}, {}, stop);
    state_.Listed(listed);
    feed_.EndList();
    return Hear();
  }
  Fail({Code::kExhausted, "a list of more than " + std::to_string(kMaxPages) + " pages"}, {}, stop);
}

void WatchLoop::Watch(const std::string& version, const std::stop_token& stop) {
  auto request =
      ListRequest(collection_, options_.selection, client_.options().page_size, version, "");
  if (!request) return Fail(request.error(), {}, stop);
  const auto random = client_.timing().random();
  const auto most = static_cast<std::uint64_t>(options_.watch_for.count());
  request->target += "&watch=true&allowWatchBookmarks=true&timeoutSeconds=" +
                     std::to_string(most + random % (most + 1));
  const BootTime began = client_.timing().clock.Now().boot;
  const auto answer = client_.Stream(
      *request, {milliseconds(0), options_.silence}, options_.line_limit,
      [&](std::string_view line) -> Status {
        const auto heard = feed_.Line(line);
        if (!heard) return heard.error();
        state_.Heard(*heard);
        Hear();
        return Ok();
      },
      stop);
  // Old servers send no bookmarks for a collection in which nothing ever happened.
  if (!answer && answer.error().code() == Code::kDeadline) return state_.Silent();
  if (!answer) return Fail(answer.error(), {}, stop);
  if (!answer->ok()) return Fail(ErrorOf(*request, *answer), answer->retry_after, stop);
  const auto lasted = client_.timing().clock.Now().boot - began;
  state_.Ended(std::chrono::duration_cast<milliseconds>(lasted));
}

void WatchLoop::Hear() {
  heard_at_ = client_.timing().clock.Now().boot.time_since_epoch().count();
  if (std::exchange(faulty_, false)) feed_.Fine();
}

void WatchLoop::Fail(const Error& error, std::optional<milliseconds> retry_after,
                     const std::stop_token& stop) {
  if (stop.stop_requested()) return;
  if (error.code() == Code::kNotFound) {
    retry_after = std::max(retry_after.value_or(milliseconds(0)), options_.absent_rest);
  }
  state_.Failed(error.code(), retry_after);
  // An expired version is part of the protocol; the list that follows makes up for it.
  if (error.code() == Code::kGone) return;
  faulty_ = true;
  feed_.Fault(error);
}

Result<LineKind> KindOfLine(std::string_view line) {
  const auto watch = ReadJson<k8s::WatchType>(line);
  if (!watch) return watch.error().In("reading a watch");
  const std::string& type = watch->type();
  if (type == "ADDED") return LineKind::kAdded;
  if (type == "MODIFIED") return LineKind::kModified;
  if (type == "DELETED") return LineKind::kDeleted;
  if (type == "BOOKMARK") return LineKind::kBookmark;
  if (type != "ERROR") {
    return Error(Code::kInvalid, "a watch tells of '" + host::Printable(type) + "'");
  }
  const auto status = ReadJson<k8s::StatusWatch>(line);
  if (!status) return status.error().In("reading a watch's error");
  const k8s::Status& said = status->object();
  const bool gone = said.code() == 410 || said.reason() == "Expired" || said.reason() == "Gone";
  return Error(gone ? Code::kGone : CodeOf(said.code()),
               "the watch ended: " + host::Printable(said.message(), 1024));
}

namespace {

Result<k8s::ObjectMeta> Identified(const k8s::ObjectMeta& meta) {
  if (!meta.name().empty() && !meta.uid().empty()) return meta;
  return Error(Code::kInvalid, "an object without a name or UID");
}

}  // namespace

Result<k8s::ObjectMeta> MetaOf(std::string_view object) {
  const auto meta = ReadJson<k8s::MetaOnly>(object);
  if (!meta) return meta.error();
  return Identified(meta->metadata());
}

Result<k8s::ObjectMeta> MetaOfLine(std::string_view line) {
  const auto watch = ReadJson<k8s::MetaWatch>(line);
  if (!watch) return watch.error();
  return watch->object().metadata();
}

Reflector::~Reflector() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

Result<std::unique_ptr<Reflector>> Reflector::Launch(const Client& client,
                                                     const ObjectRef& collection,
                                                     const WatchOptions& options,
                                                     std::unique_ptr<Feed> feed) {
  std::unique_ptr<Reflector> reflector(new Reflector(client, collection, options, std::move(feed)));
  const SignalsBlocked blocked;
  try {
    reflector->thread_ = std::jthread([loop = &reflector->loop_](const std::stop_token& stop) {
      pthread_setname_np(pthread_self(), "kube-watch");
      loop->Run(stop);
    });
  } catch (const std::system_error& error) {
    return Error(Code::kExhausted, std::string("a thread for a watch: ") + error.what());
  }
  return reflector;
}

}  // namespace ullage::kube
