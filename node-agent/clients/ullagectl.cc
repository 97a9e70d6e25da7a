// SPDX-License-Identifier: Apache-2.0
// What anyone with the right to the agent's socket types: top, capacity, explain; and what a
// cluster's administrator does: cluster-cleanup; and what needs no agent: simulate.
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <thread>

#include "node-agent/api/target.h"
#include "node-agent/clients/channel.h"
#include "node-agent/clients/cleanup.h"
#include "node-agent/clients/moment.h"
#include "node-agent/clients/screen.h"
#include "node-agent/clients/simulate.h"
#include "node-agent/clients/views.h"
#include "node-agent/kube/cpprest_transport.h"
#include "node-agent/kube/kubeconfig.h"

namespace ullage::clients {
namespace {

constexpr milliseconds kDeadline{5000};

enum Exit { kDone = 0, kUnreachable = 1, kUsage = 2, kNotFound = 3 };

struct Arguments {
  std::string socket{api::kDefaultSocket};
  std::string output = "text";
  std::string vm;
  std::string at;       // empty: now
  std::string horizon;  // empty: the agent's default
  bool once = false;
  unsigned count = 0;  // 0: until interrupted
  std::string kubeconfig;
  CleanupOptions cleanup;
  SimulateOptions simulate;
  bool json() const { return output == "json"; }
};

struct Terminal {
  bool is = false;
  int rows = 24;
  int columns = 0;  // 0: unlimited
  bool color = false;
};

Terminal LookAtTerminal() {
  Terminal terminal;
  const char* kind = std::getenv("TERM");
  const std::string_view name = kind == nullptr ? "" : kind;
  terminal.is = isatty(STDOUT_FILENO) == 1 && !name.empty() && name != "dumb";
  if (!terminal.is) return terminal;
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  terminal.columns = known ? size.ws_col : 80;
  terminal.rows = known && size.ws_row > 0 ? size.ws_row : 24;
  const char* no_color = std::getenv("NO_COLOR");
  terminal.color = no_color == nullptr || *no_color == '\0';
  return terminal;
}

int Fail(const Error& error) {
  std::cerr << "ullagectl: " << error.message() << '\n';
  switch (error.code()) {
    case Code::kNotFound:
      return kNotFound;
    case Code::kInvalid:
      return kUsage;
    default:
      return kUnreachable;
  }
}

void Print(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) std::cout << line << '\n';
  std::cout.flush();
}

// Ends a watch on Ctrl-C by an ordinary thread: nothing that gRPC does is allowed in a handler.
class Interrupts {
 public:
  explicit Interrupts(AgentClient& client) : thread_([this, &client] { Wait(client); }) {}
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  ~Interrupts() {
    done_ = true;
    thread_.join();
  }
  // Before the first thread starts: all of them inherit it.
  static sigset_t Block() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    return signals;
  }

 private:
  void Wait(AgentClient& client) {
    const sigset_t signals = Block();
    const timespec nap{0, 50'000'000};
    while (!done_) {
      if (sigtimedwait(&signals, nullptr, &nap) < 0) continue;
      client.Cancel();
      return;
    }
  }

  std::atomic<bool> done_ = false;
  std::thread thread_;
};

// False when nobody reads any more.
bool ShowTop(const v1::Snapshot& snapshot, const Arguments& arguments, Screen& screen) {
  const Terminal terminal = LookAtTerminal();
  if (arguments.json()) return static_cast<bool>(std::cout << ToJson(snapshot) << std::endl);
  return screen.Show(TopLines(snapshot, {terminal.columns, terminal.color}), terminal.rows,
                     terminal.columns);
}

// One answer that is asked for has a deadline, which a watch cannot have.
int TopOnce(const Arguments& arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  AgentClient client(arguments.socket);
  const auto snapshot = client.GetSnapshot(kDeadline);
  if (!snapshot) return Fail(snapshot.error());
  Screen screen(std::cout, !arguments.json() && LookAtTerminal().is);
  ShowTop(*snapshot, arguments, screen);
  return kDone;
}

int Top(const Arguments& arguments) {
  if (arguments.once) return TopOnce(arguments);
  Interrupts::Block();
  AgentClient client(arguments.socket);
  const Interrupts interrupts(client);
  Screen screen(std::cout, !arguments.json() && LookAtTerminal().is);
  unsigned left = arguments.count;
  const bool counted = left > 0;
  const Status watched = client.Watch([&](const v1::Snapshot& snapshot) {
    const bool read = ShowTop(snapshot, arguments, screen);
    return read && (!counted || --left > 0);
  });
  return watched ? kDone : Fail(watched.error());
}

int Capacity(const Arguments& arguments) {
  AgentClient client(arguments.socket);
  const auto snapshot = client.GetSnapshot(kDeadline);
  if (!snapshot) return Fail(snapshot.error());
  const Terminal terminal = LookAtTerminal();
  if (arguments.json()) {
    std::cout << ToJson(snapshot->capacity()) << '\n';
  } else {
    Print(CapacityLines(*snapshot, {terminal.columns, terminal.color}));
  }
  return kDone;
}

int Explain(const Arguments& arguments) {
  AgentClient client(arguments.socket);
  std::optional<WallTime> at;
  if (!arguments.at.empty()) {
    const auto parsed = ParseMoment(arguments.at, std::chrono::system_clock::now());
    if (!parsed) return Fail(parsed.error());
    at = *parsed;
  }
  const auto explanation = client.Explain(arguments.vm, at, kDeadline);
  if (!explanation) return Fail(explanation.error());
  const Terminal terminal = LookAtTerminal();
  if (arguments.json()) {
    std::cout << ToJson(*explanation) << '\n';
  } else {
    Print(ExplainLines(*explanation, {terminal.columns, terminal.color}));
  }
  return kDone;
}

int Report(const Arguments& arguments) {
  seconds horizon{0};
  if (!arguments.horizon.empty()) {
    const auto parsed = ParseSpan(arguments.horizon);
    if (!parsed) return Fail(parsed.error());
    horizon = *parsed;
  }
  AgentClient client(arguments.socket);
  const auto history = client.GetHistory(horizon, kDeadline);
  if (!history) return Fail(history.error());
  const Terminal terminal = LookAtTerminal();
  if (arguments.json()) {
    std::cout << ToJson(*history) << '\n';
  } else {
    Print(HistoryLines(*history, {terminal.columns, terminal.color}));
  }
  return kDone;
}

int ClusterCleanup(const Arguments& arguments) {
  const auto access = arguments.kubeconfig.empty()
                          ? kube::InCluster(kube::PodEnvironment::OfThisProcess())
                          : kube::LoadKubeconfig(arguments.kubeconfig);
  if (!access) {
    std::cerr << "ullagectl: no way to an API server: " << access.error().message() << '\n';
    return kUsage;
  }
  const auto transport = kube::MakeTransport(*access);
  if (!transport) return Fail(transport.error());
  kube::RealPause pause;
  const host::SystemClock clock;
  const kube::Client client(*transport, {pause, clock, kube::SystemRandom()});
  const auto left = CleanUp(client, arguments.cleanup,
                            [](const std::string& line) { std::cout << line << std::endl; });
  if (!left) return Fail(left.error());
  if (left->none()) return kDone;
  if (arguments.cleanup.only_look) {
    std::cerr << "ullagectl: " << left->held
              << " nodes are held by the VMs above; stop or migrate those first\n";
    return kUnreachable;
  }
  std::cerr << "ullagectl: not everything is gone: ";
  if (left->failed > 0) std::cerr << left->failed << " failed; ";
  if (left->held > 0) {
    std::cerr << left->held << " nodes are held by the VMs above; stop or migrate those and ";
  }
  std::cerr << "run this again\n";
  return kUnreachable;
}

int RunSimulation(Arguments& arguments) {
  const Terminal terminal = LookAtTerminal();
  arguments.simulate.json = arguments.json();
  const Status done = Simulate(arguments.simulate, terminal.columns, terminal.color);
  return done ? kDone : Fail(done.error());
}

CLI::App* AddClusterCleanup(CLI::App& app, Arguments& arguments) {
  CLI::App* cleanup = app.add_subcommand(
      "cluster-cleanup", "take what Ullage published from a whole cluster; after its agents ended");
  cleanup
      ->add_option("--kubeconfig", arguments.kubeconfig,
                   "of an administrator; without it the service account of this pod")
      ->envname("KUBECONFIG");
  cleanup->add_flag("--check", arguments.cleanup.only_look,
                    "change nothing; say which pods stand on it, and fail where some do");
  CLI::Option* name_space =
      cleanup->add_option("--namespace", arguments.cleanup.name_space, "of --after-pods");
  cleanup
      ->add_option("--after-pods", arguments.cleanup.after_pods,
                   "label selector; first waits 2 minutes at most until no such pod runs")
      ->needs(name_space);
  return cleanup;
}

int Run(int argc, char** argv) {
  CLI::App app("What Ullage's agent on this host sees and decides.", "ullagectl");
  app.set_version_flag("--version", "ullagectl " ULLAGE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Arguments arguments;
  app.add_option("--socket", arguments.socket, "the agent's socket")
      ->envname("ULLAGE_SOCKET")
      ->capture_default_str();
  app.add_option("-o,--output", arguments.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  CLI::App* top = app.add_subcommand("top", "the host and its VMs, live");
  auto* once = top->add_flag("--once", arguments.once, "one snapshot, then end");
  top->add_option("-n", arguments.count, "end after so many snapshots")
      ->check(CLI::PositiveNumber)
      ->excludes(once);
  CLI::App* capacity = app.add_subcommand("capacity", "what may be promised, as a sum");
  CLI::App* explain = app.add_subcommand("explain", "why one VM counts as it does");
  explain->add_option("VM", arguments.vm, "name or UUID")->required();
  explain->add_option("--at", arguments.at,
                      "a past moment: 2026-11-21T08:30:00Z, or -10m; a day is kept");
  CLI::App* report =
      app.add_subcommand("report", "how many more VMs would have fitted, and how safely");
  report->add_option("--horizon", arguments.horizon, "how long a promise has to hold (10m)");
  CLI::App* cleanup = AddClusterCleanup(app, arguments);
  CLI::App* simulate = AddSimulate(app, arguments.simulate);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  if (*simulate) return RunSimulation(arguments);
  QuietGrpc();
  if (*top) return Top(arguments);
  if (*capacity) return Capacity(arguments);
  if (*report) return Report(arguments);
  if (*cleanup) return ClusterCleanup(arguments);
  return Explain(arguments);
}

}  // namespace
}  // namespace ullage::clients

int main(int argc, char** argv) {
  try {
    return ullage::clients::Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ullagectl: %s\n", error.what());
    return 1;
  }
}
