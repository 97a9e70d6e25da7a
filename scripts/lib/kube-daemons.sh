# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/kube-lab, which sets dir and state.
# shellcheck disable=SC2154
# The lab's daemons. Each is defined once by its command line, kept in DIR/state/NAME.argv, so that it
# can be started again as it was; DIR/state/NAME says which process it is.

# define_daemon NAME CMD... : in the order in which they are defined they are listed.
define_daemon() {
	local name=$1
	shift
	printf '%s\0' "$@" >"$state/$name.argv"
	echo "$name" >>"$state/daemons"
}

daemons() { cat "$state/daemons" 2>/dev/null || true; }
daemon_pid() { identity_alive "$state/$1"; }
daemon_gone() { identity_gone "$state/$1"; }
daemon_known() { [ -e "$state/${1:-none}.argv" ] || die "this lab has no daemon '$1'"; }

# start_daemon NAME : returns when it is ready.
start_daemon() {
	local argv
	! daemon_pid "$1" >/dev/null || return 0
	mapfile -d '' -t argv <"$state/$1.argv"
	# Nothing of the caller's environment, proxies above all.
	spawn "$dir/log/$1" "$state/$1" env -i "PATH=$PATH" "HOME=$dir" "${argv[@]}"
	await "$1" daemon_ready "$1"
}

# stop_daemon NAME [SIGNAL]
stop_daemon() {
	stop_identity "$state/$1" "${2:-TERM}" 10 || say "kube-lab: $1 refuses to die"
}

# Clients before servers, so that none of them complains or waits.
stop_daemons() {
	local name
	for name in $(daemons | tac); do stop_daemon "$name"; done
}

# await NAME CMD... : until CMD succeeds, but not after the daemon NAME has died.
await() {
	local name=$1
	shift
	wait_until 60 succeeds_or_gone "$name" "$@" || true
	"$@" && return
	say "kube-lab: the last that $name said:"
	tail -n 20 "$dir/log/$name" >&2
	die "$name is not ready ($*)"
}
succeeds_or_gone() {
	local name=$1
	shift
	"$@" || daemon_gone "$name"
}
