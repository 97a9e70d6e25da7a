// SPDX-License-Identifier: GPL-2.0
/*
 * Module parameters: each can be read and written while the module runs. A
 * value out of bounds is refused and changes nothing; one that cannot be
 * brought into effect is taken back.
 */

#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>

#include "compat.h"
#include "ullage.h"

struct param {
	unsigned int value;
	unsigned int min;
	unsigned int max;
	/* What a new value takes beyond being read at its next use; NULL: nothing. */
	int (*apply)(struct ullage_balloon *ub);
};


static int repace(struct ullage_balloon *ub)
{
	ullage_reporting_repace(ub);
	return 0;
}

/* 1 TiB and 1 TiB/s: beyond any use, and far from overflow when scaled. */
#define MIB_MAX	(1U << 20)

/* X(type, name, enum suffix, default, least, most, apply, description) */
#define PARAMS(X)								\
	X(bool, reporting, REPORTING, 1, 0, 1, ullage_reporting_apply,		\
	  "Report free pages to the host (bool, default Y)")			\
	X(bool, early_start, EARLY_START, 1, 0, 1, ullage_reporting_apply,	\
	  "Start the first pass of a burst after settle_ms instead of the kernel's 2 s (bool, default Y)") \
	X(uint, order, ORDER, 0, 1, ULLAGE_MAX_ORDER, ullage_reporting_apply,	\
	  "Smallest free block reported, as a power of two of pages (1 to the allocator's largest; default the kernel's page block, 9 = 2 MiB on x86)") \
	X(uint, pass_delay_ms, PASS_DELAY_MS, 20, 0, 10000, repace,		\
	  "Pause between two passes of a burst, in ms (0 to 10000, default 20)") \
	X(uint, settle_ms, SETTLE_MS, 100, 0, 2000, repace,			\
	  "Wait between the first freed block and the first pass, in ms (0 to 2000, default 100)") \
	X(uint, cpu_permille, CPU_PERMILLE, 10, 0, 1000, repace,		\
	  "Most that reporting may cost the guest on average, CPU time of passes and faults on memory taken again, in thousandths of one CPU (0 to 1000, default 10; 0 = no limit)") \
	X(uint, fault_us, FAULT_US, 250, 0, 100000, repace,			\
	  "What it costs to take 2 MiB again that the host was given, in us (0 to 100000, default 250)") \
	X(bool, backoff, BACKOFF, 1, 0, 1, repace,				\
	  "Report more slowly while the guest is short of memory (bool, default Y)") \
	X(bool, reuse_backoff, REUSE_BACKOFF, 1, 0, 1, repace,			\
	  "Begin reporting seconds later while the guest takes again what it frees (bool, default Y)") \
	X(uint, batch_mib, BATCH_MIB, 8, 0, 1024, repace,			\
	  "Let less than this wait for more, for at most 2 s, in MiB (0 to 1024, default 8)") \
	X(uint, host_page_kib, HOST_PAGE_KIB, 2048, 4, SZ_1M, ullage_reporting_apply, \
	  "The host's pages under this guest, in KiB; no smaller block is reported (4 to 1048576, default 2048: huge pages)") \
	X(uint, rate_mib_s, RATE_MIB_S, 0, 0, MIB_MAX, repace,			\
	  "Most that is reported on average, in MiB/s (0 to 1048576, default 0 = no limit)") \
	X(uint, floor_mib, FLOOR_MIB, 32, 0, MIB_MAX, repace,			\
	  "Report nothing while less than this is free in the guest, in MiB (0 to 1048576, default 32); the kernel keeps 32 blocks a zone by itself") \
	X(uint, oom_wait_ms, OOM_WAIT_MS, 5000, 0, 10000, NULL,			\
	  "Before a process is killed for want of memory, wait at most this long for the host, in ms (0 to 10000, default 5000)") \
	X(uint, reserve_mib, RESERVE_MIB, 0, 0, 256, ullage_reserve_apply,	\
	  "Keep this much free memory out of reports for when it is short, in MiB (0 to 256 and at most a sixteenth of the guest's memory, default 0 = none)") \
	X(bool, fast_balloon, FAST_BALLOON, 1, 0, 1, NULL,			\
	  "Inflate in blocks of 2 MiB and more where the device offers reporting (bool, default Y)") \
	X(uint, compact_mib, COMPACT_MIB, 64, 0, MIB_MAX, ullage_residue_afresh,	\
	  "Compact memory when so much of it is free in blocks too small to be reported and the guest is idle, in MiB (0 to 1048576, default 64; 0 = never)") \
	X(uint, cache_trim, CACHE_TRIM, 1, 0, 2, ullage_residue_afresh,		\
	  "Trim cold page cache of an idle guest (0 to 2, default 1): 0 = never, 1 = by memory.reclaim or per-node reclaim, 2 = also by drop_caches where the kernel has neither") \
	X(uint, stop_wait_ms, STOP_WAIT_MS, 20000, 1000, 60000, NULL,		\
	  "Unbinding, unloading and suspending wait at most this long for the host and then reset the device, in ms (1000 to 60000, default 20000)")

static struct param params[ULLAGE_P_NR] = {
#define X(_type, _name, _id, _default, _min, _max, _apply, _text) \
	[ULLAGE_P_##_id] = { _default, _min, _max, _apply },
	PARAMS(X)
#undef X
};

static int apply(struct param *p)
{
	struct ullage_balloon *ub;
	int err;

	if (!p->apply)
		return 0;
	list_for_each_entry(ub, &ullage_devices, node) {
		err = p->apply(ub);
		if (err)
			return err;
	}
	return 0;
}

static int set(const struct kernel_param *kp, unsigned int value)
{
	struct param *p = kp->arg;
	unsigned int old;
	int err = 0;

	if (value < p->min || value > p->max)
		return -EINVAL;

	mutex_lock(&ullage_devices_lock);
	old = p->value;
	WRITE_ONCE(p->value, value);
	/* An old value, too: it may not have come into effect when it was set. */
	err = apply(p);
	if (err && value != old) {
		WRITE_ONCE(p->value, old);
		apply(p);
	}
	mutex_unlock(&ullage_devices_lock);
	return err;
}

static int set_uint(const char *text, const struct kernel_param *kp)
{
	unsigned int value;

	return kstrtouint(text, 0, &value) ? -EINVAL : set(kp, value);
}

static int set_bool(const char *text, const struct kernel_param *kp)
{
	bool value;

	return kstrtobool(text, &value) ? -EINVAL : set(kp, value);
}

static int get_uint(char *buffer, const struct kernel_param *kp)
{
	struct param *p = kp->arg;

	return sysfs_emit(buffer, "%u\n", READ_ONCE(p->value));
}

static int get_bool(char *buffer, const struct kernel_param *kp)
{
	struct param *p = kp->arg;

	return sysfs_emit(buffer, "%c\n", READ_ONCE(p->value) ? 'Y' : 'N');
}

static const struct kernel_param_ops uint_ops = { .set = set_uint, .get = get_uint };
static const struct kernel_param_ops bool_ops = { .set = set_bool, .get = get_bool };

#define X(_type, _name, _id, _default, _min, _max, _apply, _text)		\
	module_param_cb(_name, &_type##_ops, &params[ULLAGE_P_##_id], 0644);	\
	MODULE_PARM_DESC(_name, _text);
PARAMS(X)
#undef X

/* The page block's size is not a constant on every architecture. */
void ullage_params_init(void)
{
	struct param *order = &params[ULLAGE_P_ORDER];

	if (!order->value)
		order->value = pageblock_order;
}

unsigned int ullage_param(enum ullage_param p)
{
	return READ_ONCE(params[p].value);
}
