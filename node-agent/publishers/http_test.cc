// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/http.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node-agent/host/file.h"
#include "node-agent/publishers/metrics.h"
#include "node-agent/publishers/page.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string Exchange(int port, const std::string& request) {
  const host::Fd peer(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(peer.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return "no connect";
  if (write(peer.get(), request.data(), request.size()) < 0) return "no write";
  std::string answer;
  char part[4096];
  for (ssize_t n; (n = read(peer.get(), part, sizeof part)) > 0;) {
    answer.append(part, static_cast<std::size_t>(n));
  }
  return answer;
}

class Http : public testing::Test {
 protected:
  void SetUp() override {
    auto started = HttpServer::Start({"127.0.0.1:0", seconds(1)}, bulletin_, metrics_, clock_);
    ASSERT_TRUE(started.ok()) << started.error().message();
    server_ = *std::move(started);
  }
  std::string Get(const std::string& path, const std::string& host = "localhost") {
    return Exchange(server_->port(), "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  }

  Bulletin bulletin_;
  FakeClock clock_;
  Metrics metrics_{bulletin_, clock_};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Http, IsReadyOnceAFreshTickExists) {
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 503"));
  bulletin_.Post(Shared(SampleReport()));
  clock_.now = seconds(103);
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 200"));
  clock_.now = seconds(104);
  EXPECT_THAT(Get("/readyz"), HasSubstr("not ready: the last tick is 4 s old"));
}

TEST_F(Http, ServesMetricsAndThePage) {
  EXPECT_THAT(Get("/"), HasSubstr("has just started"));
  bulletin_.Post(Shared(SampleReport()));
  EXPECT_THAT(Get("/metrics"), HasSubstr("ullage_published_bytes 536870912\n"));
  const std::string page = Get("/");
  EXPECT_THAT(page, HasSubstr("Content-Type: text/html; charset=utf-8"));
  EXPECT_THAT(page, HasSubstr("web-1"));
  EXPECT_THAT(page, HasSubstr("1.5 GiB"));
  EXPECT_THAT(page, HasSubstr("</html>"));
}

TEST_F(Http, ThePageIsForThisMachineOnly) {
  bulletin_.Post(Shared(SampleReport()));
  for (const char* path : {"/", "/metrics"}) {
    for (const char* host :
         {"localhost", "localhost:80", "127.0.0.1:9797", "127.1.2.3", "[::1]", "[::1]:9797"}) {
      EXPECT_THAT(Get(path, host), StartsWith("HTTP/1.1 200")) << path << " " << host;
    }
    for (const char* host : {"evil.example", "127.evil.example", "127.0.0.1.evil.example:80",
                             "127.0.0.1:x", "127.1", "[::1]evil.example", "[::1].evil:80", "[::1",
                             "localhost.evil.example", "10.0.0.1", "node-1:9797"}) {
      EXPECT_THAT(Get(path, host), StartsWith("HTTP/1.1 403")) << path << " " << host;
    }
  }
  EXPECT_THAT(Get("/healthz", "node-1:9797"), StartsWith("HTTP/1.1 200"));  // as a kubelet asks
}

TEST_F(Http, MetricsAreForOthersWhereTheListenerIs) {
  auto started = HttpServer::Start({"0.0.0.0:0", seconds(1)}, bulletin_, metrics_, clock_);
  ASSERT_TRUE(started.ok()) << started.error().message();
  server_ = *std::move(started);
  EXPECT_THAT(Get("/metrics", "node-1:9797"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get("/", "node-1:9797"), StartsWith("HTTP/1.1 403"));
}

TEST_F(Http, RefusesWhatItDoesNotServe) {
  EXPECT_THAT(Get("/etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get("/../../etc/passwd"), Not(StartsWith("HTTP/1.1 200")));
  EXPECT_THAT(Exchange(server_->port(), "DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
              StartsWith("HTTP/1.1 405"));
  const std::string head =
      Exchange(server_->port(), "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
}

TEST_F(Http, SaysWhichAddressIsTaken) {
  const std::string address = "127.0.0.1:" + std::to_string(server_->port());
  const auto second = HttpServer::Start({address, seconds(1)}, bulletin_, metrics_, clock_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kExists);
  EXPECT_THAT(second.error().message(), HasSubstr(address));
  EXPECT_THAT(second.error().message(), HasSubstr("in use"));
}

// Debian 12 builds civetweb without IPv6.
TEST_F(Http, ListensOnIpv6OrSaysThatItCannot) {
  const auto started = HttpServer::Start({"[::1]:0", seconds(1)}, bulletin_, metrics_, clock_);
  const std::string said = started.ok() ? "IPv6" : started.error().message();
  EXPECT_THAT(said, HasSubstr("IPv6"));
}

TEST_F(Http, RefusesAnAddressThatIsNone) {
  for (const char* address : {"", "9797", ":9797", "127.0.0.1:", "127.0.0.1:65536", "localhost:1s",
                              "127.0.0.1:80,0.0.0.0:81", "x/tmp/s:1", "127.0.0.1:9797\n"}) {
    const auto started = HttpServer::Start({address, seconds(1)}, bulletin_, metrics_, clock_);
    ASSERT_FALSE(started.ok()) << address;
    EXPECT_EQ(started.error().code(), Code::kInvalid) << address;
  }
}

TEST(Page, EscapesEverythingForeign) {
  EXPECT_EQ(EscapeHtml("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
  Report report = SampleReport();
  const std::string attack = "<script>alert(1)</script>\"'";
  VmState& vm = report.snapshot.vms[0];
  vm.spec.name = vm.fault = attack;
  vm.spec.id.value = report.plan.vms[0].id.value = attack;
  report.plan.vms[0].reason = report.plan.capacity.reason = report.mode = attack;
  report.snapshot.host.fault = attack;
  report.outcomes.push_back(
      {{Action::Kind::kSwitchHintingOn, vm.spec.id, attack}, Outcome::State::kFailed, attack});
  const std::string page = RenderPage(ToProto(report), milliseconds(5));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("</script")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;"));
}

TEST(Page, UnknownIsAQuestionMark) {
  Report report;
  report.snapshot.vms.push_back(VmState());
  const std::string page = RenderPage(ToProto(report), milliseconds(5));
  EXPECT_THAT(page, HasSubstr("<td>?</td>"));
  EXPECT_THAT(page, HasSubstr("memory is unknown"));
}

}  // namespace
}  // namespace ullage::publishers
