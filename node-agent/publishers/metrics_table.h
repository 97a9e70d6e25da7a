// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

namespace ullage::publishers::metric {

/// One metric: everything about it that is not its value. docs/metrics.md shows the same table;
/// a test compares them. A series whose value is unknown is absent, never 0.
struct Info {
  std::string_view name;
  std::string_view type;    ///< gauge or counter
  std::string_view labels;  ///< separated by ", ", empty for none
  std::string_view help;    ///< one sentence, with the unit
};

inline constexpr std::string_view kVmLabels = "vm, uuid";

inline constexpr Info kHostTotal{"ullage_host_memory_total_bytes", "gauge", "",
                                 "Memory of the host, or of the cgroup that plays it."};
inline constexpr Info kHostAvailable{"ullage_host_memory_available_bytes", "gauge", "",
                                     "What the host can still give without swapping."};
inline constexpr Info kHostFree{"ullage_host_memory_free_bytes", "gauge", "",
                                "Memory of the host that nobody uses at all."};
inline constexpr Info kHostPressure{
    "ullage_host_memory_pressure_ratio", "gauge", "",
    "Share of the last 10 s in which something waited for memory (PSI some avg10), 0 to 1."};
inline constexpr Info kPromised{"ullage_promised_bytes", "gauge", "",
                                "Sum of what the VMs were promised."};
inline constexpr Info kGranted{"ullage_granted_bytes", "gauge", "",
                               "Part of the promises that stands on reclaimable capacity."};
inline constexpr Info kAdditional{"ullage_additional_bytes", "gauge", "",
                                  "Reclaimable capacity that may be promised in addition."};
inline constexpr Info kPublished{"ullage_published_bytes", "gauge", "",
                                 "Reclaimable capacity in all: granted and additional."};
inline constexpr Info kUnsold{"ullage_unsold_bytes", "gauge", "",
                              "Ordinary memory that was never promised."};
inline constexpr Info kTerm{
    "ullage_capacity_term_bytes", "gauge", "term",
    "Terms of the capacity sum; absent while the host or the VMs are unknown."};
inline constexpr Info kPromiseWindows{
    "ullage_promise_windows_total", "counter", "",
    "Forecasts that were compared with what came, one each twentieth of the horizon."};
inline constexpr Info kPromiseBroken{
    "ullage_promise_broken_windows_total", "counter", "",
    "Of these, the ones in which the VMs rose by more than was kept for them."};
inline constexpr Info kBufferWidened{
    "ullage_buffer_widened_ratio", "gauge", "",
    "By what share of itself the buffer is wider since promises broke, 0 to 3."};
inline constexpr Info kSqueeze{"ullage_squeeze", "gauge", "state",
                               "1 for how short of its buffer the host is."};
inline constexpr Info kVms{"ullage_vms", "gauge", "state", "VMs by the state shown in tables."};
inline constexpr Info kVmPromised{"ullage_vm_promised_bytes", "gauge", kVmLabels,
                                  "What one VM may hold at most, QEMU included."};
inline constexpr Info kVmResident{"ullage_vm_resident_bytes", "gauge", kVmLabels,
                                  "What the VM's cgroup is charged."};
inline constexpr Info kVmSwapped{"ullage_vm_swapped_bytes", "gauge", kVmLabels,
                                 "What the VM's cgroup has in swap."};
inline constexpr Info kVmReturned{
    "ullage_vm_returned_bytes", "gauge", kVmLabels,
    "What the VM held since its guest started and the host has again."};
inline constexpr Info kVmGrowth{"ullage_vm_growth_bytes", "gauge", kVmLabels,
                                "What the VM may claim at any moment, as the sum counts it."};
inline constexpr Info kVmHinting{"ullage_vm_hinting", "gauge", "vm, uuid, state",
                                 "1 for the state of free page hinting that is proven."};
inline constexpr Info kVmAgent{"ullage_vm_guest_agent", "gauge", "vm, uuid, state",
                               "1 for how far the way through the guest's agent goes."};
inline constexpr Info kVmGuestReporting{
    "ullage_vm_guest_reporting", "gauge", kVmLabels,
    "1 while the guest's driver says that it reports free pages, else 0."};
inline constexpr Info kVmGuestReported{
    "ullage_vm_guest_reported_bytes_total", "counter", kVmLabels,
    "Bytes that the guest's driver says it has reported since it was bound."};
inline constexpr Info kVmGuestErrors{
    "ullage_vm_guest_report_errors_total", "counter", kVmLabels,
    "Reports that failed, as the guest's driver says, since it was bound."};
inline constexpr Info kVmGuestBalloon{"ullage_vm_guest_balloon_bytes", "gauge", kVmLabels,
                                      "What the guest's driver says is in its balloon."};
inline constexpr Info kTicks{"ullage_ticks_total", "counter", "", "Ticks since the agent started."};
inline constexpr Info kTickAge{"ullage_tick_age_seconds", "gauge", "",
                               "Time since the last tick looked at the host."};
inline constexpr Info kFaults{
    "ullage_faults_total", "counter", "source",
    "Faults met by ticks: one a tick for host and vm-list, one a VM and tick for charge and "
    "qemu, one each for a failed action."};

inline constexpr Info kKubeWrites{
    "ullage_kube_writes_total", "counter", "object, result",
    "Writes to the Kubernetes API server by what is written and what came of it."};
inline constexpr Info kDepartures{
    "ullage_departures_total", "counter", "action, result",
    "VMs that were asked to go (migrate, evict) by what came of it: done or failed."};
inline constexpr Info kRejectedPods{
    "ullage_rejected_pods_total", "counter", "",
    "Pods that asked for reclaimable memory and that the kubelet rejected (OutOf…), since the "
    "agent first listed the node's pods."};
inline constexpr Info kRecords{
    "ullage_records_total", "counter", "result",
    "Ticks that were looked at for the record of decisions, by whether writing worked."};
inline constexpr Info kNodeHooks{"ullage_node_hook_calls_total", "counter", "point",
                                 "Calls of KubeVirt's node hooks by their point."};

inline constexpr Info kQuestions{"ullage_questions_total", "counter", "to",
                                 "Questions put to QEMUs, through libvirt, and to guests' agents."};
inline constexpr Info kAnswerFaults{
    "ullage_answer_faults_total", "counter", "to, fault",
    "Answers that failed, came after the deadline or made no sense; one may do several."};
inline constexpr Info kConnections{"ullage_libvirt_connections_total", "counter", "",
                                   "Connections opened to libvirt for one QEMU, also anew."};
inline constexpr Info kGuestResets{"ullage_guest_resets_total", "counter", "",
                                   "Resets of guests that libvirt told of."};

inline constexpr std::array kTable{
    &kHostTotal,      &kHostAvailable, &kHostFree,         &kHostPressure,    &kPromised,
    &kGranted,        &kAdditional,    &kPublished,        &kUnsold,          &kTerm,
    &kPromiseWindows, &kPromiseBroken, &kBufferWidened,    &kSqueeze,         &kVms,
    &kVmPromised,     &kVmResident,    &kVmSwapped,        &kVmReturned,      &kVmGrowth,
    &kVmHinting,      &kVmAgent,       &kVmGuestReporting, &kVmGuestReported, &kVmGuestErrors,
    &kVmGuestBalloon, &kTicks,         &kTickAge,          &kFaults,          &kKubeWrites,
    &kDepartures,     &kRejectedPods,  &kRecords,          &kNodeHooks,       &kQuestions,
    &kAnswerFaults,   &kConnections,   &kGuestResets,
};

}  // namespace ullage::publishers::metric
