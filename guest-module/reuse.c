// SPDX-License-Identifier: GPL-2.0
/*
 * Who frees memory and takes it back at once gains nothing from haste: the
 * host drops it and has to find it again. So when most of what was reported in
 * the last seconds has been taken again, the next burst begins later, four
 * times as late each time, until the memory is in use again before its time
 * comes and is not reported at all. If its time finds it free by chance, which
 * shows in how much was allocated meanwhile, the burst waits once more. Calm
 * brings the haste back step by step.
 *
 * Memory that was the host's for longer than that does not count: no delay
 * that a host would put up with had kept it from being reported.
 */

#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sizes.h>
#include <linux/vmstat.h>

#include "ullage.h"

/* No burst begins later than this because of it. */
#define MOST_MS		6000
/* What has been taken back within this time or half of it was reported too soon. */
#define SOON		(6 * HZ)
/* What a guest's odd job takes back is no habit. */
#define HABIT		SZ_16M
/* Steps of four from a settle_ms of 25 or more to beyond MOST_MS. */
#define STEPS		4
#define LEAST_MS	25
/* One step back for each such time without another reason. */
#define CALM		(60 * HZ)
/* A guest that goes up and down without end gives all the same, this often. */
#define LONGEST		(60 * HZ)

static void clear(struct ullage_reuse *r)
{
	r->given[0] = r->given[1] = 0;
	r->taken[0] = r->taken[1] = 0;
	r->since = jiffies;
}

/* The younger half of the time and the one before it. */
static void turn(struct ullage_reuse *r)
{
	unsigned long now = jiffies;

	if (time_before(now, r->since + SOON / 2))
		return;
	if (time_before(now, r->since + SOON)) {
		r->given[1] = r->given[0];
		r->taken[1] = r->taken[0];
	} else {
		r->given[1] = r->taken[1] = 0;
	}
	r->given[0] = r->taken[0] = 0;
	r->since = now;
}

/* @given bytes are the host's now, @taken of what was are not any more; under budget_lock. */
void ullage_reuse_note(struct ullage_balloon *ub, u64 given, u64 taken)
{
	struct ullage_reuse *r = &ub->reuse;
	u64 all, again;

	turn(r);
	all = r->given[0] + r->given[1];
	/* Older memory was taken: that is none of this. */
	again = r->taken[0] + r->taken[1];
	taken = min(taken, all - min(all, again));
	r->taken[0] += taken;
	r->given[0] += given;
	again += taken;

	if (again >= HABIT && 2 * again >= all) {
		if (r->step < STEPS)
			WRITE_ONCE(r->step, r->step + 1);
		r->calm_since = jiffies;
		clear(r);
		ullage_count(ub, ULLAGE_C_REUSES, 1);
		return;
	}
	while (r->step && time_after(jiffies, r->calm_since + CALM)) {
		WRITE_ONCE(r->step, r->step - 1);
		r->calm_since += CALM;
	}
}

/* The least delay of a burst's first pass, in ms; 0: nothing speaks against haste. No lock. */
unsigned int ullage_reuse_ms(struct ullage_balloon *ub)
{
	unsigned int step = READ_ONCE(ub->reuse.step);
	unsigned int base = max_t(unsigned int, ullage_param(ULLAGE_P_SETTLE_MS), LEAST_MS);

	if (!step || !ullage_param(ULLAGE_P_REUSE_BACKOFF))
		return 0;
	return min_t(unsigned int, base << (2 * step), MOST_MS);
}

/*
 * Bytes that were ever allocated; 0 where the kernel does not count them. From
 * any context, unlike all_vm_events(): a CPU that goes meanwhile makes one
 * look wrong.
 */
static u64 allocated(void)
{
	u64 pages = 0;
#ifdef CONFIG_VM_EVENT_COUNTERS
	unsigned int cpu, z;

	for_each_online_cpu(cpu) {
		for (z = 0; z < MAX_NR_ZONES; z++)
			pages += READ_ONCE(per_cpu(vm_event_states, cpu).event[PGALLOC_NORMAL - ZONE_NORMAL + z]);
	}
#endif
	return pages << PAGE_SHIFT;
}

/* Only a look a short while ago says something of now. */
static bool looked_lately(struct ullage_reuse *r)
{
	return time_before_eq(jiffies, r->looked + 2 * msecs_to_jiffies(MOST_MS));
}

/* At the first block freed in a while, from any context: what is allocated counts from here. */
void ullage_reuse_begin(struct ullage_balloon *ub)
{
	struct ullage_reuse *r = &ub->reuse;

	if (!READ_ONCE(r->step))
		return;
	if (!looked_lately(r))
		r->waits_since = jiffies;
	r->allocated = allocated();
	r->looked = jiffies;
}

/*
 * At the start of a pass with @fresh bytes to give: jiffies for which it
 * should wait because the guest goes up and down; 0: it may begin.
 */
unsigned long ullage_reuse_wait(struct ullage_balloon *ub, u64 fresh)
{
	struct ullage_reuse *r = &ub->reuse;
	unsigned int ms = ullage_reuse_ms(ub);
	u64 now, grown;

	if (!ms)
		return 0;
	/* Nobody saw the beginning: this is it. */
	if (!looked_lately(r)) {
		ullage_reuse_begin(ub);
		return msecs_to_jiffies(ms);
	}
	now = allocated();
	grown = now - r->allocated;
	r->allocated = now;
	r->looked = jiffies;
	if (grown >= max_t(u64, HABIT, fresh / 2) && time_before(jiffies, r->waits_since + LONGEST))
		return msecs_to_jiffies(ms);
	r->waits_since = jiffies;
	return 0;
}

void ullage_reuse_reset(struct ullage_balloon *ub)
{
	WRITE_ONCE(ub->reuse.step, 0);
	ub->reuse.looked = jiffies - 2 * msecs_to_jiffies(MOST_MS) - 1;
	clear(&ub->reuse);
}
