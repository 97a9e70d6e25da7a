// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/http.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <netinet/in.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <mutex>
#include <sstream>
#include <thread>

#include "node-agent/host/file.h"
#include "node-agent/host/text.h"
#include "node-agent/publishers/page.h"
#include "node-agent/publishers/proto_view.h"

namespace ullage::publishers {
namespace {

constexpr const char* kText = "text/plain; charset=utf-8";
constexpr const char* kMetrics = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* kHtml = "text/html; charset=utf-8";

struct Answer {
  int status = 200;
  const char* type = kText;
  std::string body;
};

// What stands before the port in "HOST", "HOST:PORT", "[V6]" or "[V6]:PORT"; empty if it is none.
std::string WithoutPort(std::string_view authority) {
  const bool v6 = authority.starts_with('[');
  const std::size_t end = v6 ? authority.find(']') : authority.find(':');
  if (v6 && end == std::string_view::npos) return "";
  const std::string_view host = authority.substr(0, v6 ? end + 1 : end);
  const std::string_view port = authority.substr(host.size());
  const bool sound =
      port.empty() || (port.front() == ':' && port.find_first_not_of("0123456789", 1) == port.npos);
  return sound ? std::string(host) : "";
}

// Addresses are parsed: "127.evil.example" is a name, and whose it is its owner says.
bool IsLoopbackHost(const std::string& host) {
  if (host == "localhost" || host == "[::1]") return true;
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

// Only a peer on this machine, and only one that asked for this machine by name: a web page from
// elsewhere whose name points here reads nothing.
bool FromThisMachine(const mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  const std::string_view peer = request->remote_addr;
  const char* asked = mg_get_header(connection, "Host");
  const bool local = peer.starts_with("127.") || peer == "::1" || peer.starts_with("::ffff:127.");
  return local && (asked == nullptr || IsLoopbackHost(WithoutPort(asked)));
}

// "127.0.0.1:9797" or "[::1]:9797". civetweb reads much more into its option: several ports, TLS
// and redirects by a trailing letter, a unix socket; none of that may come from our configuration.
Status CheckAddress(const std::string& address) {
  const Error wrong(Code::kInvalid,
                    "'" + host::Printable(address) + "' is not ADDRESS:PORT, like 127.0.0.1:9797");
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return wrong;
  const std::string_view port = std::string_view(address).substr(colon + 1);
  const auto number = host::ParseUnsigned(port);
  if (!number || *number > 65535 || port.ends_with('\n')) return wrong;
  constexpr std::string_view kAllowed = "0123456789abcdefABCDEF.:[]";
  if (address.find_first_not_of(kAllowed) != std::string::npos) return wrong;
  if (address.front() == '[' && mg_check_feature(MG_FEATURES_IPV6) == 0) {
    return Error(Code::kInvalid, "'" + address + "': this system's civetweb has no IPv6");
  }
  return Ok();
}

const char* Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

void Send(mg_connection* connection, const Answer& answer, bool with_body) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
            "Connection: close\r\n\r\n",
            answer.status, Reason(answer.status), answer.type, answer.body.size());
  if (with_body) mg_write(connection, answer.body.data(), answer.body.size());
}

}  // namespace

struct HttpServer::Parts {
  const Bulletin& bulletin;
  const prometheus::Collectable& metrics;
  const host::Clock& clock;
  milliseconds period;
  bool loopback_only;  // listens for this machine alone
  mg_context* context = nullptr;
  // What civetweb says while it starts: it logs a cause on the thread that calls it.
  const std::thread::id starter = std::this_thread::get_id();
  std::string first_message{};

  ~Parts() {
    if (context == nullptr) return;
    // civetweb's listener looks at its stop flag only every 2 s, or when somebody connects.
    const int port = Port();
    std::atomic<bool> stopped = false;
    std::thread stopper([&] {
      mg_stop(context);
      stopped = true;
    });
    while (!stopped) {
      Poke(port);
      std::this_thread::sleep_for(milliseconds(10));
    }
    stopper.join();
  }

  int Port() const {
    mg_server_ports port{};
    return mg_get_server_ports(context, 1, &port) == 1 ? port.port : 0;
  }

  static void Poke(int port) {
    const host::Fd peer(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    static_cast<void>(connect(peer.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to));
  }

  Answer Metrics() const {
    std::ostringstream body;
    prometheus::TextSerializer().Serialize(body, metrics.Collect());
    return {200, kMetrics, body.str()};
  }

  Answer Ready() const {
    const auto report = bulletin.Latest();
    if (!report) return {503, kText, "not ready: the first tick is not done\n"};
    const auto age = clock.Now().boot - report->snapshot.at.boot;
    if (age <= 3 * period) return {200, kText, "ready\n"};
    return {503, kText,
            "not ready: the last tick is " +
                std::to_string(std::chrono::duration_cast<seconds>(age).count()) + " s old\n"};
  }

  Answer Page() const {
    const auto report = bulletin.Latest();
    if (!report) return {200, kHtml, RenderEmptyPage()};
    const auto age = clock.Now().boot - report->snapshot.at.boot;
    return {200, kHtml,
            RenderPage(ToProto(*report), std::chrono::duration_cast<milliseconds>(age))};
  }

  Answer Route(const mg_connection* connection) const {
    const char* path = mg_get_request_info(connection)->local_uri;
    const std::string_view asked = path == nullptr ? "" : path;
    if (asked == "/healthz") return {200, kText, "ok\n"};
    if (asked == "/readyz") return Ready();
    if (asked != "/" && asked != "/metrics") {
      return {404, kText, "there are /, /metrics, /healthz and /readyz\n"};
    }
    // The page names VMs and is never for others; metrics are, where somebody opened the listener.
    const bool for_others = asked == "/metrics" && !loopback_only;
    if (!for_others && !FromThisMachine(connection)) {
      return {403, kText, "this is for this machine only: use ssh -L or kubectl port-forward\n"};
    }
    return asked == "/metrics" ? Metrics() : Page();
  }

  static int Handle(mg_connection* connection) {
    const std::string_view method = mg_get_request_info(connection)->request_method;
    Answer answer{405, kText, "only GET and HEAD\n"};
    if (method == "GET" || method == "HEAD") {
      try {  // civetweb is C: nothing may fly through it
        answer = Of(connection)->Route(connection);
      } catch (const std::exception&) {
        answer = {500, kText, "internal error\n"};
      }
    }
    Send(connection, answer, method != "HEAD");
    return answer.status;
  }

  static Parts* Of(const mg_connection* connection) {
    return static_cast<Parts*>(mg_get_user_data(mg_get_context(connection)));
  }

  static int Log(const mg_connection* connection, const char* message) {
    Parts* self = connection == nullptr ? nullptr : Of(connection);
    if (self != nullptr && self->starter == std::this_thread::get_id() &&
        self->first_message.empty()) {
      self->first_message = message;  // the later ones only say that it gives up
    }
    return 1;  // logged; civetweb itself writes nowhere
  }
};

HttpServer::HttpServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options,
                                                      const Bulletin& bulletin,
                                                      const prometheus::Collectable& metrics,
                                                      const host::Clock& clock) {
  const Status sound = CheckAddress(options.address);
  if (!sound) return sound.error();
  static std::once_flag once;
  std::call_once(once, [] { mg_init_library(MG_FEATURES_DEFAULT); });

  std::unique_ptr<Parts> parts(new Parts{bulletin, metrics, clock, options.period,
                                         IsLoopbackHost(WithoutPort(options.address))});
  std::array settings{"listening_ports",
                      options.address.c_str(),
                      "num_threads",
                      "2",
                      "request_timeout_ms",
                      "5000",
                      "enable_keep_alive",
                      "no",
                      "enable_directory_listing",
                      "no",
                      static_cast<const char*>(nullptr)};
  mg_callbacks callbacks{};
  callbacks.begin_request = &Parts::Handle;
  callbacks.log_message = &Parts::Log;
  mg_init_data init{&callbacks, parts.get(), settings.data()};
  unsigned code = 0;
  std::array<char, 256> text{};
  mg_error_data error{&code, text.data(), text.size()};
  mg_context* context = mg_start2(&init, &error);
  if (context == nullptr) {
    const std::string why =
        parts->first_message.empty() ? std::string(text.data()) : parts->first_message;
    return Error(Code::kExists, "cannot serve HTTP on " + options.address + ": " +
                                    host::Printable(why) + "; choose another address");
  }
  parts->context = context;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(parts)));
}

int HttpServer::port() const { return parts_->Port(); }

}  // namespace ullage::publishers
