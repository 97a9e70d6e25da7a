# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/lab, which sets dir, state, here and self.
# shellcheck disable=SC2154
# The lab's libvirtd: configuration, start, end.

write_configuration() {
	cat >"$dir/etc/libvirtd.conf" <<-'END'
		listen_tls = 0
		listen_tcp = 0
		unix_sock_ro_perms = "0700"
		unix_sock_rw_perms = "0700"
		auth_unix_ro = "none"
		auth_unix_rw = "none"
		log_level = 3
		log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
	END
	# cgroup_controllers, namespaces: lib/emulator places QEMU, and a test has to see it plainly.
	# hugetlbfs_mount: libvirt would make directories on the machine's hugetlbfs.
	cat >"$dir/etc/qemu.conf" <<-'END'
		user = "root"
		group = "root"
		security_driver = "none"
		cgroup_controllers = []
		namespaces = []
		remember_owner = 0
		stdio_handler = "file"
		hugetlbfs_mount = []
	END
	install -m 755 "$here/lib/emulator" "$dir/etc/hooks/ullage-emulator"
	host_cgroup >"$dir/run/ullage/host-cgroup"
}

# Only the QEMU driver is loaded: the network and filter drivers look at (and set up) the
# machine's own firewall, and the rest only costs time.
prepare_drivers() {
	local driver
	driver=$(find /usr/lib -path '*/libvirt/connection-driver/libvirt_driver_qemu.so' -print -quit)
	[ -n "$driver" ] || die "libvirt's QEMU driver is missing; run scripts/setup --what guest"
	mkdir -p "$dir/lib/drivers"
	ln -sfn "$driver" "$dir/lib/drivers/libvirt_driver_qemu.so"
}

# A session of its own: on a terminal virsh would start polkit's agent and let it complain.
virsh_in_lab() { in_namespace setsid --wait virsh --quiet --connect qemu:///system "$@"; }

libvirtd_pid() { identity_alive "$state/libvirtd"; }
libvirtd_answers() { virsh_in_lab uri >/dev/null 2>&1 </dev/null; }
libvirtd_answers_or_gone() { identity_gone "$state/libvirtd" || libvirtd_answers; }

# D-Bus is hidden from it: through D-Bus libvirt would register guests with systemd-machined
# and inhibit the machine's shutdown.
start_libvirtd() {
	local holder
	holder=$(holder_pid) || die "no lab is up in $dir"
	! libvirtd_pid >/dev/null || die "libvirtd runs already"
	spawn "$state/libvirtd.log" "$state/libvirtd" \
		nsenter --target "$holder" --mount --wdns=/ -- env -i \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		LIBVIRT_DRIVER_DIR=/var/lib/libvirt/drivers \
		DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent \
		libvirtd --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid
	wait_until 30 libvirtd_answers_or_gone || true
	libvirtd_pid >/dev/null && libvirtd_answers && return
	tail -n 20 "$state/libvirtd.log" "$dir/log/libvirtd.log" >&2 || true
	die "libvirtd does not come up"
}

stop_libvirtd() { stop_identity "$state/libvirtd" "$1" 10; }

# Through libvirt first, so that its hook and whoever watches it see guests end in order.
destroy_domains() {
	local uuid uuids
	libvirtd_pid >/dev/null || return 0
	uuids=$(in_namespace timeout 10 virsh -q -c qemu:///system list --uuid 2>/dev/null) || return 0
	for uuid in $uuids; do
		in_namespace timeout 10 virsh -q -c qemu:///system destroy "$uuid" >/dev/null 2>&1 &
	done
	wait
}
