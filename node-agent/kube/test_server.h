// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "node-agent/host/file.h"
#include "node-agent/host/text.h"
#include "node-agent/kube/test_certificates.h"
#include "node-agent/kube/threads.h"

namespace ullage::kube {

/// For tests: a server on this machine that says byte for byte what a test wants.
class TestServer {
 public:
  /// One connection. Blocks like the socket that it is.
  class Peer {
   public:
    Peer(int socket, SSL* tls) : socket_(socket), tls_(tls) {}

    /// The next request, head and body; "" when the client closed.
    std::string ReadRequest() {
      std::string request;
      std::size_t wanted = std::string::npos;
      while (request.size() < wanted) {
        char byte = 0;
        if (Read(&byte, 1) != 1) return "";
        request += byte;
        if (wanted == std::string::npos && request.ends_with("\r\n\r\n")) {
          wanted = request.size() + ContentLength(request);
        }
      }
      return request;
    }
    void Write(const std::string& text) {
      std::size_t done = 0;
      while (done < text.size()) {
        const auto count = static_cast<int>(text.size() - done);
        const ssize_t put = tls_ != nullptr
                                ? SSL_write(tls_, text.data() + done, count)
                                : send(socket_, text.data() + done, text.size() - done, 0);
        if (put <= 0) return;
        done += static_cast<std::size_t>(put);
      }
    }
    void Answer(const std::string& status, const std::string& body,
                const std::string& headers = "") {
      Write("HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
            headers + "\r\n" + body);
    }
    void BeginChunks() { Write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"); }
    void Chunk(const std::string& text) {
      char size[32];
      snprintf(size, sizeof size, "%zx\r\n", text.size());
      Write(size + text + "\r\n");
    }
    void AwaitClose() {
      char bytes[4096];
      while (Read(bytes, sizeof bytes) > 0) continue;
    }
    SSL* tls() const { return tls_; }

   private:
    static std::size_t ContentLength(const std::string& head) {
      constexpr std::string_view kName = "Content-Length:";
      const std::size_t at = head.find(kName);
      if (at == std::string::npos) return 0;
      std::string_view rest = std::string_view(head).substr(at + kName.size());
      return host::ParseUnsigned(host::TakeUntil(rest, '\r')).value_or(0);
    }
    ssize_t Read(char* bytes, std::size_t count) {
      if (tls_ != nullptr) return SSL_read(tls_, bytes, static_cast<int>(count));
      return recv(socket_, bytes, count, 0);
    }

    int socket_;
    SSL* tls_;
  };
  using Talk = std::function<void(Peer&)>;

  explicit TestServer(Talk talk) : TestServer(std::move(talk), ContextPtr(nullptr, SSL_CTX_free)) {}
  /// Over TLS; `client_ca`: clients have to show a certificate of it.
  TestServer(Talk talk, const Identity& identity, const std::string& client_ca = "")
      : TestServer(std::move(talk), MakeServerContext(identity, client_ca)) {}

  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;
  ~TestServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const Connection& connection : connections_) shutdown(connection.fd.get(), SHUT_RDWR);
    }
    connections_.clear();
  }

  int port() const { return port_; }
  std::string Url() const {
    return std::string(context_ ? "https" : "http") + "://127.0.0.1:" + std::to_string(port_);
  }
  int connections() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(connections_.size());
  }

 private:
  struct Connection {
    host::Fd fd;
    std::jthread thread{};
  };

  TestServer(Talk talk, ContextPtr context) : talk_(std::move(talk)), context_(std::move(context)) {
    listener_ = host::Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    if (bind(listener_.get(), raw, size) != 0 || listen(listener_.get(), 16) != 0 ||
        getsockname(listener_.get(), raw, &size) != 0) {
      std::abort();
    }
    port_ = ntohs(address.sin_port);
    const SignalsBlocked blocked;  // SIGPIPE among them
    acceptor_ = std::jthread([this] { Accept(); });
  }

  void Accept() {
    for (;;) {
      const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard lock(mutex_);
      Connection& connection = connections_.emplace_back(Connection{host::Fd(fd)});
      connection.thread = std::jthread([this, fd] { Serve(fd); });
    }
  }

  void Serve(int fd) {
    const std::unique_ptr<SSL, decltype(&SSL_free)> tls(
        context_ ? SSL_new(context_.get()) : nullptr, SSL_free);
    if (tls) SSL_set_fd(tls.get(), fd);
    if (!tls || SSL_accept(tls.get()) == 1) {
      Peer peer(fd, tls.get());
      talk_(peer);
    }
    shutdown(fd, SHUT_RDWR);
  }

  const Talk talk_;
  const ContextPtr context_;
  host::Fd listener_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::list<Connection> connections_;
  std::jthread acceptor_;
};

}  // namespace ullage::kube
