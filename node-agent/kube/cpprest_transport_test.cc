// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/cpprest_transport.h"

#include <gmock/gmock.h>

#include <future>
#include <semaphore>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/kube/client.h"
#include "node-agent/kube/test_server.h"

namespace ullage::kube {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using Peer = TestServer::Peer;

// Longer than any machine takes, so that a test that hangs ends.
constexpr HttpLimits kPatient{milliseconds(45000), milliseconds(0)};

struct Got {
  Result<HttpHead> head;
  std::string body;

  std::optional<Code> code() const {
    return head ? std::nullopt : std::optional(head.error().code());
  }
};

Got Exchange(Transport& transport, const HttpRequest& request, const HttpLimits& limits = kPatient,
             const std::stop_token& stop = {}) {
  std::string body;
  auto head =
      transport.Exchange(request, limits, stop, [&](const HttpHead&, std::string_view piece) {
        body += piece;
        return Ok();
      });
  return {std::move(head), std::move(body)};
}

Got Exchange(const Access& access, const HttpRequest& request = {"GET", "/api"},
             const HttpLimits& limits = kPatient, const std::stop_token& stop = {}) {
  auto transport = MakeTransport(access);
  if (!transport) return {transport.error(), ""};
  return Exchange(**transport, request, limits, stop);
}

TEST(CpprestTransport, SendsARequestAndReadsTheAnswer) {
  std::string asked;
  TestServer server([&](Peer& peer) {
    asked = peer.ReadRequest();
    peer.Answer("201 Created", "hello", "Retry-After: 7\r\n");
  });
  Access access{server.Url() + "/prefix"};
  access.token.text = "abc";
  const Got got = Exchange(access, {"POST", "/api/v1/a%2Fb?c=d%3De", "application/json", "{}"});
  ASSERT_TRUE(got.head.ok()) << got.head.error().message();
  EXPECT_EQ(got.head->status, 201);
  EXPECT_EQ(got.head->retry_after, seconds(7));
  EXPECT_EQ(got.body, "hello");
  EXPECT_THAT(asked, StartsWith("POST /prefix/api/v1/a%2Fb?c=d%3De HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nAuthorization:Bearer abc\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nContent-Type:application/json\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nAccept:application/json\r\n"));
  EXPECT_THAT(asked, testing::EndsWith("\r\n\r\n{}"));
}

TEST(CpprestTransport, APatchHasItsBody) {
  std::string asked;
  TestServer server([&](Peer& peer) {
    asked = peer.ReadRequest();
    peer.Answer("200 OK", "{}");
  });
  const Got got =
      Exchange({server.Url()}, {"PATCH", "/a", "application/apply-patch+yaml", "{\"a\":1}"});
  ASSERT_TRUE(got.head.ok()) << got.head.error().message();
  EXPECT_THAT(asked, StartsWith("PATCH /a HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("Content-Type:application/apply-patch+yaml\r\n"));
  EXPECT_THAT(asked, testing::EndsWith("{\"a\":1}"));
}

TEST(CpprestTransport, RetryAfterIsBoundedAndADateIsNone) {
  for (const auto& [header, wanted] :
       {std::pair<const char*, std::optional<milliseconds>>{"99999999", kMaxRetryAfter},
        {"0", milliseconds(0)},
        {"-1", std::nullopt},
        {"Wed, 21 Oct 2026 07:28:00 GMT", std::nullopt}}) {
    TestServer server([&](Peer& peer) {
      peer.ReadRequest();
      peer.Answer("429 Too Many", "", std::string("Retry-After: ") + header + "\r\n");
    });
    const Got got = Exchange({server.Url()});
    ASSERT_TRUE(got.head.ok()) << got.head.error().message();
    EXPECT_EQ(got.head->retry_after, wanted) << header;
  }
}

TEST(CpprestTransport, AStreamArrivesWhileItIsStillOpen) {
  std::promise<void> first;
  TestServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.BeginChunks();
    peer.Chunk("one\n");
    first.get_future().wait();  // the second is sent only when the first has arrived
    peer.Chunk("two\n");
    peer.Write("0\r\n\r\n");
  });
  const auto transport = MakeTransport({server.Url()});
  std::vector<std::string> pieces;
  const auto head = (*transport)
                        ->Exchange({"GET", "/"}, kPatient, {},
                                   [&](const HttpHead& so_far, std::string_view piece) {
                                     EXPECT_EQ(so_far.status, 200);
                                     pieces.emplace_back(piece);
                                     if (pieces.size() == 1) first.set_value();
                                     return Ok();
                                   });
  ASSERT_TRUE(head.ok()) << head.error().message();
  EXPECT_THAT(pieces, ElementsAre("one\n", "two\n"));
}

// The library may have the body at hand before it has told of the head.
TEST(CpprestTransport, NoPieceComesBeforeTheHead) {
  TestServer server([](Peer& peer) {
    while (!peer.ReadRequest().empty()) peer.Answer("299 Fine", "a");
  });
  const auto transport = MakeTransport({server.Url()});
  for (int i = 0; i < 500; ++i) {
    const auto head =
        (*transport)
            ->Exchange({"GET", "/"}, kPatient, {}, [](const HttpHead& so_far, std::string_view) {
              EXPECT_EQ(so_far.status, 299);
              return Ok();
            });
    ASSERT_TRUE(head.ok()) << head.error().message();
  }
}

TEST(CpprestTransport, LargeBodiesArriveWhole) {
  std::string large;
  for (int i = 0; large.size() < std::size_t{3} << 20; ++i) large += std::to_string(i) + " ";
  for (const bool chunked : {false, true}) {
    TestServer server([&](Peer& peer) {
      peer.ReadRequest();
      if (!chunked) return peer.Answer("200 OK", large);
      peer.BeginChunks();
      for (std::size_t at = 0; at < large.size(); at += 70001) peer.Chunk(large.substr(at, 70001));
      peer.Write("0\r\n\r\n");
    });
    const Got got = Exchange({server.Url()});
    ASSERT_TRUE(got.head.ok()) << got.head.error().message();
    EXPECT_TRUE(got.body == large) << chunked << ": " << got.body.size() << " bytes";
  }
}

TEST(CpprestTransport, WhoRefusesAPieceEndsTheExchangeAndTheConnection) {
  constexpr int kTimes = 100;
  std::counting_semaphore<kTimes> closed(0);
  TestServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.BeginChunks();
    peer.Chunk("one\n");
    peer.AwaitClose();
    closed.release();
  });
  const auto transport = MakeTransport({server.Url()});
  for (int i = 0; i < kTimes; ++i) {
    const auto head =
        (*transport)
            ->Exchange({"GET", "/"}, kPatient, {}, [](const HttpHead&, std::string_view) -> Status {
              return Error(Code::kExhausted, "enough");
            });
    ASSERT_FALSE(head.ok());
    EXPECT_EQ(head.error().message(), "enough");
    // A connection that is kept in the midst of a body would give the next one the rest of it.
    ASSERT_TRUE(closed.try_acquire_for(seconds(45)));
  }
}

TEST(CpprestTransport, ADeadlineEndsTheExchangeAndTheConnection) {
  std::promise<void> closed;
  TestServer server([&](Peer& peer) {
    peer.AwaitClose();
    closed.set_value();
  });
  const auto transport = MakeTransport({server.Url()});
  const Got got = Exchange(**transport, {"GET", "/"}, {milliseconds(200), milliseconds(0)});
  EXPECT_EQ(got.code(), Code::kDeadline);
  if (server.connections() > 0) closed.get_future().wait();
}

TEST(CpprestTransport, AServerThatGoesSilentIsLeft) {
  TestServer server([](Peer& peer) {
    peer.ReadRequest();
    peer.BeginChunks();
    peer.Chunk("one\n");
    peer.AwaitClose();
  });
  const Got got = Exchange({server.Url()}, {"GET", "/"}, {milliseconds(0), milliseconds(300)});
  EXPECT_EQ(got.code(), Code::kDeadline);
  EXPECT_THAT(got.head.error().message(), HasSubstr("silent"));
}

TEST(CpprestTransport, AStopEndsTheExchange) {
  std::stop_source stop;
  std::promise<void> closed;
  TestServer server([&](Peer& peer) {
    peer.ReadRequest();
    stop.request_stop();
    peer.AwaitClose();
    closed.set_value();
  });
  const auto transport = MakeTransport({server.Url()});
  const Got got = Exchange(**transport, {"GET", "/"}, {milliseconds(0)}, stop.get_token());
  EXPECT_EQ(got.code(), Code::kUnavailable);
  EXPECT_EQ(got.head.error().message(), "stopping");
  closed.get_future().wait();
}

TEST(CpprestTransport, ARedirectIsNotFollowed) {
  TestServer other([](Peer& peer) { peer.Answer("200 OK", "stolen"); });
  TestServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Answer("302 Found", "", "Location: " + other.Url() + "/\r\n");
  });
  const Got got = Exchange({server.Url()});
  EXPECT_NE(got.body, "stolen");
  if (got.head.ok()) {
    EXPECT_EQ(got.head->status, 302);
  }
  EXPECT_EQ(other.connections(), 0);
}

TEST(CpprestTransport, SaysWhenNobodyListensOrTheConnectionBreaks) {
  std::string nobody;
  {
    TestServer server([](Peer&) {});
    nobody = server.Url();
  }
  EXPECT_EQ(Exchange({nobody}).code(), Code::kUnavailable);
  TestServer closes([](Peer& peer) { peer.ReadRequest(); });
  EXPECT_EQ(Exchange({closes.Url()}).code(), Code::kUnavailable);
  TestServer breaks([](Peer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  });
  EXPECT_EQ(Exchange({breaks.Url()}).code(), Code::kUnavailable);
  TestServer mumbles([](Peer& peer) {
    peer.ReadRequest();
    peer.Write("220 ftp ready\r\n\r\n");
  });
  EXPECT_EQ(Exchange({mumbles.Url()}).code(), Code::kUnavailable);
}

TEST(CpprestTransport, AKeptConnectionThatTheServerClosedHurtsNoRead) {
  TestServer server([](Peer& peer) {
    peer.ReadRequest();
    peer.Answer("200 OK", "a");  // and closes, without a word
  });
  RealPause pause;
  const host::SystemClock clock;
  ClientOptions options;
  options.deadline = milliseconds(45000);
  options.backoff = {milliseconds(1), milliseconds(1)};
  const Client client(*MakeTransport({server.Url()}), {pause, clock, SystemRandom()}, options);
  for (int i = 0; i < 5; ++i) {
    const auto got = client.GetText({kNodes, "", "n"});
    EXPECT_TRUE(got.ok()) << got.error().message();
  }
}

TEST(CpprestTransport, AKeptConnectionIsUsedAgain) {
  TestServer server([](Peer& peer) {
    while (!peer.ReadRequest().empty()) peer.Answer("200 OK", "a");
  });
  const auto transport = MakeTransport({server.Url()});
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Exchange(**transport, {"GET", "/"}).body, "a");
  // The library puts a connection back a moment after the answer: another may have been opened.
  EXPECT_LT(server.connections(), 50);
}

TEST(CpprestTransport, RefusesAnAddressThatIsNone) {
  for (const char* address : {"", "nonsense", "https://", "ftp://h"}) {
    const auto transport = MakeTransport({address});
    EXPECT_FALSE(transport.ok()) << address;
  }
}

class Tls : public testing::Test {
 protected:
  static void Hello(Peer& peer) {
    while (!peer.ReadRequest().empty()) peer.Answer("200 OK", "hello");
  }
  static Access With(const TestServer& server, const std::string& ca) {
    Access access{server.Url()};
    access.ca.text = ca;
    return access;
  }

  const Authority cluster_{"cluster"};
  const Authority other_{"other"};
  const Identity here_ = cluster_.Issue("api", "IP:127.0.0.1");
};

TEST_F(Tls, TheClustersCaProvesTheServer) {
  TestServer server(Hello, here_);
  const Got got = Exchange(With(server, cluster_.certificate()));
  ASSERT_TRUE(got.head.ok()) << got.head.error().message();
  EXPECT_EQ(got.body, "hello");
  // A bundle, as it is while the CA changes.
  EXPECT_EQ(Exchange(With(server, other_.certificate() + cluster_.certificate())).body, "hello");
}

TEST_F(Tls, AnotherCaIsRefused) {
  TestServer server(Hello, here_);
  const Got got = Exchange(With(server, other_.certificate()));
  ASSERT_FALSE(got.head.ok());
  EXPECT_EQ(got.code(), Code::kDenied) << got.head.error().message();
  EXPECT_THAT(got.head.error().message(), HasSubstr("certificate"));
}

TEST_F(Tls, TheSystemsCasAreNoneOfTheClusters) {
  TestServer server(Hello, here_);
  EXPECT_EQ(Exchange({server.Url()}).code(), Code::kDenied);
}

TEST_F(Tls, ACertificateForAnotherAddressIsRefused) {
  TestServer server(Hello, cluster_.Issue("127.0.0.1", "IP:127.0.0.2"));
  EXPECT_EQ(Exchange(With(server, cluster_.certificate())).code(), Code::kDenied);
}

TEST_F(Tls, AnExpiredCertificateIsRefused) {
  TestServer server(Hello, cluster_.Issue("api", "IP:127.0.0.1", -1));
  EXPECT_EQ(Exchange(With(server, cluster_.certificate())).code(), Code::kDenied);
}

TEST_F(Tls, ACaThatIsNoneIsAnError) {
  TestServer server(Hello, here_);
  const Got got = Exchange(With(server, "no PEM"));
  EXPECT_EQ(got.code(), Code::kInvalid);
  EXPECT_THAT(got.head.error().message(), HasSubstr("CA is no certificate"));
}

TEST_F(Tls, RotatedSecretsAreUsedWithoutARestart) {
  std::mutex mutex;
  std::string asked;
  TestServer server(
      [&](Peer& peer) {
        const std::string request = peer.ReadRequest();
        const std::lock_guard lock(mutex);
        asked = request;
        peer.Answer("200 OK", "hello", "Connection: close\r\n");
      },
      here_);
  const host::TemporaryTree tree;
  tree.Write("ca.crt", other_.certificate());
  tree.Write("token", "one");
  Access access{server.Url()};
  access.ca.file = tree.path("ca.crt");
  access.token.file = tree.path("token");
  const auto transport = MakeTransport(access);
  EXPECT_EQ(Exchange(**transport, {"GET", "/"}).code(), Code::kDenied);
  tree.Write("ca.crt", cluster_.certificate());
  EXPECT_EQ(Exchange(**transport, {"GET", "/"}).body, "hello");
  EXPECT_THAT(asked, HasSubstr("Bearer one\r\n"));
  tree.Write("token", "two");
  EXPECT_EQ(Exchange(**transport, {"GET", "/"}).body, "hello");
  EXPECT_THAT(asked, HasSubstr("Bearer two\r\n"));
  tree.Remove("token");
  EXPECT_EQ(Exchange(**transport, {"GET", "/"}).code(), Code::kNotFound);
}

TEST_F(Tls, AClientCertificateIsShown) {
  TestServer server(Hello, here_, cluster_.certificate());
  Access access = With(server, cluster_.certificate());
  EXPECT_FALSE(Exchange(access).head.ok());
  const Identity me = cluster_.Issue("me", "DNS:me");
  access.certificate.text = me.certificate;
  access.key.text = me.key;
  const Got got = Exchange(access);
  ASSERT_TRUE(got.head.ok()) << got.head.error().message();
  EXPECT_EQ(got.body, "hello");
  access.key.text = here_.key;
  EXPECT_THAT(Exchange(access).head.error().message(), HasSubstr("client key"));
}

}  // namespace
}  // namespace ullage::kube
