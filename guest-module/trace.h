/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints: /sys/kernel/tracing/events/ullage/. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ullage

#if !defined(ULLAGE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ULLAGE_TRACE_H

#include <linux/tracepoint.h>

#include "ullage.h"

#define ULLAGE_WHY_SYMBOLS			\
	{ ULLAGE_WHY_SETTLE, "settle" },	\
	{ ULLAGE_WHY_PASS, "pass" },		\
	{ ULLAGE_WHY_PRESSURE, "pressure" },	\
	{ ULLAGE_WHY_RATE, "rate" },		\
	{ ULLAGE_WHY_BUDGET, "budget" },	\
	{ ULLAGE_WHY_REUSE, "reuse" },		\
	{ ULLAGE_WHY_SMALL, "small" },		\
	{ ULLAGE_WHY_OOM, "oom" }

/* The host has answered, or has not: @err. */
TRACE_EVENT(report,
	TP_PROTO(u64 bytes, unsigned int blocks, unsigned int entries, u64 host_ns, int err),
	TP_ARGS(bytes, blocks, entries, host_ns, err),
	TP_STRUCT__entry(
		__field(u64, bytes)
		__field(u64, host_ns)
		__field(unsigned int, blocks)
		__field(unsigned int, entries)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->bytes = bytes;
		__entry->host_ns = host_ns;
		__entry->blocks = blocks;
		__entry->entries = entries;
		__entry->err = err;
	),
	TP_printk("bytes=%llu blocks=%u entries=%u host_ns=%llu err=%d",
		  __entry->bytes, __entry->blocks, __entry->entries, __entry->host_ns,
		  __entry->err)
);

/* The next pass is to start in @delay_ms, and what put it there. */
TRACE_EVENT(pace,
	TP_PROTO(unsigned int delay_ms, unsigned int why),
	TP_ARGS(delay_ms, why),
	TP_STRUCT__entry(
		__field(unsigned int, delay_ms)
		__field(unsigned int, why)
	),
	TP_fast_assign(
		__entry->delay_ms = delay_ms;
		__entry->why = why;
	),
	TP_printk("delay_ms=%u why=%s", __entry->delay_ms,
		  __print_symbolic(__entry->why, ULLAGE_WHY_SYMBOLS))
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
