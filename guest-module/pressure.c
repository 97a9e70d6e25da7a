// SPDX-License-Identifier: GPL-2.0
/*
 * Back off while the guest itself wants memory: what it frees it will take
 * again, and blocks on their way to the host are missing meanwhile. Memory
 * pressure (PSI) says this best, but its functions are not exported to
 * modules, and opening /proc/pressure from the kernel would be no interface.
 * So this looks at what it is made of: stalled allocations, direct reclaim,
 * refaults of the working set, kills; and at free memory that falls.
 *
 * It looks once a pass, so an idle guest is not looked at.
 */

#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/vmstat.h>

#include "ullage.h"

/* The pause between passes doubles from this at least to this at most. */
#define LEAST_MS	10
#define MOST_MS		2000
/* A look says nothing of what happened before this long ago. */
#define STALE		(4 * HZ)
/* As many refaults as reclaim takes at a time; fewer come from an idle guest's odd job. */
#define REFAULTS	32

static unsigned long stalls(void)
{
#ifdef CONFIG_VM_EVENT_COUNTERS
	unsigned long ev[NR_VM_EVENT_ITEMS], sum;
	unsigned int z;

	all_vm_events(ev);
	sum = ev[OOM_KILL] + ev[PGSCAN_DIRECT];
	/* One a zone, in the order of the zones. */
	for (z = 0; z < MAX_NR_ZONES; z++)
		sum += ev[ALLOCSTALL_NORMAL - ZONE_NORMAL + z];
	return sum;
#else
	return 0;
#endif
}

static unsigned long refaults(void)
{
	return global_node_page_state(WORKINGSET_REFAULT_ANON) +
	       global_node_page_state(WORKINGSET_REFAULT_FILE);
}

/* Each CPU keeps part of the count to itself; that much, and one large block, is no change. */
static u64 noise(void)
{
	return SZ_4M + num_online_cpus() * (u64)SZ_512K;
}

/* At the start of a pass; @held bytes are isolated right now. */
void ullage_pressure_look(struct ullage_balloon *ub, u64 held)
{
	struct ullage_look now = {
		.at = jiffies,
		.free = ((u64)global_zone_page_state(NR_FREE_PAGES) << PAGE_SHIFT) + held,
		.stalls = stalls(),
		.refaults = refaults(),
	};
	struct ullage_look *last = &ub->look;
	unsigned int level = READ_ONCE(ub->backoff_level);

	if (!ullage_param(ULLAGE_P_BACKOFF) || time_after(now.at, last->at + STALE)) {
		level = 0;
	} else if (now.free + noise() < last->free || now.stalls != last->stalls ||
		   now.refaults - last->refaults >= REFAULTS) {
		/* Beyond this it is the most for any pass delay. */
		if (level < ilog2(MOST_MS / LEAST_MS) + 1) {
			level++;
			ullage_count(ub, ULLAGE_C_BACKOFFS, 1);
		}
	} else if (level) {
		level--;
	}
	WRITE_ONCE(ub->backoff_level, level);
	WRITE_ONCE(last->at, now.at);
	last->free = now.free;
	last->stalls = now.stalls;
	last->refaults = now.refaults;
}

/* The least pause before the next pass, in ms; 0 while nothing presses. */
unsigned int ullage_pressure_ms(struct ullage_balloon *ub)
{
	unsigned int level = READ_ONCE(ub->backoff_level);
	unsigned int base = ullage_param(ULLAGE_P_PASS_DELAY_MS);

	if (!level || time_after(jiffies, READ_ONCE(ub->look.at) + STALE))
		return 0;
	return min_t(unsigned int, max_t(unsigned int, base, LEAST_MS) << level, MOST_MS);
}

void ullage_pressure_reset(struct ullage_balloon *ub)
{
	WRITE_ONCE(ub->backoff_level, 0);
	WRITE_ONCE(ub->look.at, jiffies - STALE - 1);
}
