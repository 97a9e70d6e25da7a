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
	[ "${argv[0]}" != nsenter ] || record_inner "$1"
	await "$1" daemon_ready "$1"
}

# nsenter and unshare stay in front of what they start in another PID namespace, and do not pass on signals.
record_inner() {
	local outer inner
	outer=$(daemon_pid "$1") || die_with_log "$1"
	await "$1" has_inner "$outer"
	process_identity "$inner" >"$state/$1.inner" || die_with_log "$1"
	mv "$state/$1.inner" "$state/$1"
}
# Until one of the two runs, spawn's shell does, which has children of its own.
has_inner() {
	case $(cat "/proc/$1/comm" 2>/dev/null) in
	nsenter | unshare) inner=$(pgrep -P "$1") ;;
	*) return 1 ;;
	esac
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
	local name=$1 ready=''
	shift
	wait_until 120 ready_or_gone "$name" "$@" || true
	[ -z "$ready" ] || return 0
	die_with_log "$name" "$*"
}
ready_or_gone() {
	local name=$1
	shift
	if "$@"; then ready=1; else daemon_gone "$name"; fi
}
die_with_log() {
	say "kube-lab: the last that $1 said:"
	tail -n 20 "$dir/log/$1" >&2
	die "$1 is not ready${2:+ ($2)}"
}
