// SPDX-License-Identifier: GPL-2.0
/*
 * What reporting may cost the guest. There are two costs: the CPU time of the
 * passes, and regret: memory that was reported and is taken again makes the
 * host fault it in anew, a block at a time. Nobody tells a driver when a page
 * is allocated, but it can be seen afterwards: the free blocks are those given
 * to the host and those not yet, so when there are fewer of them than were
 * given, the difference has been taken. It is seen in full at the end of a
 * burst, when all that is free has been given, and at the first block freed
 * after that, which comes through the trigger.
 *
 * Both are paid from one budget, cpu_permille of one CPU, saved up over a
 * time. A large free is paid from what was saved; a guest that takes back what
 * it frees, over and over, soon finds nothing left, and then its next burst
 * waits until the last is paid.
 */

#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/sizes.h>

#include "compat.h"
#include "ullage.h"

/* What is saved up: this long, or what it costs to take the whole guest once, and a quarter. */
#define SAVED_NS	(60LL * NSEC_PER_SEC)
/*
 * Debts beyond this are forgiven: whoever stops churning has its memory on the
 * way to the host after at most this time. With it, a guest that churns
 * through more than 10 s can pay for pays more than its budget, but a burst of
 * a second each 10 s at most.
 */
#define DEBT_NS		(10LL * NSEC_PER_SEC)
/* A burst that has begun is not held up by its own cost for this long. */
#define BURST		HZ
/* Far beyond any single cost, and far from overflow when scaled. */
#define COST_MAX_NS	(1000ULL * NSEC_PER_SEC)

/* The core leaves a zone alone that has no more than this free, so one that is as small for good. */
static bool never_reported(struct ullage_balloon *ub, struct zone *zone)
{
	return zone_managed_pages(zone) <=
	       low_wmark_pages(zone) + ((unsigned long)PAGE_REPORTING_CAPACITY << ub->prdev.order);
}

/* Bytes in free blocks that the core would report. The counts are of a moment, each its own. */
static u64 free_bytes(struct ullage_balloon *ub)
{
	unsigned int nid, z, order;
	struct zone *zone;
	u64 pages = 0;

	for_each_online_node(nid) {
		for (z = 0; z < MAX_NR_ZONES; z++) {
			zone = &NODE_DATA(nid)->node_zones[z];
			if (!populated_zone(zone) || never_reported(ub, zone))
				continue;
			for (order = ub->prdev.order; order <= ULLAGE_MAX_ORDER; order++)
				pages += (u64)READ_ONCE(zone->free_area[order].nr_free) << order;
		}
	}
	return pages << PAGE_SHIFT;
}

/* What the host's faults cost for so many pages: at most 2^34 of 2^27 ns each 2 MiB. */
static u64 fault_ns(u64 pages)
{
	return pages * (ullage_param(ULLAGE_P_FAULT_US) * (u64)NSEC_PER_USEC) >>
		(ilog2(SZ_2M) - PAGE_SHIFT);
}

/* The time in which the budget makes so much; @permille is not 0. */
static s64 earned_in(u64 cost_ns, unsigned int permille)
{
	return div_u64(min_t(u64, cost_ns, COST_MAX_NS) * 1000, permille);
}

static s64 saved(unsigned int permille)
{
	u64 whole = fault_ns(totalram_pages());

	return max_t(s64, SAVED_NS, earned_in(whole + whole / 4, permille));
}

/* Under budget_lock. The budget is a time: until when it is spent. */
static void spend(struct ullage_balloon *ub, u64 cost_ns)
{
	unsigned int permille = ullage_param(ULLAGE_P_CPU_PERMILLE);
	s64 now = ktime_get_ns(), spent;

	if (!permille || !cost_ns)
		return;
	spent = max_t(s64, now, atomic64_read(&ub->spent_until_ns)) +
		earned_in(cost_ns, permille);
	atomic64_set(&ub->spent_until_ns, min(spent, now + saved(permille) + DEBT_NS));
}

/*
 * Look at the free lists: @given bytes more have been given to the host, @held
 * bytes are isolated right now. From any context. Returns the bytes that are
 * free and surely not yet given.
 */
u64 ullage_budget_look(struct ullage_balloon *ub, u64 given, u64 held, u64 cpu_ns)
{
	u64 now, retaken = 0, fresh = 0;
	unsigned long flags;

	spin_lock_irqsave(&ub->budget_lock, flags);
	now = free_bytes(ub) + held;
	ub->given += given;
	if (ub->given > now) {
		retaken = ub->given - now;
		ub->given = now;
	} else {
		fresh = now - ub->given;
	}
	spend(ub, cpu_ns + fault_ns(retaken >> PAGE_SHIFT));
	ullage_reuse_note(ub, given, retaken);
	spin_unlock_irqrestore(&ub->budget_lock, flags);

	ullage_count(ub, ULLAGE_C_RETAKEN_BYTES, retaken);
	ullage_count(ub, ULLAGE_C_PASS_CPU_NS, cpu_ns);
	return fresh;
}

/* What has been taken since the last look was not the guest's choice and costs it nothing. */
void ullage_budget_forgive(struct ullage_balloon *ub, u64 held)
{
	unsigned long flags;

	spin_lock_irqsave(&ub->budget_lock, flags);
	ub->given = min(ub->given, free_bytes(ub) + held);
	spin_unlock_irqrestore(&ub->budget_lock, flags);
}

/* Jiffies until the budget allows the next pass. No lock: the trigger asks, too. */
unsigned long ullage_budget_wait(struct ullage_balloon *ub)
{
	unsigned int permille = ullage_param(ULLAGE_P_CPU_PERMILLE);
	s64 ns;

	if (!permille || time_before(jiffies, READ_ONCE(ub->burst_until)))
		return 0;
	ns = atomic64_read(&ub->spent_until_ns) - (s64)ktime_get_ns() - saved(permille);
	if (ns <= 0)
		return 0;
	/* A clock that jumps back makes no larger debt. */
	return nsecs_to_jiffies(min_t(s64, ns, DEBT_NS)) + 1;
}

/* A pass that need not wait begins a burst, or goes on with one. */
void ullage_budget_burst(struct ullage_balloon *ub)
{
	if (!time_before(jiffies, READ_ONCE(ub->burst_until)))
		WRITE_ONCE(ub->burst_until, jiffies + BURST);
}

/* Microseconds of CPU time that may be spent before anything waits. */
s64 ullage_budget_left_us(struct ullage_balloon *ub)
{
	unsigned int permille = ullage_param(ULLAGE_P_CPU_PERMILLE);
	s64 spent, all;

	if (!permille)
		return 0;
	all = saved(permille);
	spent = atomic64_read(&ub->spent_until_ns) - (s64)ktime_get_ns();
	return div_s64(clamp_t(s64, all - spent, 0, all), NSEC_PER_MSEC / permille);
}

/* Nothing is owed. */
void ullage_budget_reset(struct ullage_balloon *ub)
{
	unsigned long flags;

	spin_lock_irqsave(&ub->budget_lock, flags);
	atomic64_set(&ub->spent_until_ns, 0);
	WRITE_ONCE(ub->burst_until, jiffies);
	ullage_reuse_reset(ub);
	spin_unlock_irqrestore(&ub->budget_lock, flags);
}
