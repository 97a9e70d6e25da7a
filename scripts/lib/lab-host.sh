# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/lab, which sets dir, state, here and self.
# shellcheck disable=SC2154
# The memory cgroup that plays the host, and the child of it that each QEMU lives in.
#
# The children are made by lib/emulator and not by libvirt's own <resource><partition>:
# libvirt 9.0 nests a different path on each kind of machine (NAME.partition/*.libvirt-qemu by
# hand, machine slices and scopes where systemd-machined answers, which would also register the
# lab's guests with the machine's own), and then limits would have to go through systemd. The
# wrapper gives HOST/vm-NAME everywhere, and joins it before QEMU's first page exists.

# Prints "v1 MOUNT" or "v2 MOUNT" of the hierarchy that holds the memory controller.
memory_hierarchy() {
	local mount
	mount=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/self/mounts)
	if [ -n "$mount" ]; then
		printf 'v1 %s\n' "$mount"
		return
	fi
	mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
	if [ -n "$mount" ] && grep -qw memory "$mount/cgroup.controllers"; then
		printf 'v2 %s\n' "$mount"
		return
	fi
	die "no cgroup hierarchy with a memory controller is mounted"
}

# On v2 the root has to hand the controller to its children; systemd has done that already.
# What is switched on here is switched off again by the last lab that leaves.
enable_memory_v2() {
	local mount=$1
	! grep -qw memory "$mount/cgroup.subtree_control" || return 0
	echo +memory >"$mount/cgroup.subtree_control" 2>/dev/null ||
		die "cannot enable the memory controller below $mount (no delegation to this container?)"
	echo "$mount" >"$registry/enabled-memory"
}

create_host_cgroup() {
	local mib=$1 version mount host hierarchy
	hierarchy=$(memory_hierarchy)
	read -r version mount <<<"$hierarchy"
	host=$mount/ullage-lab-$(cat "$state/id")
	[ "$version" = v1 ] || (take_lock "$registry/lock" && enable_memory_v2 "$mount")
	mkdir "$host" || die "cannot create $host"
	echo "$host" >"$state/cgroup"
	if [ "$version" = v1 ]; then
		echo "$((mib << 20))" >"$host/memory.limit_in_bytes"
	else
		echo "$((mib << 20))" >"$host/memory.max"
		echo +memory >"$host/cgroup.subtree_control"
	fi
}

host_cgroup() { cat "$state/cgroup" 2>/dev/null; }
guest_cgroup() { printf '%s/vm-%s\n' "$(host_cgroup)" "$1"; }

guest_pid() {
	local pid
	pid=$(head -n 1 "$(guest_cgroup "$1")/cgroup.procs" 2>/dev/null) && [ -n "$pid" ] || return 1
	printf '%s\n' "$pid"
}

charge_of() {
	cat "$1/memory.usage_in_bytes" 2>/dev/null || cat "$1/memory.current" 2>/dev/null
}

host_cgroup_processes() {
	local host
	host=$(host_cgroup) && [ -d "$host" ] || return 0
	cat "$host"/cgroup.procs "$host"/*/cgroup.procs 2>/dev/null || true
}

host_cgroup_empty() { [ -z "$(host_cgroup_processes)" ]; }

# Every process in there is a QEMU of this lab: only lib/emulator puts any in.
kill_host_cgroup() {
	local pid
	for pid in $(host_cgroup_processes); do
		kill -KILL "$pid" 2>/dev/null || true
	done
	wait_until 10 host_cgroup_empty || say "lab: processes refuse to die in $(host_cgroup)"
}

remove_host_cgroup() {
	local host
	host=$(host_cgroup) || return 0
	if [ -d "$host" ]; then
		find "$host" -mindepth 1 -depth -type d -exec rmdir {} + || true
		# The kernel may say EBUSY for a moment after the last process is gone.
		wait_until 5 rmdir_gone "$host" || say "lab: cannot remove $host"
	fi
	rm -f "$state/cgroup"
}
rmdir_gone() { rmdir "$1" 2>/dev/null || [ ! -e "$1" ]; }
