# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What every script here shares: messages, the cache, locks and process identity.

# A command substitution that fails half-way must not go on either.
shopt -s inherit_errexit

say() { printf '%s\n' "$*" >&2; }
die() {
	say "${0##*/}: $*"
	exit 1
}

need_root() {
	[ "$(id -u)" -eq 0 ] || die "needs root (try: sudo $0)"
}

need_commands() {
	local name
	for name; do
		command -v "$name" >/dev/null || die "'$name' is missing; run scripts/setup first"
	done
}

cache_dir() { printf '%s\n' "${ULLAGE_CACHE:-$HOME/.cache/ullage}"; }

# take_lock FILE : waits for FILE's lock and holds it until this (sub)shell ends. Children
# inherit it; daemons do not, because spawn closes what it did not open.
take_lock() {
	mkdir -p "${1%/*}"
	exec {ULLAGE_LOCK_FD}>"$1"
	flock "$ULLAGE_LOCK_FD"
}

# unpack_package PACKAGE TARGET : Debian's PACKAGE, not installed but unpacked into TARGET, whole
# or not at all.
unpack_package() (
	[ ! -e "$2" ] || exit 0
	take_lock "${2%/*}/.lock"
	[ ! -e "$2" ] || exit 0
	temp=$(mktemp -d "$2.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	cd "$temp" || exit
	# The directory is root's own: the user that apt downloads as cannot write there.
	get=(apt-get -q -q -o APT::Sandbox::User=root)
	"${get[@]}" download "$1" 2>/dev/null || {
		"${get[@]}" update >&2 || true
		"${get[@]}" download "$1" >&2 || die "apt-get cannot download $1"
	}
	dpkg -x ./*.deb tree || die "$1 does not unpack"
	mv -T tree "$2"
)

# The installed busybox-static, or one that is unpacked only for this: it excludes busybox.
find_busybox() {
	local unpacked
	if [ "$(dpkg-query -W -f '${db:Status-Status}' busybox-static 2>/dev/null)" = installed ]; then
		command -v busybox
		return
	fi
	unpacked=$(cache_dir)/busybox-static
	unpack_package busybox-static "$unpacked"
	find "$unpacked" -name busybox -type f -perm -1 -print -quit
}

# A pid alone may be recycled, so a process is recorded as "PID STARTTIME BOOT".
process_identity() {
	local pid=$1 stat
	stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
	# The command name may hold anything but ends at the last ')'; field 22 is the start time.
	# shellcheck disable=SC2086
	set -- ${stat##*) }
	[ "$1" != Z ] && [ "$1" != X ] || return 1
	printf '%s %s %s\n' "$pid" "${20}" "$(cat /proc/sys/kernel/random/boot_id)"
}

# identity_alive FILE : prints the pid recorded in FILE if that very process still runs.
identity_alive() {
	local recorded pid
	recorded=$(cat "$1" 2>/dev/null) && [ -n "$recorded" ] || return 1
	pid=${recorded%% *}
	[ "$(process_identity "$pid")" = "$recorded" ] || return 1
	printf '%s\n' "$pid"
}

# wait_until SECONDS CMD... : runs CMD every 50 ms until it succeeds or the time is over.
# ULLAGE_PATIENCE multiplies the time, for machines that are themselves emulated.
wait_until() {
	local end=$((SECONDS + $1 * ${ULLAGE_PATIENCE:-1} + 1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# stop_identity FILE SIGNAL SECONDS : ends the recorded process, by SIGKILL after SECONDS.
stop_identity() {
	local file=$1 signal=$2 seconds=$3 pid
	pid=$(identity_alive "$file") || return 0
	kill -s "$signal" "$pid" 2>/dev/null || true
	wait_until "$seconds" identity_gone "$file" && return 0
	kill -s KILL "$pid" 2>/dev/null || true
	wait_until 5 identity_gone "$file"
}
identity_gone() { ! identity_alive "$1" >/dev/null; }

# spawn LOG IDFILE CMD... : starts CMD as a daemon of its own session that holds none of our
# descriptors (a pipe kept open would make the reader of our output wait for ever), and
# records its identity before CMD begins.
spawn() {
	local log=$1 idfile=$2
	shift 2
	rm -f "$idfile"
	# The single-quoted program runs in the child.
	# shellcheck disable=SC2016
	setsid bash -c '
		idfile=$1; shift
		for fd in /proc/$$/fd/*; do
			fd=${fd##*/}
			[ "$fd" -le 2 ] || eval "exec $fd>&-"
		done
		echo $$ >"$idfile.pid"
		while [ -e "$idfile.pid" ]; do sleep 0.01; done
		exec "$@"' spawn "$idfile" "$@" </dev/null >>"$log" 2>&1 &
	disown
	wait_until 5 test -s "$idfile.pid" || die "could not start $1"
	process_identity "$(cat "$idfile.pid")" >"$idfile"
	rm -f "$idfile.pid"
}
