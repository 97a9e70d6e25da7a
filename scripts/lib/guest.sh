# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What is the same for every guest, started by libvirt or by the boot probe.

# No mitigations and no KASLR: both cost an emulated guest boot time and protect nothing here.
# panic=-1: a guest that panics says so on its console and boots again, it never just hangs.
guest_command_line() {
	printf 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr'
}

# console_state FILE : what the guest's present boot came to, judged by its last words.
console_state() {
	local words
	words=$(grep -aoE 'ullage-guest: (boot|ready|leaving)|Kernel panic' "$1" 2>/dev/null | tail -n 1) || true
	case $words in
	*ready) echo ready ;;
	*panic) echo panic ;;
	*) echo booting ;;
	esac
}
console_ready() { [ "$(console_state "$1")" = ready ]; }
