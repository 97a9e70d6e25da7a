// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/cpprest_transport.h"

#include <cpprest/http_client.h>
#include <cpprest/producerconsumerstream.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pplx/threadpool.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "node-agent/host/text.h"
#include "node-agent/kube/threads.h"

namespace ullage::kube {
namespace {

using std::chrono::steady_clock;

// cpprestsdk's own is for the case that nobody waits any more; HttpLimits are kept by who waits.
constexpr seconds kLibraryTimeout{900};
constexpr std::size_t kThreads = 4;
// How long an exchange that was given up may take to come to its end. It takes a millisecond, and
// what is still queued when the program exits is lost memory to LeakSanitizer.
constexpr seconds kLastWords{1};

void StartThreads() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Exit handlers run backwards: the threads have to end before OpenSSL is taken from under them.
    OPENSSL_init_ssl(0, nullptr);
    const SignalsBlocked blocked;
    try {
      crossplat::threadpool::initialize_with_threads(kThreads);
    } catch (const std::exception&) {  // somebody else started it: then it runs
    }
  });
}

// One exchange, shared by the thread that waits for it and the library's threads, and alive until
// the last of them lets go: a caller whose deadline passed does not wait for the library.
class Wire {
 public:
  struct News {
    bool head = false;
    bool ended = false;
    std::string piece{};
    std::optional<Error> error{};
  };

  // --- The library's side

  void Begin(const web::http::http_response& response) {
    HttpHead head{response.status_code(), {}};
    const auto header = response.headers().find("Retry-After");
    if (header != response.headers().end()) {
      // A date is the other form; API servers send seconds.
      if (const auto wait = host::ParseUnsigned(header->second)) {
        const auto most = static_cast<std::uint64_t>(kMaxRetryAfter.count());
        head.retry_after = seconds(std::min(*wait, most));
      }
    }
    const std::lock_guard lock(mutex_);
    head_ = head;
    has_head_ = fresh_head_ = true;
    woken_.notify_all();
  }

  void End(std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    error_ = std::move(error);
    woken_.notify_all();
  }

  // The library reads on when the task is done, which is when the piece was taken.
  pplx::task<std::size_t> Put(const std::uint8_t* bytes, std::size_t count) {
    const std::lock_guard lock(mutex_);
    if (left_) return pplx::task_from_exception<std::size_t>(std::runtime_error("nobody reads"));
    piece_.assign(reinterpret_cast<const char*>(bytes), count);
    taken_ = pplx::task_completion_event<std::size_t>();
    pending_ = true;
    woken_.notify_all();
    return pplx::task<std::size_t>(taken_);
  }

  // --- The caller's side

  // What came, or nothing when `until` passed or `stop` was requested first.
  std::optional<News> Await(steady_clock::time_point until, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const bool any = woken_.wait_until(lock, stop, until,
                                       [this] { return fresh_head_ || Deliverable() || ended_; });
    if (!any) return std::nullopt;
    News news;
    news.head = std::exchange(fresh_head_, false);
    if (Deliverable()) {
      news.piece = std::move(piece_);
      return news;
    }
    news.ended = ended_;
    news.error = error_;
    return news;
  }

  // After a piece was dealt with.
  void Took(std::size_t count) {
    pplx::task_completion_event<std::size_t> taken;
    {
      const std::lock_guard lock(mutex_);
      if (!std::exchange(pending_, false)) return;
      taken = taken_;
    }
    taken.set(count);
  }

  void Leave() {
    pplx::task_completion_event<std::size_t> taken;
    {
      const std::lock_guard lock(mutex_);
      left_ = true;
      if (!std::exchange(pending_, false)) return;
      taken = taken_;
    }
    taken.set_exception(std::runtime_error("nobody reads"));
  }

  void AwaitEnd(steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    woken_.wait_until(lock, until, [this] { return ended_; });
  }

  HttpHead head() const {
    const std::lock_guard lock(mutex_);
    return head_;
  }

 private:
  // The library tells of the head and of the body on different threads: the body may come first.
  bool Deliverable() const { return has_head_ && pending_; }

  mutable std::mutex mutex_;
  std::condition_variable_any woken_;
  HttpHead head_;
  bool has_head_ = false;
  bool fresh_head_ = false;
  bool pending_ = false;  // a piece waits to be taken
  bool ended_ = false;
  bool left_ = false;  // the caller went away
  std::string piece_;
  pplx::task_completion_event<std::size_t> taken_;
  std::optional<Error> error_;
};

// Where the library writes the body: not into memory that grows, but to who waits for it.
class WireBuffer final
    : public concurrency::streams::details::basic_producer_consumer_buffer<std::uint8_t> {
 public:
  explicit WireBuffer(std::shared_ptr<Wire> wire)
      : basic_producer_consumer_buffer(1), wire_(std::move(wire)) {}

 protected:
  pplx::task<std::size_t> _putn(const std::uint8_t* bytes, std::size_t count) override {
    return wire_->Put(bytes, count);
  }

 private:
  const std::shared_ptr<Wire> wire_;
};

Error FromHttp(const web::http::http_exception& error) {
  const int value = error.error_code().value();
  const auto packed = static_cast<unsigned long>(static_cast<unsigned>(value));
  if (ERR_GET_LIB(packed) == ERR_LIB_SSL &&
      ERR_GET_REASON(packed) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return {Code::kDenied,
            "the server's certificate does not prove that it is the cluster's API server (signed "
            "by another CA, expired, or for another address)"};
  }
  const std::string message = host::Printable(error.what());
  if (value == static_cast<int>(std::errc::timed_out)) return {Code::kDeadline, message};
  return {Code::kUnavailable, message};
}

// What a finished or failed task says. Exceptions end here; none that is left behind ends the
// program.
template <typename F>
std::optional<Error> Caught(F&& get) {
  try {
    get();
    return std::nullopt;
  } catch (const web::http::http_exception& error) {
    return FromHttp(error);
  } catch (const std::exception& error) {
    return Error(Code::kInvalid, host::Printable(error.what()));
  }
}

// The library also takes a certificate whose common name is the host's, and a cluster's CA signs
// names of people's choice.
void DemandName(SSL_CTX* native, const std::string& server) {
  std::string host = web::uri(server).host();
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  X509_VERIFY_PARAM* wanted = SSL_CTX_get0_param(native);
  X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1) return;
  if (X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), 0) != 1) {
    throw std::runtime_error("no memory for a host's name");
  }
}

// Throws std::runtime_error, which the library hands on to whoever sent the request.
void Trust(boost::asio::ssl::context& context, const Credentials& credentials) {
  const auto tls = credentials.Tls();
  if (!tls) throw std::runtime_error(tls.error().message());
  SSL_CTX* native = context.native_handle();
  DemandName(native, credentials.server());
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  if (!tls->ca.empty()) {
    // The library has put the system's CAs in; only the cluster's own may vouch for its API server.
    X509_STORE* store = X509_STORE_new();
    if (store == nullptr) throw std::runtime_error("no memory for certificates");
    // A CA that is itself signed by another one is an end of the chain all the same.
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_cert_store(native, store);
    boost::system::error_code error;
    context.add_certificate_authority(boost::asio::buffer(tls->ca), error);
    if (error) throw std::runtime_error("the cluster's CA is no certificate in PEM");
  }
  if (tls->certificate.empty()) return;
  boost::system::error_code error;
  context.use_certificate_chain(boost::asio::buffer(tls->certificate), error);
  if (error) throw std::runtime_error("the client certificate is none in PEM");
  context.use_private_key(boost::asio::buffer(tls->key), boost::asio::ssl::context::pem, error);
  if (error) throw std::runtime_error("the client key is none in PEM, or of another certificate");
}

web::http::client::http_client_config Configure(const std::shared_ptr<Credentials>& credentials) {
  web::http::client::http_client_config config;
  config.set_timeout(kLibraryTimeout);
  config.set_max_redirects(0);  // a token is for this server only
  config.set_ssl_context_callback(
      [credentials](boost::asio::ssl::context& context) { Trust(context, *credentials); });
  return config;
}

class CpprestTransport final : public Transport {
 public:
  explicit CpprestTransport(const std::shared_ptr<Credentials>& credentials)
      : credentials_(credentials), client_(credentials->server(), Configure(credentials)) {}

  Result<HttpHead> Exchange(const HttpRequest& request, const HttpLimits& limits,
                            const std::stop_token& stop, const Receive& receive) override;

 private:
  Result<web::http::http_request> Prepare(const HttpRequest& request) const;
  static Result<HttpHead> Follow(Wire& wire, const HttpLimits& limits, const std::stop_token& stop,
                                 const Receive& receive);

  const std::shared_ptr<Credentials> credentials_;
  web::http::client::http_client client_;
};

Result<web::http::http_request> CpprestTransport::Prepare(const HttpRequest& request) const {
  const auto token = credentials_->Token();
  if (!token) return token.error();
  try {
    web::http::http_request prepared(request.method);
    prepared.set_request_uri(request.target);
    prepared.headers().add("Accept", "application/json");
    prepared.headers().add("User-Agent", "ullage");
    if (!token->empty()) prepared.headers().add("Authorization", "Bearer " + *token);
    if (!request.content_type.empty()) prepared.set_body(request.body, request.content_type);
    return prepared;
  } catch (const std::exception& error) {
    return Error(Code::kInvalid, host::Printable(error.what()));
  }
}

Result<HttpHead> CpprestTransport::Exchange(const HttpRequest& request, const HttpLimits& limits,
                                            const std::stop_token& stop, const Receive& receive) {
  auto prepared = Prepare(request);
  if (!prepared) return prepared.error();
  const auto wire = std::make_shared<Wire>();
  pplx::cancellation_token_source cancel;
  const auto sent = Caught([&] {
    const concurrency::streams::streambuf<std::uint8_t> buffer(std::make_shared<WireBuffer>(wire));
    prepared->set_response_stream(buffer.create_ostream());
    client_.request(*prepared, cancel.get_token())
        .then([wire](const pplx::task<web::http::http_response>& answered) {
          auto failed = Caught([&] {
            const auto response = answered.get();
            wire->Begin(response);
            response.content_ready().then([wire](const pplx::task<web::http::http_response>& done) {
              wire->End(Caught([&] { done.get(); }));
            });
          });
          if (failed) wire->End(std::move(failed));
        });
  });
  if (sent) return *sent;
  auto head = Follow(*wire, limits, stop, receive);
  // In this order: cancelling closes the connection, while an exchange that merely ended badly
  // would leave it for the next one, in the midst of its body.
  if (!head) cancel.cancel();
  wire->Leave();
  wire->AwaitEnd(steady_clock::now() + kLastWords);
  return head;
}

Result<HttpHead> CpprestTransport::Follow(Wire& wire, const HttpLimits& limits,
                                          const std::stop_token& stop, const Receive& receive) {
  const auto never = steady_clock::time_point::max();
  const auto after = [&](milliseconds limit) {
    return limit == milliseconds(0) ? never : steady_clock::now() + limit;
  };
  const auto end = after(limits.deadline);
  for (;;) {
    auto news = wire.Await(std::min(end, after(limits.silence)), stop);
    if (stop.stop_requested()) return Error(Code::kUnavailable, "stopping");
    if (!news) {
      return Error(Code::kDeadline,
                   steady_clock::now() >= end ? "no answer in time" : "the server has gone silent");
    }
    if (!news->piece.empty()) {
      if (auto taken = receive(wire.head(), news->piece); !taken) return taken.error();
      wire.Took(news->piece.size());
    }
    if (news->ended && news->error) return *news->error;
    if (news->ended) return wire.head();
  }
}

}  // namespace

Result<std::shared_ptr<Transport>> MakeTransport(const Access& access) {
  StartThreads();
  try {
    return std::shared_ptr<Transport>(
        std::make_shared<CpprestTransport>(std::make_shared<Credentials>(access)));
  } catch (const std::exception& error) {
    return Error(Code::kInvalid,
                 "'" + host::Printable(access.server) + "': " + host::Printable(error.what()));
  }
}

}  // namespace ullage::kube
