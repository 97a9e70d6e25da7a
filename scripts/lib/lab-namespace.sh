# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/lab, which sets dir, state, here and self.
# shellcheck disable=SC2154
# The mount namespace in which libvirt's compiled-in paths are this lab's own directories, and
# the registry of labs, which tells the last one to leave what has to be tidied up outside.

registry=/run/ullage-labs
# DIR's subdirectory : what it hides.
lab_mounts=(etc:/etc/libvirt lib:/var/lib/libvirt log:/var/log/libvirt run:/run/libvirt
	cache:/var/cache/libvirt)

holder_pid() { identity_alive "$state/holder"; }

in_namespace() {
	local pid
	pid=$(holder_pid) || die "no lab is up in $dir"
	nsenter --target "$pid" --mount --wdns="$PWD" -- "$@"
}

# A mount needs a directory to lie on, also outside. Those that are made here are recorded.
register_lab() (
	take_lock "$registry/lock"
	for mount in "${lab_mounts[@]}"; do
		[ -d "${mount#*:}" ] && continue
		mkdir "${mount#*:}"
		echo "${mount#*:}" >>"$registry/created"
	done
	echo "$dir" >"$registry/$(cat "$state/id").lab"
)

# Labs whose holder lives. A crashed lab that was never taken down does not count.
live_labs() {
	local entry other
	for entry in "$registry"/*.lab; do
		[ -e "$entry" ] || continue
		other=$(cat "$entry")
		! identity_alive "$other/state/holder" >/dev/null || printf '%s\n' "$other"
	done
}

# rmdir of a directory that is a mount point in another namespace unmounts it there: only the
# last lab may do it. A directory that someone else has begun to use is not empty and stays.
unregister_lab() (
	[ -d "$registry" ] || exit 0
	take_lock "$registry/lock"
	rm -f "$registry/$1"
	[ -z "$(live_labs)" ] || exit 0
	if [ -e "$registry/created" ]; then
		xargs -r rmdir -- <"$registry/created" 2>/dev/null || true
		rm -f "$registry/created"
	fi
	if [ -e "$registry/enabled-memory" ]; then
		echo -memory >"$(cat "$registry/enabled-memory")/cgroup.subtree_control" 2>/dev/null || true
		rm -f "$registry/enabled-memory"
	fi
	# A lab that waits for the lock now makes its own registry again: take_lock creates it.
	rm -f "$registry/lock"
	rmdir "$registry" 2>/dev/null || true
)

# libvirt's QEMU driver looks its default user up even where the configuration names another.
private_accounts() {
	local file id=64055
	if getent passwd libvirt-qemu >/dev/null && getent group libvirt-qemu >/dev/null; then return; fi
	for file in passwd group; do
		cp "/etc/$file" "$state/$file"
		[ -z "$(tail -c 1 "$state/$file")" ] || echo >>"$state/$file"
	done
	grep -q '^libvirt-qemu:' "$state/passwd" ||
		echo "libvirt-qemu:x:$id:$id:Libvirt Qemu:/nonexistent:/usr/sbin/nologin" >>"$state/passwd"
	grep -q '^libvirt-qemu:' "$state/group" || echo "libvirt-qemu:x:$id:" >>"$state/group"
}

# Before its first guest libvirt tries every accelerator, which costs seconds with a KVM that
# exists and does not work; and it tries anew before each definition, for as long as /dev/kvm may
# be read and written but did not work. So what is put in its place is a plain file that is
# read-only even to root.
hide_broken_kvm() {
	[ -e /dev/kvm ] && [ "$("$here/accel")" = tcg ] || return 0
	: >"$state/hide-kvm"
}

# Runs as the first process inside the namespace, and then only keeps it.
hold_namespace() {
	local mount file
	for mount in "${lab_mounts[@]}"; do
		mount --bind "$dir/${mount%%:*}" "${mount#*:}"
	done
	for file in passwd group; do
		[ ! -e "$state/$file" ] || mount --bind "$state/$file" "/etc/$file"
	done
	if [ -e "$state/hide-kvm" ]; then
		mount --bind "$state/hide-kvm" /dev/kvm
		mount -o remount,bind,ro /dev/kvm
	fi
	: >"$state/held"
	exec sleep infinity
}

# slave: the lab's mounts stay inside, but what the machine unmounts is not kept busy by us.
start_holder() {
	rm -f "$state/held"
	spawn "$state/holder.log" "$state/holder" \
		unshare --mount --propagation slave "$self" --dir "$dir" hold
	wait_until 10 held_or_gone || true
	[ -e "$state/held" ] && holder_pid >/dev/null && return
	cat "$state/holder.log" >&2
	die "cannot make the mount namespace"
}
held_or_gone() { [ -e "$state/held" ] || identity_gone "$state/holder"; }

# Programs that were started by `lab enter` are their starter's to end; they are named here
# because they keep the namespace alive.
warn_of_guests_in_namespace() {
	local holder ours pid
	holder=$(holder_pid) || return 0
	ours=$(readlink "/proc/$holder/ns/mnt")
	for pid in /proc/[0-9]*; do
		[ "$(readlink "$pid/ns/mnt" 2>/dev/null)" = "$ours" ] || continue
		[ "${pid#/proc/}" != "$holder" ] || continue
		say "lab: still running inside: ${pid#/proc/} $(tr '\0' ' ' <"$pid/cmdline" 2>/dev/null | cut -c1-100)"
	done
}
