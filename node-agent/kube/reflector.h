// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "node-agent/kube/client.h"
#include "node-agent/kube/watch_state.h"

namespace ullage::kube {

/// An object of the API server's. Where `fault` says why it cannot be read, `object` has its name,
/// namespace and UID, and nothing else of it is known.
template <typename T>
struct Item {
  T object;
  std::string fault{};
};

enum class Change { kAdded, kModified, kDeleted };

/// Hears what happens to a collection, in the order in which it happened, on the reflector's
/// thread.
template <typename T>
class Handler {
 public:
  Handler() = default;
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  virtual ~Handler() = default;

  /// All there is; what is not in it is gone. Comes first, and again whenever changes may have been
  /// missed.
  virtual void OnAll(std::vector<Item<T>> all) = 0;
  /// A change may be one that OnAll told already.
  virtual void OnChange(Change change, Item<T> item) = 0;
  /// It cannot be followed; the same may come many times. What was told last may be out of date.
  virtual void OnFault(const Error& error) = 0;
  /// After a fault, and after what was heard first since then: it is followed again.
  virtual void OnFine() = 0;
};

struct WatchOptions {
  Selection selection{};
  /// Bookmarks come once a minute or so: a watch that is silent for longer may have lost its
  /// server. A list finds out, and is a fault where it fails.
  milliseconds silence{150000};
  /// The server is asked to end the watch after this and up to as much again, by chance.
  seconds watch_for{300};
  milliseconds list_deadline{30000};  ///< of one page
  std::size_t line_limit = std::size_t{8} << 20;
  BackoffRange backoff{};
  /// A collection that the server does not know (404: its CRD is not installed) is asked for again
  /// only after this.
  milliseconds absent_rest{0};
};

/// Takes what WatchLoop reads, as JSON.
class Feed {
 public:
  Feed() = default;
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;
  virtual ~Feed() = default;

  virtual void BeginList() = 0;
  virtual Result<k8s::ListMeta> Page(std::string_view json) = 0;
  virtual void EndList() = 0;
  /// A line of a watch; gives its resourceVersion. An ERROR event is that error (kGone: 410).
  virtual Result<std::string> Line(std::string_view json) = 0;
  virtual void Fault(const Error& error) = 0;
  virtual void Fine() = 0;
};

/// Lists and watches until it is stopped: WatchState put to work. Blocks.
class WatchLoop {
 public:
  WatchLoop(const Client& client, ObjectRef collection, WatchOptions options, Feed& feed)
      : client_(client),
        collection_(std::move(collection)),
        options_(std::move(options)),
        feed_(feed),
        state_(options_.backoff, client.timing().random) {}

  void Run(const std::stop_token& stop);
  /// When the server said anything last; the epoch: never. From any thread.
  BootTime heard_at() const { return BootTime(BootTime::duration(heard_at_.load())); }

 private:
  void List(const std::string& version, const std::stop_token& stop);
  void Watch(const std::string& version, const std::stop_token& stop);
  Result<Answer> ReadPage(const std::string& version, const std::string& next,
                          const std::stop_token& stop, std::optional<milliseconds>& retry_after);
  void Fail(const Error& error, std::optional<milliseconds> retry_after,
            const std::stop_token& stop);
  void Hear();

  const Client& client_;
  const ObjectRef collection_;
  const WatchOptions options_;
  Feed& feed_;
  WatchState state_;
  bool faulty_ = false;
  std::atomic<BootTime::rep> heard_at_{0};
};

/// What a line of a watch is. Of an ERROR event the error, with 410 as kGone.
enum class LineKind { kAdded, kModified, kDeleted, kBookmark };
Result<LineKind> KindOfLine(std::string_view line);

/// The name, namespace and UID of an object that cannot be read as a whole. kInvalid: not even
/// they.
Result<k8s::ObjectMeta> MetaOf(std::string_view object);
Result<k8s::ObjectMeta> MetaOfLine(std::string_view line);

template <typename T>
struct Messages;
#define ULLAGE_KUBE_MESSAGES(type)  \
  template <>                       \
  struct Messages<k8s::type> {      \
    using List = k8s::type##List;   \
    using Watch = k8s::type##Watch; \
  }
ULLAGE_KUBE_MESSAGES(Node);
ULLAGE_KUBE_MESSAGES(Pod);
ULLAGE_KUBE_MESSAGES(Lease);
ULLAGE_KUBE_MESSAGES(VirtualMachineInstance);
ULLAGE_KUBE_MESSAGES(VirtualMachineInstanceMigration);
ULLAGE_KUBE_MESSAGES(ReclaimPolicy);
#undef ULLAGE_KUBE_MESSAGES

/// A Feed that reads objects of one type.
template <typename T>
class TypedFeed final : public Feed {
 public:
  explicit TypedFeed(Handler<T>& handler) : handler_(handler) {}

  void BeginList() override { all_.clear(); }
  Result<k8s::ListMeta> Page(std::string_view json) override;
  void EndList() override { handler_.OnAll(std::exchange(all_, {})); }
  Result<std::string> Line(std::string_view json) override;
  void Fault(const Error& error) override { handler_.OnFault(error); }
  void Fine() override { handler_.OnFine(); }

 private:
  static Item<T> Unreadable(const k8s::ObjectMeta& meta, const Error& why) {
    Item<T> item{{}, why.message()};
    item.object.mutable_metadata()->set_name(meta.name());
    item.object.mutable_metadata()->set_namespace_(meta.namespace_());
    item.object.mutable_metadata()->set_uid(meta.uid());
    return item;
  }

  Handler<T>& handler_;
  std::vector<Item<T>> all_;
};

template <typename T>
Result<k8s::ListMeta> TypedFeed<T>::Page(std::string_view json) {
  auto list = ReadJson<typename Messages<T>::List>(json);
  if (list) {
    for (T& item : *list->mutable_items()) all_.push_back({std::move(item)});
    return list->metadata();
  }
  // One object that is not what it should be must not hide the others.
  auto split = SplitItems(json);
  if (!split) return split.error();
  for (const std::string& text : split->items) {
    auto item = ReadJson<T>(text);
    if (item) {
      all_.push_back({*std::move(item)});
      continue;
    }
    const auto meta = MetaOf(text);
    if (!meta) return meta.error();
    all_.push_back(Unreadable(*meta, item.error()));
  }
  return split->metadata;
}

template <typename T>
Result<std::string> TypedFeed<T>::Line(std::string_view json) {
  const auto kind = KindOfLine(json);
  if (!kind) return kind.error();
  if (*kind == LineKind::kBookmark) {
    const auto meta = MetaOfLine(json);
    if (!meta) return meta.error();
    return meta->resource_version();
  }
  const Change change = *kind == LineKind::kAdded      ? Change::kAdded
                        : *kind == LineKind::kModified ? Change::kModified
                                                       : Change::kDeleted;
  auto watch = ReadJson<typename Messages<T>::Watch>(json);
  if (watch) {
    std::string version = watch->object().metadata().resource_version();
    handler_.OnChange(change, {std::move(*watch->mutable_object())});
    return version;
  }
  const auto meta = MetaOfLine(json);
  if (!meta || meta->uid().empty()) return watch.error();
  handler_.OnChange(change, Unreadable(*meta, watch.error()));
  return meta->resource_version();
}

/// A WatchLoop on a thread of its own.
class Reflector {
 public:
  /// `client` and `handler` must outlive it. kExhausted: no thread for it.
  template <typename T>
  static Result<std::unique_ptr<Reflector>> Start(const Client& client, const ObjectRef& collection,
                                                  const WatchOptions& options,
                                                  Handler<T>& handler) {
    return Launch(client, collection, options, std::make_unique<TypedFeed<T>>(handler));
  }
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;
  /// Breaks off what is under way and waits for the thread; the handler hears nothing afterwards.
  ~Reflector();

  BootTime heard_at() const { return loop_.heard_at(); }

 private:
  Reflector(const Client& client, const ObjectRef& collection, const WatchOptions& options,
            std::unique_ptr<Feed> feed)
      : feed_(std::move(feed)), loop_(client, collection, options, *feed_) {}
  static Result<std::unique_ptr<Reflector>> Launch(const Client& client,
                                                   const ObjectRef& collection,
                                                   const WatchOptions& options,
                                                   std::unique_ptr<Feed> feed);

  std::unique_ptr<Feed> feed_;
  WatchLoop loop_;
  std::jthread thread_;
};

}  // namespace ullage::kube
