# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Runs checks and counts them; whoever sources this ends with `summary`.
#
# Guests are emulated and machines are shared, so what fails is tried once more. What passes then
# counts as passed and is named at the end: `flaky` is a bug in a test or in the product, to be
# looked for in daylight. What no second try can excuse is not tried again: a sanitizer's report,
# what a kernel's log says, and whatever needs no clock (builds, lints, fuzzers).

passed=0
failed=0
skipped=0
failures=()
flaky=()

# inexcusable LOG
inexcusable() {
	grep -qE 'Sanitizer: |SUMMARY: .*Sanitizer|^FAILED .*(clean log|build: )' "$1"
}

note_failure() {
	failed=$((failed + 1))
	failures+=("$1")
	printf 'FAILED  %s\n' "$1"
}

# skip NAME REASON
skip() {
	skipped=$((skipped + 1))
	printf 'skip    %s: %s\n' "$1" "$2"
}

# run NAME COMMAND… : one check; its output is shown when it fails.
run() {
	local name=$1 log start=$SECONDS
	shift
	log=$(mktemp)
	if "$@" >"$log" 2>&1 </dev/null; then
		passed=$((passed + 1))
		printf 'ok      %s (%d s)\n' "$name" $((SECONDS - start))
		rm -f "$log"
		return 0
	fi
	tail -n 200 "$log"
	rm -f "$log"
	note_failure "$name"
	return 1
}

# add_counts NAME LOG : takes over the last "N passed, N failed, N skipped" of LOG.
add_counts() {
	local line
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$2" | tail -n 1)
	[ -n "$line" ] || {
		note_failure "$1: no closing line"
		return 1
	}
	# shellcheck disable=SC2086
	set -- "$1" ${line//,/}
	passed=$((passed + $2))
	skipped=$((skipped + $6))
	if [ "$4" -gt 0 ]; then
		failed=$((failed + $4))
		failures+=("$1: $4")
		return 1
	fi
}

# run_counting NAME COMMAND… : a program that closes with its own counts.
run_counting() {
	local name=$1 log status=0 before=$failed
	shift
	log=$(mktemp)
	"$@" </dev/null 2>&1 | tee "$log" || status=$?
	if [ "$status" -ne 0 ] && [ -z "${once:-}" ] && ! inexcusable "$log"; then
		printf 'again   %s\n' "$name"
		flaky+=("$name: $(grep -m 3 '^FAILED' "$log" | paste -sd ';')")
		status=0
		"$@" </dev/null 2>&1 | tee "$log" || status=$?
		[ "$status" -eq 0 ] || unset 'flaky[-1]'
	fi
	add_counts "$name" "$log"
	[ "$status" -eq 0 ] || [ "$failed" -gt "$before" ] || note_failure "$name: exit status $status"
	rm -f "$log"
}

ctest_total() {
	sed -n 's/.* tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\2 \1/p' "$1"
}

# run_ctest PRESET : each GoogleTest case is one.
run_ctest() {
	local preset=$1 log total bad again names
	log=$(mktemp)
	ctest --preset "$preset" -L unit -j 2 >"$log" 2>&1 </dev/null
	total=$(ctest_total "$log")
	if [ -z "$total" ] || [ "${total% *}" -eq 0 ]; then
		tail -n 50 "$log"
		note_failure "unit tests of $preset: none ran"
		return 1
	fi
	bad=${total#* }
	if [ "$bad" -gt 0 ] && ! inexcusable "$log"; then
		tail -n 200 "$log"
		printf 'again   %d unit tests of %s\n' "$bad" "$preset"
		names=$(sed -n '/^The following tests FAILED:/,/^Errors/s/^\t *\([0-9]* - .*\)/\1/p' "$log" | paste -sd ';')
		ctest --preset "$preset" --rerun-failed >"$log" 2>&1 </dev/null
		again=$(ctest_total "$log")
		[ -z "$again" ] || bad=${again#* }
		[ "$bad" -gt 0 ] || flaky+=("unit tests of $preset: $names")
	fi
	passed=$((passed + ${total% *} - bad))
	printf '%-7s unit tests of %s: %d of %d passed\n' "$([ "$bad" -eq 0 ] && echo ok || echo FAILED)" \
		"$preset" $((${total% *} - bad)) "${total% *}"
	if [ "$bad" -gt 0 ]; then
		tail -n 200 "$log"
		failed=$((failed + bad))
		failures+=("unit tests of $preset: $bad")
	fi
	rm -f "$log"
	[ "$bad" -eq 0 ]
}

# gtest_counts REPORT : "N passed, N failed, N skipped" and, on a second line, a filter of what failed.
gtest_counts() {
	python3 -I - "$1" 2>/dev/null <<'END'
import json, sys
cases = [(suite["name"] + "." + case["name"], case)
         for suite in json.load(open(sys.argv[1]))["testsuites"] for case in suite["testsuite"]]
bad = [name for name, case in cases if case.get("failures")]
left = sum(1 for _, case in cases if case["result"] == "SKIPPED")
print(f"{len(cases) - len(bad) - left} passed, {len(bad)} failed, {left} skipped")
print(":".join(bad))
END
}

# run_gtest PROGRAM : a GoogleTest program whose cases are too slow for a process each.
run_gtest() {
	local program=$1 log report counts bad again
	log=$(mktemp)
	report=$(mktemp)
	gtest_once() {
		"$program" --gtest_output="json:$report" "$@" </dev/null 2>&1 | tee "$log" |
			grep -E '^\[ +(OK|FAILED|SKIPPED) |error|Failure'
		counts=$(gtest_counts "$report")
	}
	gtest_once
	bad=$(sed -n 2p <<<"$counts")
	counts=$(sed -n 1p <<<"$counts")
	[ -z "$counts" ] || [ -n "$bad" ] && tail -n 150 "$log"
	if [ -n "$bad" ] && ! inexcusable "$log"; then
		printf 'again   %s\n' "$bad"
		again=$counts
		gtest_once --gtest_filter="$bad"
		if [ "$(sed -n 2p <<<"$counts")" = "" ] && [ -n "$counts" ]; then
			flaky+=("${program##*/}: $bad")
			# shellcheck disable=SC2086
			set -- ${again//,/}
			counts="$(($1 + $3)) passed, 0 failed, $5 skipped"
		else
			tail -n 150 "$log"
			counts=$again
		fi
	fi
	printf '%s\n' "$counts" >"$report"
	add_counts "${program##*/}" "$report"
	rm -f "$log" "$report"
}

summary() {
	local failure
	printf '\n'
	for failure in "${flaky[@]}"; do printf 'flaky: %s\n' "$failure"; done
	for failure in "${failures[@]}"; do printf 'failed: %s\n' "$failure"; done
	printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	[ "$failed" -eq 0 ]
}
