# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/kube-lab, which sets dir, state, here, self, parts and node_name.
# shellcheck disable=SC2154
# containerd and a kubelet, in mount, PID and network namespaces of their own. There /run, /var/lib and
# /var/log are folders of the lab, so each program keeps its usual paths (some are compiled in) and the
# machine's are neither used nor littered. When the first process of the namespaces ends, every pod,
# every mount and every network device in them ends, too.
#
# One cable (a veth pair) leads out of them. Its end on this machine has the address of the kubernetes
# service, where the API server listens, so pods reach it by routes alone: no kube-proxy and no rule of a
# firewall. Nothing leads from there to the outside.

node_folders=(run var/lib var/log)
lab_image=ullage.io/lab/busybox:1

# The kubelet sets these for the whole machine unless they are so already. In the namespace it finds
# files that say they are.
node_tunables=(vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1
	kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000)

node_address() { printf '%s.254\n' "$(service_network)"; }

need_node() {
	need_root
	need_commands nsenter unshare setpriv pgrep ip dpkg tar
	case $dir/ in
	/run/* | /var/run/* | /var/lib/* | /var/log/*) die "start: a node cannot be below /run, /var/lib or /var/log" ;;
	esac
}

# unpacked PACKAGE : its folder. Installed, it would start a containerd for the whole machine.
unpacked() {
	unpack_package "$1" "$(cache_dir)/$1"
	printf '%s\n' "$(cache_dir)/$1"
}

cgroup_mounts() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts | LC_ALL=C sort -u; }
node_cgroup() { printf 'ullage-kube-%s\n' "$(cat "$state/id")"; }

create_node_cgroups() {
	local mount group
	for mount in $(cgroup_mounts); do
		group=$mount/$(node_cgroup)
		mkdir "$group" || die "cannot create $group"
		echo "$group" >>"$state/cgroups"
		# A new cpuset is empty, and nothing can run in it.
		if [ -e "$group/cpuset.cpus" ] && [ -e "$mount/cpuset.cpus" ]; then
			cat "$mount/cpuset.cpus" >"$group/cpuset.cpus"
			cat "$mount/cpuset.mems" >"$group/cpuset.mems"
		fi
		[ -z "$node_mib" ] || limit_memory "$group" || die "cannot limit the memory of $group"
	done
}

# Of a group of the memory controller's; others have nothing to limit.
limit_memory() {
	local file
	for file in "$1"/memory.{max,limit_in_bytes}; do
		[ ! -e "$file" ] || { echo $((node_mib << 20)) >"$file" || return; }
	done
}

remove_node_cgroups() {
	local group
	while read -r group; do
		wait_until 5 rmdir_tree_gone "$group" || say "kube-lab: cannot remove $group"
	done < <(cat "$state/cgroups" 2>/dev/null)
}
# The kernel may say EBUSY for a moment after the last process is gone.
rmdir_tree_gone() {
	[ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$1" ]
}

write_containerd_config() {
	cat >"$dir/etc/containerd.toml" <<-END
		version = 2
		root = "/var/lib/containerd"
		state = "/run/containerd"
		[grpc]
		address = "/run/containerd/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		sandbox_image = "$lab_image"
		# Without CAP_SYS_RESOURCE, in a container for one, runc may not lower oom_score_adj.
		restrict_oom_score_adj = true
		[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "$(unpacked containernetworking-plugins)/usr/lib/cni"
		conf_dir = "$dir/etc/cni"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		runtime_type = "io.containerd.runc.v2"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		BinaryName = "$(unpacked runc)/usr/sbin/runc"
	END
	mkdir -p "$dir/etc/cni"
	cat >"$dir/etc/cni/10-lab.conflist" <<-END
		{"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "ptp", "ipam": {
		  "type": "host-local", "dataDir": "/run/cni-addresses",
		  "ranges": [[{"subnet": "$(pod_network).0/24"}]],
		  "routes": [{"dst": "0.0.0.0/0"}]}}]}
	END
}

write_kubelet_config() {
	local reserved=0
	if [ -n "$node_mib" ]; then
		# The rest of this machine, less what evictionHard takes off as well.
		reserved=$(($(awk '/^MemTotal:/ { print $2 }' /proc/meminfo) / 1024 - node_mib - 100))
		[ "$reserved" -ge 0 ] || die "start: this machine has no $node_mib MiB"
	fi
	: >"$dir/etc/resolv.conf"
	# imageGC: what is not in use is removed at 100 %, never; the lab's image cannot be pulled again.
	cat >"$dir/etc/kubelet.yaml" <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		port: $(port kubelet)
		healthzBindAddress: $(node_address)
		healthzPort: $(port kubelet-health)
		tlsCertFile: $dir/keys/server.crt
		tlsPrivateKeyFile: $dir/keys/server.key
		authentication:
		  anonymous: {enabled: false}
		  webhook: {enabled: false}
		  x509: {clientCAFile: $dir/keys/ca.crt}
		authorization: {mode: AlwaysAllow}
		cgroupDriver: cgroupfs
		cgroupRoot: /$(node_cgroup)
		failSwapOn: false
		oomScoreAdj: 0
		makeIPTablesUtilChains: false
		resolvConf: $dir/etc/resolv.conf
		nodeStatusUpdateFrequency: 2s
		nodeStatusReportFrequency: 10s
		imageGCHighThresholdPercent: 100
		systemReserved: {memory: ${reserved}Mi}
		evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
	END
}

in_node() { # prints the words that run a command in the node's namespaces
	local pid
	pid=$(identity_alive "$state/node") || die "there is no node in $dir"
	printf 'nsenter\n--target\n%s\n--mount\n--pid\n--net\n--wdns=/\n--\n' "$pid"
}

enter_node() {
	local enter
	mapfile -t enter < <(in_node)
	# Without the words it would run on this machine.
	[ ${#enter[@]} -gt 0 ] || exit 1
	"${enter[@]}" "$@"
}

# run_in_node CMD... : as if it were this process. nsenter passes no signals on and, killed, leaves the
# command behind.
run_in_node() {
	local enter status heard signal
	[ $# -gt 0 ] || die "enter: which command?"
	mapfile -t enter < <(in_node)
	[ ${#enter[@]} -gt 0 ] || exit 1
	for signal in TERM INT HUP; do
		# shellcheck disable=SC2064
		trap "heard=1; pkill -$signal -P \${!:-0} || true" $signal
	done
	setpriv --pdeathsig KILL "${enter[@]}" setpriv --pdeathsig KILL "$@" <&0 &
	while :; do
		heard='' status=0
		wait "$!" || status=$?
		# A signal ends the waiting, too.
		[ -n "$heard" ] || exit "$status"
	done
}

define_node() {
	local enter containerd
	mapfile -t enter < <(in_node)
	[ ${#enter[@]} -gt 0 ] || exit 1
	containerd=$(unpacked containerd)
	# The shim is looked for in the path.
	define_daemon containerd "${enter[@]}" env "PATH=$containerd/usr/bin:$PATH" \
		"$containerd/usr/bin/containerd" --config "$dir/etc/containerd.toml"
	define_daemon kubelet "${enter[@]}" "$parts/kubelet" --config "$dir/etc/kubelet.yaml" \
		--kubeconfig "$dir/etc/kubelet.kubeconfig" --hostname-override "$node_name" --node-ip "$(node_address)" \
		--container-runtime remote --container-runtime-endpoint unix:///run/containerd/containerd.sock \
		--volume-plugin-dir /var/lib/kubelet/volume-plugins
}

ctr_in_lab() { "$(unpacked containerd)/usr/bin/ctr" -a "$dir/node/run/containerd/containerd.sock" -n k8s.io "$@"; }
containerd_ready() { ctr_in_lab version >/dev/null 2>&1; }

# load_image FILE
load_image() {
	local log
	[ -f "${1-}" ] || die "load: there is no file '${1-}'"
	daemon_pid containerd >/dev/null || die "there is no node in $dir"
	log=$(mktemp "$dir/log/import.XXXXXX")
	ctr_in_lab images import "$1" >"$log" 2>&1 || {
		cat "$log" >&2
		die "cannot import $1"
	}
	rm "$log"
}

# Nothing but busybox. It sleeps when it is told nothing, so it also serves as the pause container.
load_lab_image() {
	local work=$dir/node/image busybox applet
	busybox=$(find_busybox)
	mkdir -p "$work"/tree/{bin,dev,etc,proc,run,sys,tmp}
	cp "$busybox" "$work/tree/bin/busybox"
	"$busybox" --list | while read -r applet; do
		[ "$applet" = busybox ] || ln -s busybox "$work/tree/bin/$applet"
	done
	tar -cf "$work/layer.tar" --owner=0 --group=0 -C "$work/tree" .
	python3 -I "$here/lib/kube-image.py" "$lab_image" "$work/image.tar" "$work/layer.tar"
	load_image "$work/image.tar"
	rm -rf "$work"
}

# Also asks the kubelet itself: what the API server says may be from before a restart.
node_ready() {
	local node
	curl --silent --noproxy '*' --fail "http://$(node_address):$(port kubelet-health)/healthz" >/dev/null || return
	node=$(api_as admin GET "/api/v1/nodes/$node_name" 2>/dev/null) || return
	python3 -I -c '
import json, sys
node = json.load(sys.stdin)
ready = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}.get("Ready") == "True"
sys.exit(not ready or any(t["key"] == "node.kubernetes.io/not-ready" for t in node["spec"].get("taints", [])))
' <<<"$node"
}

# The first process of the namespaces: makes the mounts, then reaps whoever lost its parent.
hold_node() {
	local folder tunable
	mount --make-rshared /
	mount -t proc proc /proc
	for folder in "${node_folders[@]}"; do mount --bind "$dir/node/$folder" "/$folder"; done
	for tunable in "${node_tunables[@]}"; do
		[ ! -e "/proc/sys/${tunable%=*}" ] || mount --bind "$dir/node/sys/${tunable%=*}" "/proc/sys/${tunable%=*}"
	done
	ip link set lo up
	echo 1 >/proc/sys/net/ipv4/ip_forward
	: >"$state/held"
	trap : CHLD
	while :; do
		sleep 3600 &
		wait || true
	done
}

start_holder() {
	local folder tunable
	for folder in "${node_folders[@]}"; do mkdir -p "$dir/node/$folder"; done
	for tunable in "${node_tunables[@]}"; do
		mkdir -p "$dir/node/sys/$(dirname "$tunable")"
		echo "${tunable#*=}" >"$dir/node/sys/${tunable%=*}"
	done
	spawn "$dir/log/node" "$state/node" unshare --mount --pid --net --fork --kill-child=KILL \
		--propagation slave "$self" hold-node "$dir"
	record_inner node
	await node test -e "$state/held"
	connect_node
}

# Gone with the namespace that its other end is in.
connect_node() {
	local cable
	cable=ullage-$(cat "$state/id")
	ip link add "$cable" type veth peer name eth0 netns "$(daemon_pid node)"
	ip address add "$(service_address)/24" dev "$cable"
	ip link set "$cable" up
	enter_node ip address add "$(node_address)/24" dev eth0
	enter_node ip link set eth0 up
	ip route add "$(pod_network).0/24" via "$(node_address)"
}

start_node() {
	create_node_cgroups
	write_containerd_config
	write_kubelet_config
	define_node
	start_daemon containerd
	load_lab_image
	start_daemon kubelet
}

# After the daemons. The kernel kills all else that is in the PID namespace with its first process.
stop_node() {
	[ -e "$state/with-node" ] || return 0
	stop_daemon node KILL
	remove_node_cgroups
}
