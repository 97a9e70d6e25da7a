# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/kube-lab, which sets dir, state and parts.
# shellcheck disable=SC2154
# etcd, API server, scheduler and controller manager on loopback ports of their own. With a node the
# API server has the address of the kubernetes service instead, where pods look for it.

# Prints the first of a block of free ports. It lies below the range from which the kernel takes ports
# for outgoing connections, so nobody comes upon them by chance.
free_ports() {
	python3 -I - "$1" <<'END'
import random, socket, sys

def free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True

count = int(sys.argv[1])
for first in random.sample(range(20000, 30000, 10), 1000):
    if all(free(first + i) for i in range(count)):
        print(first)
        break
else:
    sys.exit("no free ports")
END
}

# port NAME : which of the block.
port() {
	local first
	first=$(cat "$state/port")
	case $1 in
	etcd) echo "$first" ;;
	etcd-peer) echo $((first + 1)) ;;
	kube-apiserver) echo $((first + 2)) ;;
	kube-scheduler) echo $((first + 3)) ;;
	kube-controller-manager) echo $((first + 4)) ;;
	kubelet) echo $((first + 5)) ;;
	kubelet-health) echo $((first + 6)) ;;
	*) die "no port for $1" ;;
	esac
}

# Networks of their own for each lab of this machine: ports come in tens, so these are too.
lab_network() { # NUMBER : of the lab's networks, without the last byte
	local block=$((($(cat "$state/port") - 20000) / 10))
	printf '10.%d.%d\n' $(($1 + block / 250)) $((block % 250))
}
service_network() { lab_network 210; }
pod_network() { lab_network 200; }
# The first of the range is the kubernetes service, as everywhere.
service_address() { printf '%s.1\n' "$(service_network)"; }

server_address() { if [ -e "$state/with-node" ]; then service_address; else echo 127.0.0.1; fi; }
server_port() { if [ -e "$state/with-node" ]; then echo 443; else port kube-apiserver; fi; }
server() { printf 'https://%s:%s\n' "$(server_address)" "$(server_port)"; }

fetch() { curl --silent --show-error --noproxy '*' --max-time 20 --cacert "$dir/keys/ca.crt" "$@"; }

# api_as USER METHOD PATH [KIND BODY]
api_as() {
	local request=(--fail-with-body -X "$2" -H "@$state/$1.header")
	[ $# -lt 5 ] || request+=(-H "Content-Type: application/$4" --data-binary "$5")
	fetch "${request[@]}" "$(server)$3"
}
quiet_api() { api_as admin "$@" >/dev/null 2>&1; }

# Flags come and go: those of Kubernetes 1.20 that newer ones refuse are given only where --help
# names them.
knows_flag() { grep -q -- "--$2 " <<<"$("$1" --help 2>&1)"; }

define_etcd() {
	local client peer keys=$dir/keys
	client=https://127.0.0.1:$(port etcd)
	peer=https://127.0.0.1:$(port etcd-peer)
	define_daemon etcd "$parts/etcd" --name lab --data-dir "$dir/etcd" --logger zap --log-level warn \
		--listen-client-urls "$client" --advertise-client-urls "$client" \
		--listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "lab=$peer" \
		--client-cert-auth --trusted-ca-file "$keys/ca.crt" \
		--cert-file "$keys/server.crt" --key-file "$keys/server.key" \
		--peer-client-cert-auth --peer-trusted-ca-file "$keys/ca.crt" \
		--peer-cert-file "$keys/server.crt" --peer-key-file "$keys/server.key"
}

etcd_ready() {
	fetch --cert "$dir/keys/server.crt" --key "$dir/keys/server.key" --fail \
		"https://127.0.0.1:$(port etcd)/health" >/dev/null 2>&1
}

define_apiserver() {
	local keys=$dir/keys without=()
	# Without the controller manager nobody makes service accounts, and then no pod could be made.
	[ -x "$parts/kube-controller-manager" ] || without=(--disable-admission-plugins ServiceAccount)
	# The endpoints of the kubernetes service cannot be a loopback address, so none are written.
	define_daemon kube-apiserver "$parts/kube-apiserver" \
		--etcd-servers "https://127.0.0.1:$(port etcd)" --etcd-cafile "$keys/ca.crt" \
		--etcd-certfile "$keys/server.crt" --etcd-keyfile "$keys/server.key" \
		--bind-address "$(server_address)" --secure-port "$(server_port)" --cert-dir "$dir/keys" \
		--advertise-address 127.0.0.1 --endpoint-reconciler-type none \
		--tls-cert-file "$keys/server.crt" --tls-private-key-file "$keys/server.key" \
		--client-ca-file "$keys/ca.crt" --token-auth-file "$keys/tokens.csv" \
		--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction "${without[@]}" \
		--service-account-key-file "$keys/service-accounts.pem" \
		--service-account-signing-key-file "$keys/service-accounts.pem" \
		--service-account-issuer https://kubernetes.default.svc \
		--service-cluster-ip-range "$(service_network).0/25" --allow-privileged=true \
		--kubelet-client-certificate "$keys/kubelet-client.crt" \
		--kubelet-client-key "$keys/kubelet-client.key" \
		--kubelet-preferred-address-types InternalIP
}

# define_client NAME FLAG... : what scheduler and controller manager have in common.
define_client() {
	local name=$1 insecure=() keys=$dir/keys
	shift
	# The port without TLS is open to the whole network by default, where it still exists.
	! knows_flag "$parts/$name" 'port int' || insecure=(--port=0)
	define_daemon "$name" "$parts/$name" --kubeconfig "$dir/etc/$name.kubeconfig" --leader-elect=false \
		--bind-address 127.0.0.1 --secure-port "$(port "$name")" "${insecure[@]}" --cert-dir "$keys" \
		--tls-cert-file "$keys/server.crt" --tls-private-key-file "$keys/server.key" "$@"
}
client_ready() { fetch --fail "https://127.0.0.1:$(port "$1")/healthz" >/dev/null 2>&1; }

define_control_plane() {
	local keys=$dir/keys
	define_etcd
	define_apiserver
	# An envtest folder has only the two above.
	[ ! -x "$parts/kube-scheduler" ] || define_client kube-scheduler
	[ ! -x "$parts/kube-controller-manager" ] || define_client kube-controller-manager \
		--use-service-account-credentials --root-ca-file "$keys/ca.crt" \
		--service-account-private-key-file "$keys/service-accounts.pem" \
		--flex-volume-plugin-dir "$dir/volume-plugins"
}

# The restricted user may read nodes and nothing else.
restrict_user() {
	local rbac=/apis/rbac.authorization.k8s.io/v1 role binding
	role='{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"restricted"},
		"rules":[{"apiGroups":[""],"resources":["nodes"],"verbs":["get","list","watch"]}]}'
	binding='{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding",
		"metadata":{"name":"restricted"},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"restricted"},
		"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"restricted"}]}'
	quiet_api POST $rbac/clusterroles json "$role" || die "cannot create the restricted user's role"
	quiet_api POST $rbac/clusterrolebindings json "$binding" || die "cannot give the restricted user his role"
}

daemon_ready() {
	case $1 in
	etcd) etcd_ready ;;
	kube-apiserver) quiet_api GET /readyz ;;
	kube-scheduler | kube-controller-manager) client_ready "$1" ;;
	kubelet) node_ready ;;
	containerd) containerd_ready ;;
	vmi-standin) grep -qs STAND-IN "$dir/log/vmi-standin" ;;
	esac
}

start_control_plane() {
	local name
	echo "$parts" >"$state/parts"
	# Held until all of them listen: another lab then finds these ports taken.
	take_lock "$(cache_dir)/.kube-lab.lock"
	free_ports 10 >"$state/port"
	[ ! -e "$state/with-node" ] || start_holder
	make_keys "$(service_address)" >"$dir/log/openssl" 2>&1 || {
		tail -n 5 "$dir/log/openssl" >&2
		die "openssl failed"
	}
	add_users
	define_control_plane
	for name in $(daemons); do
		start_daemon "$name"
		[ "$name" != kube-apiserver ] || restrict_user
	done
	# Its controllers make the account without which no pod can be made.
	[ ! -e "$state/kube-controller-manager.argv" ] ||
		await kube-controller-manager quiet_api GET /api/v1/namespaces/default/serviceaccounts/default
}
