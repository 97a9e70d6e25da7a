# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Runs checks and counts them; whoever sources this ends with `summary`.

passed=0
failed=0
skipped=0
failures=()

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
	add_counts "$name" "$log"
	[ "$status" -eq 0 ] || [ "$failed" -gt "$before" ] || note_failure "$name: exit status $status"
	rm -f "$log"
}

# run_ctest PRESET : each GoogleTest case is one.
run_ctest() {
	local preset=$1 log total bad
	log=$(mktemp)
	ctest --preset "$preset" -L unit -j 2 >"$log" 2>&1 </dev/null
	total=$(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\2 \1/p' "$log")
	if [ -z "$total" ] || [ "${total% *}" -eq 0 ]; then
		tail -n 50 "$log"
		note_failure "unit tests of $preset: none ran"
		return 1
	fi
	bad=${total#* }
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

# run_gtest PROGRAM : a GoogleTest program whose cases are too slow for a process each.
run_gtest() {
	local program=$1 log report counts
	log=$(mktemp)
	report=$(mktemp)
	"$program" --gtest_output="json:$report" </dev/null 2>&1 | tee "$log" | grep -E '^\[ +(OK|FAILED|SKIPPED) |error|Failure'
	counts=$(python3 -I - "$report" 2>/dev/null <<'END'
import json, sys
cases = [case for suite in json.load(open(sys.argv[1]))["testsuites"] for case in suite["testsuite"]]
bad = sum(1 for case in cases if case.get("failures"))
left = sum(1 for case in cases if case["result"] == "SKIPPED")
print(f"{len(cases) - bad - left} passed, {bad} failed, {left} skipped")
END
	)
	[ -z "$counts" ] || ! grep -q ' 0 failed' <<<"$counts" && tail -n 150 "$log"
	printf '%s\n' "$counts" >"$report"
	add_counts "${program##*/}" "$report"
	rm -f "$log" "$report"
}

summary() {
	local failure
	printf '\n'
	for failure in "${failures[@]}"; do printf 'failed: %s\n' "$failure"; done
	printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	[ "$failed" -eq 0 ]
}
