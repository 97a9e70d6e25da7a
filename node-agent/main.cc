// SPDX-License-Identifier: Apache-2.0
// ullage-agent: flags, configuration, wiring; nothing else. The tick is in agent/agent.cc.
#include <malloc.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <set>
#include <thread>

#include "node-agent/agent/agent.h"
#include "node-agent/agent/carried.h"
#include "node-agent/agent/change_book.h"
#include "node-agent/agent/history_file.h"
#include "node-agent/agent/kubernetes.h"
#include "node-agent/host/unix_socket.h"
#include "node-agent/model/human.h"
#include "node-agent/publishers/cluster_publisher.h"
#include "node-agent/publishers/grpc_server.h"
#include "node-agent/publishers/http.h"
#include "node-agent/publishers/metrics.h"
#include "node-agent/publishers/recorder.h"
#include "node-agent/sources/launcher.h"
#include "qemu-backend/directory.h"
#include "qemu-backend/launchers.h"
#include "qemu-backend/pid_file.h"
#include "qemu-backend/thread.h"

namespace ullage {
namespace {

struct Flags {
  std::string config = "/etc/ullage/agent.yaml";
  bool config_given = false;
  bool standalone = false;
  bool check_config = false;
  bool dry_run = false;
};

constexpr int kUsage = 2;

int Fail(const Error& error) {
  std::fprintf(stderr, "ullage-agent: %s\n", error.message().c_str());
  return 1;
}

// SIGINT and SIGTERM are taken between ticks and nowhere else; every thread inherits the mask.
sigset_t BlockSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// A VM takes about five descriptors, and the soft limit is for programs that use select().
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
  setrlimit(RLIMIT_NOFILE, &limit);
}

// True when a signal came, false when the time was up.
bool WaitForSignal(const sigset_t& signals, std::chrono::nanoseconds patience) {
  const auto whole = std::chrono::floor<seconds>(std::max(patience, std::chrono::nanoseconds(0)));
  const timespec timeout{static_cast<time_t>(whole.count()),
                         static_cast<long>(std::max<std::int64_t>(0, (patience - whole).count()))};
  return sigtimedwait(&signals, nullptr, &timeout) > 0;
}

Result<agent::Config> Load(const Flags& flags) {
  auto config = agent::LoadConfig(flags.config);
  const bool absent = !config && config.error().code() == Code::kGone;
  if (absent && !flags.config_given) return agent::Config{};
  if (config && flags.dry_run) {
    config->mode = agent::Mode::kObserve;
    config->state_dir += "/dry-run";  // what it would have promised must not count later
  }
  return config;
}

void StartLog(const agent::Config& config) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("ullage"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(config.log_level));
  spdlog::flush_on(spdlog::level::info);
}

// The host may run short between two ticks, or have enough again. True when a signal came.
bool RestUntil(BootTime& next, agent::Agent& agent, const host::Clock& clock,
               const sigset_t& signals) {
  constexpr milliseconds kBetweenLooks{250};
  for (;;) {
    const auto rest = next - clock.Now().boot;
    if (WaitForSignal(signals, std::min<std::chrono::nanoseconds>(rest, kBetweenLooks)))
      return true;
    const BootTime now = clock.Now().boot;
    if (now >= next) return false;
    if (!agent.HostHasTurned()) continue;
    next = now;
    return false;
  }
}

void TickUntilSignal(agent::Agent& agent, const agent::Config& config, const host::Clock& clock,
                     const sigset_t& signals, agent::HistoryFile& file) {
  BootTime next = clock.Now().boot;
  do {
    agent.Tick();
    const Status kept = file.Keep(agent.histories(), clock.Now().boot);
    if (!kept) spdlog::warn("the histories are not kept: {}", kept.error().message());
    next += config.tick;
    const BootTime now = clock.Now().boot;
    // After a stop (SIGSTOP, suspend) the missed ticks are not made up for.
    if (next < now) next = now;
    if (RestUntil(next, agent, clock, signals)) return;
  } while (true);
}

// Which parameters of guests' drivers to look at: what is wanted, and what may have to be undone.
std::vector<std::string> WatchedParameters(const agent::Config& config,
                                           const agent::ChangeBook& book) {
  std::set<std::string> names;
  for (const auto& [name, value] : config.policy.guest_parameters) names.insert(name);
  for (const GuestChange& change : book.Changes()) names.insert(change.name);
  return {names.begin(), names.end()};
}

// What was set in guests is put back, as far as their agents answer. Never waits long: a guest's
// agent must not keep this one from ending.
void Restore(agent::Agent& agent, const agent::Config& config, const host::Clock& clock) {
  const BootTime until = clock.Now().boot + config.libvirt.deadline + seconds(3);
  agent.WishNothing();
  do {
    agent.Tick();
    if (!agent.Restores()) return;
    std::this_thread::sleep_for(milliseconds(50));
  } while (clock.Now().boot < until);
  spdlog::warn("not everything that was set in guests could be put back in time");
}

Result<std::unique_ptr<admission::Ledger>> OpenLedger(const agent::Config& config,
                                                      const std::string& boot_id) {
  auto ledger = admission::Ledger::Open(config.state_dir + "/ledger.json", boot_id);
  if (!ledger) return ledger.error();
  if (!(*ledger)->trouble().empty()) spdlog::warn("ledger: {}", (*ledger)->trouble());
  if (!(*ledger)->complete() && qemu::NobodyRuns(config.libvirt.run_dir)) {
    if (const Status written = (*ledger)->PutAll({}, true); !written) return written.error();
  }
  return ledger;
}

qemu::LibvirtOptions Options(const agent::Config& config, const agent::ChangeBook& book,
                             const host::Roots& roots) {
  return {.uri = config.libvirt.uri,
          .run_dir = config.libvirt.run_dir,
          .deadline = config.libvirt.deadline,
          .list_period = config.libvirt.list_period,
          .refresh = config.libvirt.refresh,
          .proof_period = config.libvirt.proof_period,
          .guest_rule = config.guest.agent,
          .guest_read_every = config.guest.read_every,
          .guest_parameters = WatchedParameters(config, book),
          .roots = roots};
}

void Warn(const std::string& line) { spdlog::warn("{}", line); }

// What of this agent others can ask.
struct Fronts {
  std::unique_ptr<publishers::GrpcServer> grpc;
  std::unique_ptr<publishers::HttpServer> http;
};
Result<Fronts> Serve(const agent::Config& config, publishers::Bulletin& bulletin,
                     publishers::Metrics& metrics, const host::Clock& clock,
                     publishers::AdmissionGate* gate, const publishers::Recorder& recorder) {
  Fronts fronts;
  auto grpc = publishers::GrpcServer::Start({.socket = config.socket, .recorder = &recorder},
                                            bulletin, gate);
  if (!grpc) return grpc.error();
  fronts.grpc = *std::move(grpc);
  if (config.listen.empty()) return fronts;
  auto http = publishers::HttpServer::Start({config.listen, config.tick}, bulletin, metrics, clock);
  if (!http) return http.error();
  fronts.http = *std::move(http);
  return fronts;
}

// What hands over to the next agent: the part of the last tick that it could not know by itself.
struct Succession {
  std::string file;
  std::string boot_id;

  void Begin(agent::Agent& agent, const host::Clock& clock) const {
    auto taken = agent::TakeCarried(file, boot_id, clock.Now().boot);
    if (!taken) return spdlog::warn("left by the last agent: {}", taken.error().message());
    if (!*taken) return;
    spdlog::info("the last agent left {}, to be promised again as far as it is safe",
                 InMiB((*taken)->additional));
    agent.Inherit(**std::move(taken));
  }
  void End(const publishers::Bulletin& bulletin) const {
    const auto last = bulletin.Latest();
    if (!last) return;
    const Status left = agent::LeaveCarried(file, boot_id, *last);
    if (!left) spdlog::warn("nothing is left for the next agent: {}", left.error().message());
  }
};

// Ticks until a signal comes, and leaves nothing behind in guests.
void Live(agent::Agent& agent, const agent::Config& config, const agent::ChangeBook& book,
          const agent::Taking& taking, const host::Clock& clock, const sigset_t& signals,
          const std::string& boot_id, const publishers::Bulletin& bulletin) {
  const Succession succession{config.state_dir + "/carried.json", boot_id};
  succession.Begin(agent, clock);
  agent::HistoryFile file(config.state_dir + "/histories.json", boot_id);
  const Status restored = file.Restore(agent.histories(), clock.Now().boot);
  if (!restored) spdlog::warn("begins without histories: {}", restored.error().message());
  TickUntilSignal(agent, config, clock, signals, file);
  const Status kept = file.Write(agent.histories());
  if (!kept) spdlog::warn("the histories are not kept: {}", kept.error().message());
  succession.End(bulletin);
  if (!book.Changes().empty() || taking.taker().Owes()) Restore(agent, config, clock);
  spdlog::info("ullage-agent: ending");
}

Result<std::unique_ptr<agent::ChangeBook>> OpenBook(const agent::Config& config,
                                                    const std::string& boot_id) {
  auto book = agent::ChangeBook::Open(config.state_dir + "/guest-changes.json", boot_id);
  if (book && !(*book)->trouble().empty()) {
    spdlog::warn("changes in guests: {}", (*book)->trouble());
  }
  return book;
}

// Beside the socket, in memory: of this boot, and no disk is written at each tick. `sources`
// outlives it.
Result<std::unique_ptr<agent::Taking>> OpenTaking(
    const agent::Config& config, const std::string& boot_id, const host::Roots& roots,
    actuators::BalloonSetter& setter, const sources::Sources& sources, const std::string& keeper) {
  auto taking = agent::Taking::Open(
      {host::FolderOf(config.socket), boot_id, roots, config.mode == Mode::kReclaim ? keeper : ""},
      setter, [&sources](const VmId& vm) { return sources.CgroupOf(vm); });
  if (taking && !(*taking)->trouble().empty()) {
    spdlog::warn("what was taken: {}", (*taking)->trouble());
  }
  return taking;
}

// What looks into hybrid VMs' memory and takes what is cold; in mode reclaim only.
struct Cold {
  std::unique_ptr<sources::Probe> probe;
  std::unique_ptr<actuators::Pager> pager;

  Cold(const agent::Config& config, const host::Roots& roots, const host::Clock& clock,
       sources::Sources& sources, agent::Taking& taking) {
    if (config.mode != Mode::kReclaim) return;
    std::string why;
    probe = sources::ChooseProbe(roots, clock, config.policy.cold_after, why);
    pager = std::make_unique<actuators::Pager>(
        [roots](const host::VmProcess& vm) { return host::QemuMemory::Open(roots, vm); },
        [this](const VmId& vm, Bytes amount) -> Result<std::vector<host::AddressRange>> {
          if (probe == nullptr) return Error(Code::kNotFound, "no probe looks at any VM");
          return probe->TakeCold(vm, amount);
        });
    if (probe != nullptr) sources.Use(*probe);
    taking.Use(*pager);
    spdlog::info("what is cold is found by {}{}",
                 probe == nullptr ? "the kernel's own lists" : probe->Name(),
                 why.empty() ? "" : " (" + why + ")");
  }
};

int RunStandalone(const agent::Config& config, const sigset_t& signals) {
  const host::Roots roots;
  const host::SystemClock clock;
  const auto boot_id = host::BootId(roots);
  if (!boot_id) return Fail(boot_id.error());
  auto ledger = OpenLedger(config, *boot_id);
  if (!ledger) return Fail(ledger.error());
  const auto book = OpenBook(config, *boot_id);
  if (!book) return Fail(book.error());

  const auto directory = qemu::LibvirtDirectory::Start(Options(config, **book, roots), clock);
  const bool writes = config.mode != Mode::kObserve;
  agent::Gate gate(**ledger, config.policy, clock,
                   {.enforce = writes,
                    .say = [](const std::string& line) { spdlog::info("admission: {}", line); }});
  sources::Sources sources(sources::HostMemory(roots, config.host_cgroup), sources::Charges(roots),
                           *directory, gate, **book);
  actuators::Hints hints(*directory, writes);
  actuators::GuestParameters parameters(*directory, **book, writes);
  publishers::Bulletin bulletin;
  const publishers::Recorder recorder({config.state_dir, Warn}, bulletin);
  publishers::Metrics metrics(bulletin, clock);
  metrics.Also({.recorder = &recorder, .qemus = [&] { return directory->Counters(); }});
  const auto fronts = Serve(config, bulletin, metrics, clock, &gate, recorder);
  if (!fronts) return Fail(fronts.error());

  const auto taking = OpenTaking(config, *boot_id, roots, *directory, sources,
                                 agent::KeeperBesideThisProgram(roots));
  if (!taking) return Fail(taking.error());
  const Cold cold(config, roots, clock, sources, **taking);
  agent::Agent agent(config, {clock, sources, hints, parameters, &gate, bulletin,
                              [&](const Report& report) { metrics.Count(report); }, taking->get()});
  spdlog::info("ullage-agent: mode {}, {}, socket {}, metrics {}", Name(config.mode),
               config.libvirt.uri, config.socket, config.listen.empty() ? "off" : config.listen);
  Live(agent, config, **book, **taking, clock, signals, *boot_id, bulletin);
  bulletin.Close();
  return 0;
}

// Null: no VM is ever asked to go.
std::unique_ptr<actuators::Mover> MakeMover(const agent::Config& config,
                                            const agent::KubernetesNode& node,
                                            agent::Taking& taking) {
  const LastStep last = config.kubernetes.last_step;
  if (config.mode != Mode::kReclaim || last == LastStep::kNone) return nullptr;
  auto mover = std::make_unique<actuators::Mover>(
      node.client(), actuators::MoverOptions{.node = node.name(), .last_step = last});
  taking.taker().Use(*mover);
  return mover;
}

qemu::LauncherWays Ways(const agent::Config& config, const host::Roots& roots) {
  return {.find =
              [roots, kubelet = config.kubernetes.kubelet_dir](const sources::LauncherPod& pod,
                                                               milliseconds patience) {
                return sources::FindLauncher(roots, kubelet, pod, patience);
              },
          .socket =
              [roots](const sources::Launcher& launcher) {
                return sources::OpenLibvirtSocket(roots, launcher);
              }};
}

qemu::LibvirtOptions OnNodeOptions(const agent::Config& config, const agent::ChangeBook& book,
                                   const host::Roots& roots) {
  qemu::LibvirtOptions options = qemu::LauncherDefaults();
  options.deadline = config.libvirt.deadline;
  options.guest_rule = config.guest.agent;
  options.guest_read_every = config.guest.read_every;
  options.guest_parameters = WatchedParameters(config, book);
  options.roots = roots;
  return options;
}

// The launchers that the API server ties to a VMI of this node.
std::vector<qemu::LauncherTarget> Targets(const SharedList<VmiSample>& vmis) {
  std::vector<qemu::LauncherTarget> targets;
  for (const VmiSample& vmi : vmis) {
    if (vmi.launcher.empty()) continue;
    qemu::LauncherTarget target{
        {vmi.launcher, vmi.name_space, vmi.name}, vmi.spec, vmi.hints_off, vmi.leaving};
    if (vmi.spec.guest_memory == Bytes::Max()) target.spec.guest_memory = Bytes();
    targets.push_back(std::move(target));
  }
  return targets;
}

void OnHook(qemu::LauncherDirectory& launchers, const publishers::NodeHookCall& call) {
  using Point = publishers::NodeHookPoint;
  if (call.point == Point::kPostVmStart || call.point == Point::kPostMigrationTarget) {
    launchers.Poke({call.vmi_uid});
  } else if (call.point == Point::kPreVmStop || call.point == Point::kPreMigrationSource) {
    launchers.LetGo({call.vmi_uid});
  }
}

int RunOnNode(const agent::Config& config, const sigset_t& signals) {
  const host::SystemClock clock;
  const auto pod = agent::PodSurroundings::OfThisProcess();
  const auto roots = agent::HostRoots(config.kubernetes, pod);
  if (!roots) return Fail(roots.error());
  const auto boot_id = host::BootId(*roots);
  if (!boot_id) return Fail(boot_id.error());
  const auto book = OpenBook(config, *boot_id);
  if (!book) return Fail(book.error());

  qemu::LauncherDirectory launchers(OnNodeOptions(config, **book, *roots), Ways(config, *roots),
                                    clock);
  SharedList<VmiSample> targets;
  const auto node = agent::KubernetesNode::Start(
      config, pod, clock,
      {.node =
           [&](const NodeSample& sample) {
             if (sample.vmis.Shares(targets)) return launchers.KeepPods();
             targets = sample.vmis;
             launchers.SetPods(Targets(targets));
           },
       .hook = [&](const publishers::NodeHookCall& call) { OnHook(launchers, call); }});
  if (!node) return Fail(node.error());
  const bool writes = config.mode != Mode::kObserve;
  sources::Sources sources(
      sources::HostMemory(*roots, config.host_cgroup,
                          sources::KubeletBounds(*roots, config.kubernetes.eviction_threshold)),
      sources::Charges(*roots), sources::PodCharges(*roots), launchers, **node, **book);
  actuators::Hints hints(launchers, writes);
  actuators::GuestParameters parameters(launchers, **book, writes);
  publishers::Bulletin bulletin;
  const publishers::Recorder recorder({config.state_dir, Warn}, bulletin);
  publishers::ClusterPublisherOptions telling;
  telling.node = (*node)->name();
  telling.resource.quantum = config.policy.quantum;
  telling.resource.increase_every = config.kubernetes.increase_every;
  telling.reclaim.every = config.kubernetes.increase_every;
  telling.resource.dead_band = config.kubernetes.dead_band;
  telling.say = [](const std::string& line) { spdlog::info("API server: {}", line); };
  // At its end it takes back what is published.
  const publishers::ClusterPublisher publisher(telling, (*node)->client(), bulletin);
  publishers::Metrics metrics(bulletin, clock);
  metrics.Also(
      {.cluster = &publisher, .recorder = &recorder, .hooks = (*node)->hooks(), .qemus = [&] {
         return launchers.Counters();
       }});
  const auto fronts = Serve(config, bulletin, metrics, clock, nullptr, recorder);
  if (!fronts) return Fail(fronts.error());
  // The chart runs ullage-lease in a container of its own.
  const auto taking = OpenTaking(config, *boot_id, *roots, launchers, sources, "");
  if (!taking) return Fail(taking.error());
  const Cold cold(config, *roots, clock, sources, **taking);
  const auto mover = MakeMover(config, **node, **taking);
  agent::Agent agent(config, {clock, sources, hints, parameters, nullptr, bulletin,
                              [&](const Report& report) { metrics.Count(report); }, taking->get()});
  spdlog::info("ullage-agent: mode {}, node {}, socket {}, metrics {}", Name(config.mode),
               (*node)->name(), config.socket, config.listen.empty() ? "off" : config.listen);
  Live(agent, config, **book, **taking, clock, signals, *boot_id, bulletin);
  bulletin.Close();
  return 0;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Returns the memory that VMs were promised and do not use, and promises it again.");
  const auto* config =
      app.add_option("--config", flags.config, "the configuration (YAML)")->capture_default_str();
  app.add_flag("--standalone", flags.standalone, "work on local libvirt, without Kubernetes");
  app.add_flag("--check-config", flags.check_config,
               "read the configuration, say what is wrong, end");
  app.add_flag("--dry-run", flags.dry_run,
               "measure, decide and show; change nothing, refuse nobody");
  app.set_version_flag("--version", ULLAGE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  flags.config_given = config->count() > 0;
  const auto loaded = Load(flags);
  if (!loaded) {
    std::fprintf(stderr, "ullage-agent: %s\n", loaded.error().message().c_str());
    return kUsage;
  }
  if (flags.check_config) {
    std::printf("%s: %s\n", flags.config.c_str(),
                access(flags.config.c_str(), F_OK) == 0 ? "ok" : "not there; the defaults apply");
    return 0;
  }
  const sigset_t signals = BlockSignals();
  // Many threads that allocate little: one arena each would hold most of the agent's memory. And
  // what a single hostile message took goes back to the system.
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  RaiseFileLimit();
  StartLog(*loaded);
  return flags.standalone ? RunStandalone(*loaded, signals) : RunOnNode(*loaded, signals);
}

}  // namespace
}  // namespace ullage

int main(int argc, char** argv) {
  try {
    ullage::qemu::Leave(ullage::Main(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ullage-agent: %s\n", error.what());
    return 1;
  }
}
