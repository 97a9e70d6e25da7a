# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/lab, which sets dir, state, here and self.
# shellcheck disable=SC2154
# One guest: its definition, its console, its command port, its memory.

# File names for a guest: its name where that is harmless and short, else a digest of it.
guest_key() {
	if [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,59}$ ]]; then
		printf '%s\n' "$1"
	else
		printf 'guest-%s\n' "$(printf '%s' "$1" | sha256sum | cut -c1-16)"
	fi
}
console_of() { printf '%s/log/%s.console\n' "$dir" "$(guest_key "$1")"; }

xml_escape() {
	printf '%s' "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g; s/'\''/\&apos;/g'
}

one_of() {
	local option=$1 value=$2 choice
	shift 2
	for choice; do [ "$value" != "$choice" ] || return 0; done
	die "define: $option is '$value', not one of: $*"
}
a_number() { [[ $2 =~ ^[0-9]{1,7}$ ]] || die "define: $1 is '$2', not a number"; }

need_name() { [ -n "${2-}" ] || die "$1: which guest?"; }

# Fills the associative array `guest` and the array `added` of its caller.
parse_guest() {
	guest=([name]=$1 [mem]='' [vcpus]=1 [driver]=stock [reporting]=unset [balloon]=virtio
		[placement]=standard [reclaim]=hints [hog]='' [stats-period]=1 [cmdline]='' [agent]='' [allow-agent]='')
	added=()
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--no-balloon) guest[balloon]=none && shift && continue ;;
		--guest-agent) guest[agent]=1 && shift && continue ;;
		--mem | --vcpus | --driver | --reporting | --placement | --reclaim | --hog | --stats-period | \
			--cmdline | --allow-agent | --add) [ $# -ge 2 ] || die "define: $1 wants a value" ;;
		*) die "define: unknown option '$1'" ;;
		esac
		if [ "$1" = --add ]; then added+=("$2"); else guest[${1#--}]=$2; fi
		shift 2
	done
	a_number --mem "${guest[mem]}"
	a_number --vcpus "${guest[vcpus]}"
	a_number --stats-period "${guest[stats-period]}"
	[ -z "${guest[hog]}" ] || a_number --hog "${guest[hog]}"
	one_of --driver "${guest[driver]}" ullage stock none
	one_of --reporting "${guest[reporting]}" on off unset
	one_of --placement "${guest[placement]}" standard reclaimed
	one_of --reclaim "${guest[reclaim]}" hints hybrid off
	one_of --allow-agent "${guest[allow-agent]}" '' allow deny
}

# TCG executes `rep stos`, by which kernels clear pages, byte by byte: without these two flags
# the guest's kernel uses plain stores, four times as fast. 32 MiB of translated code is enough
# for a guest that runs next to nothing, and is memory that no guest page hides behind.
accelerator_xml() {
	if [ "$1" = kvm ]; then
		echo "<cpu mode='host-passthrough'/><features><acpi/></features>"
		return
	fi
	cat <<-END
		<cpu mode='maximum'>
		  <feature policy='disable' name='erms'/>
		  <feature policy='disable' name='fsrm'/>
		</cpu>
		<features><acpi/><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
	END
}

balloon_xml() {
	local reporting="freePageReporting='${guest[reporting]}'"
	if [ "${guest[balloon]}" = none ]; then
		echo "<memballoon model='none'/>"
		return
	fi
	[ "${guest[reporting]}" != unset ] || reporting=
	echo "<memballoon model='virtio' autodeflate='on' $reporting>"
	[ "${guest[stats-period]}" -eq 0 ] || echo "<stats period='${guest[stats-period]}'/>"
	echo "</memballoon>"
}

agent_xml() {
	[ -n "${guest[agent]}" ] || return 0
	echo "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
}

# The paths are those inside the namespace: short, whatever DIR is.
guest_xml() {
	local accel=$1 kernel=$2 image=$3 type=qemu key cmdline settings
	[ "$accel" != kvm ] || type=kvm
	key=$(guest_key "${guest[name]}")
	cmdline="$(guest_command_line) ullage.driver=${guest[driver]}"
	[ -z "${guest[hog]}" ] || cmdline+=" ullage.hog=${guest[hog]}"
	[ -z "${guest[cmdline]}" ] || cmdline+=" ${guest[cmdline]}"
	settings="placement='${guest[placement]}' reclaim='${guest[reclaim]}'"
	[ -z "${guest[allow-agent]}" ] || settings+=" guest-agent='${guest[allow-agent]}'"
	cat <<-END
		<domain type='$type'>
		  <name>$(xml_escape "${guest[name]}")</name>
		  <metadata>
		    <ullage:vm xmlns:ullage='https://ullage.io/libvirt/v1' $settings/>
		  </metadata>
		  <memory unit='MiB'>${guest[mem]}</memory>
		  <vcpu>${guest[vcpus]}</vcpu>
		  <os>
		    <type arch='x86_64' machine='q35'>hvm</type>
		    <kernel>$(xml_escape "$kernel/boot/vmlinuz-${kernel##*/}")</kernel>
		    <initrd>$(xml_escape "$image")</initrd>
		    <cmdline>$(xml_escape "$cmdline")</cmdline>
		  </os>
		  $(accelerator_xml "$accel")
		  <on_reboot>restart</on_reboot>
		  <devices>
		    <emulator>/etc/libvirt/hooks/ullage-emulator</emulator>
		    <controller type='usb' model='none'/>
		    <serial type='file'><source path='/var/log/libvirt/$key.console'/><target port='0'/></serial>
		    <serial type='unix'><source mode='bind' path='/run/libvirt/ullage/$key.sock'/><target port='1'/></serial>
		    $(balloon_xml)
		    $(agent_xml)
		  </devices>
		</domain>
	END
}

# The kernel unpacks archives that stand one after the other into the same tree.
# add_to_image IMAGE ARCHIVE FILE... : prints an image with ARCHIVE (or '') and each FILE in /bin.
add_to_image() {
	local image=$1 archive=$2 target=$state/image.$BASHPID
	shift 2
	mkdir -p "$target.tree/bin"
	[ $# -eq 0 ] || cp -- "$@" "$target.tree/bin/" || die "define: cannot add $*"
	{
		cat "$image"
		[ -z "$archive" ] || cat "$archive"
		(cd "$target.tree" && find bin -type f | cpio --quiet -o -H newc -R 0:0)
	} >"$target"
	rm -rf "$target.tree"
	printf '%s\n' "$target"
}

guest_define() {
	local accel kernel image archive='' added
	local -A guest
	need_name define "$@"
	parse_guest "$@"
	accel=$("$here/accel")
	kernel=$("$here/guest-kernel")
	image=$("$here/guest-image")
	[ -z "${guest[agent]}" ] || archive=$("$here/guest-agent-image")
	[ -z "$archive" ] && [ ${#added[@]} -eq 0 ] || image=$(add_to_image "$image" "$archive" "${added[@]}")
	guest_xml "$accel" "$kernel" "$image" >"$state/define.$BASHPID.xml"
	virsh_in_lab define "$state/define.$BASHPID.xml" >/dev/null || die "libvirt refuses this guest"
	rm -f "$state/define.$BASHPID.xml"
}

ready_or_panic() { [ "$(console_state "$1")" != booting ]; }

guest_wait() {
	need_name wait "$@"
	local seconds=${2:-60} console
	[[ $seconds =~ ^[0-9]+$ ]] || die "wait: '$seconds' is not a number of seconds"
	console=$(console_of "$1")
	wait_until "$seconds" ready_or_panic "$console" || true
	console_ready "$console" && return
	say "lab: guest '$1' is not ready after $seconds s; its console ends with:"
	tail -n 20 "$console" >&2 || true
	return 1
}

# libvirt's reset gives the guest no chance to announce it, so the announcement that `wait` goes
# by is made here. QEMU writes the console by appending.
guest_reset() {
	need_name reset "$@"
	guest_pid "$1" >/dev/null || die "guest '$1' is not running"
	echo "ullage-guest: leaving" >>"$(console_of "$1")"
	virsh_in_lab reset "$1" >/dev/null
}

# Quotes for the guest's shell, which does not know all of what bash's %q writes.
quote_words() {
	local word quote=\'
	for word; do printf "'%s' " "${word//$quote/$quote\\$quote$quote}"; done
}

guest_exec() {
	need_name exec "$@"
	local name=$1 seconds=60 command
	shift
	if [ "${1-}" = --timeout ]; then seconds=${2-} && shift 2; fi
	[[ $seconds =~ ^[0-9]+$ ]] || die "exec: '$seconds' is not a number of seconds"
	[ "${1-}" != -- ] || shift
	[ $# -gt 0 ] || die "exec: which command?"
	command=$1
	[ $# -eq 1 ] || command=$(quote_words "$@")
	guest_pid "$name" >/dev/null || die "guest '$name' is not running"
	exec /usr/bin/python3 -I "$here/lib/serial-exec.py" "$dir/run/ullage/$(guest_key "$name").sock" \
		"$((seconds * ${ULLAGE_PATIENCE:-1}))" "$command"
}

guest_console() {
	need_name console "$@"
	cat "$(console_of "$1")"
}

guest_charge() {
	need_name charge "$@"
	charge_of "$(guest_cgroup "$1")" || die "guest '$1' has no cgroup (never started?)"
}

guest_print_pid() {
	need_name pid "$@"
	guest_pid "$1" || die "guest '$1' is not running"
}

guest_print_cgroup() {
	need_name cgroup "$@"
	[ -d "$(guest_cgroup "$1")" ] || die "guest '$1' has no cgroup (never started?)"
	guest_cgroup "$1"
}
