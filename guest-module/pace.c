// SPDX-License-Identifier: GPL-2.0
/*
 * The pace of reporting: when the next pass may start, and what may be
 * reported in it.
 *
 * The core sleeps 2 s between passes. Its work item is a member of the public
 * struct that a driver registers, so the pass that runs moves the next one
 * to where this driver wants it: the core then finds it pending already and
 * leaves it alone. A pass that finds nothing new calls nobody and so arms
 * nothing: an idle guest sleeps.
 */

#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/vmstat.h>

#include "ullage.h"

/* What the core itself waits before a pass. */
#define CORE_DELAY	(2 * HZ)
#define CHURN_BURST	4

/* Jiffies until the rate allows the next report. */
static unsigned long debt(struct ullage_balloon *ub)
{
	s64 ns = atomic64_read(&ub->next_report_ns) - (s64)ktime_get_ns();

	if (!ullage_param(ULLAGE_P_RATE_MIB_S) || ns <= 0)
		return 0;
	return nsecs_to_jiffies(ns) + 1;
}

/*
 * What was reported is paid for afterwards: one window of at most 32 blocks
 * may go ahead of the rate, then it holds on average. A window is 2^27 bytes
 * with the largest blocks of x86, so the product stays far below 2^63.
 */
static void charge(struct ullage_balloon *ub, u64 bytes)
{
	u64 rate = (u64)ullage_param(ULLAGE_P_RATE_MIB_S) * SZ_1M;
	s64 now = ktime_get_ns();

	if (!rate)
		return;
	atomic64_set(&ub->next_report_ns,
		     max_t(s64, now, atomic64_read(&ub->next_report_ns)) +
		     div64_u64(bytes * NSEC_PER_SEC, rate));
}

/*
 * Memory that is taken again right after its report costs a fault a block and
 * gains nothing. So haste is a credit: the guest's whole memory once in
 * churn_s seconds, saved up to CHURN_BURST times. A guest that has spent it
 * gets the kernel's own pace until its frees become rare again. What it frees
 * meanwhile counts too, but never for more than one churn_s beyond that, which
 * is so the longest that a guest waits for haste after it stopped churning.
 */
static void spend_haste(struct ullage_balloon *ub, u64 bytes)
{
	u64 window = (u64)ullage_param(ULLAGE_P_CHURN_S) * NSEC_PER_SEC;
	s64 now = ktime_get_ns();
	s64 spent;

	if (!window)
		return;
	/* At most 2^15 pages of 2^40 ns each: no overflow. */
	spent = max_t(s64, now, atomic64_read(&ub->haste_spent_ns)) +
		div64_u64((bytes >> PAGE_SHIFT) * window, totalram_pages());
	atomic64_set(&ub->haste_spent_ns, min_t(s64, spent, now + (CHURN_BURST + 1) * window));
}

static bool churning(struct ullage_balloon *ub)
{
	s64 window = (s64)ullage_param(ULLAGE_P_CHURN_S) * NSEC_PER_SEC;

	return window && atomic64_read(&ub->haste_spent_ns) - (s64)ktime_get_ns() >
			 CHURN_BURST * window;
}

/* Jiffies from now to a pass that its parameter puts @ms away. */
static unsigned long pass_delay(struct ullage_balloon *ub, unsigned int ms)
{
	unsigned long delay = churning(ub) ? CORE_DELAY : msecs_to_jiffies(ms);

	return max(delay, debt(ub));
}

/* When the first pass after an idle time may start. */
unsigned long ullage_first_pass_delay(struct ullage_balloon *ub)
{
	return pass_delay(ub, ullage_param(ULLAGE_P_SETTLE_MS));
}

/* @held bytes are isolated right now and go back in a moment. */
static bool below_floor(u64 held)
{
	u64 free = (u64)global_zone_page_state(NR_FREE_PAGES) << PAGE_SHIFT;

	return free + held < (u64)ullage_param(ULLAGE_P_FLOOR_MIB) * SZ_1M;
}

/* May @bytes, which the core has isolated, be reported now? An error ends the pass. */
int ullage_pace_admit(struct ullage_balloon *ub, u64 bytes)
{
	unsigned long wait = debt(ub);

	/* Whoever runs out of memory wants what the core has isolated, and wants it now. */
	if (READ_ONCE(ub->cut_short)) {
		ullage_arm_pass(ub, CORE_DELAY);
		return -EBUSY;
	}
	/* The host waits for the balloon. */
	if (READ_ONCE(ub->huge_want))
		return 0;
	if (wait) {
		ullage_count(ub, ULLAGE_C_PACED_WAITS, 1);
		ullage_arm_pass(ub, wait);
		return -EAGAIN;
	}
	/* The next large free starts a pass again; no timer waits for it. */
	if (below_floor(bytes)) {
		ullage_count(ub, ULLAGE_C_FLOOR_SKIPS, 1);
		return -EAGAIN;
	}
	return 0;
}

/* The host has @bytes; the next pass comes when that is paid for. */
void ullage_pace_reported(struct ullage_balloon *ub, u64 bytes)
{
	/* What the host asked for by its balloon is not the guest's doing. */
	if (READ_ONCE(ub->huge_want))
		return;
	charge(ub, bytes);
	spend_haste(ub, bytes);
	if (churning(ub))
		ullage_count(ub, ULLAGE_C_CHURN_WAITS, 1);
	ullage_arm_pass(ub, pass_delay(ub, ullage_param(ULLAGE_P_PASS_DELAY_MS)));
}

/* Nothing is owed and nothing saved up. */
void ullage_pace_reset(struct ullage_balloon *ub)
{
	atomic64_set(&ub->next_report_ns, 0);
	atomic64_set(&ub->haste_spent_ns, 0);
}
