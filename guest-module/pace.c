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
#include <linux/ratelimit.h>
#include <linux/sizes.h>
#include <linux/vmstat.h>

#include "trace.h"
#include "ullage.h"

/* What the core itself waits before a pass. */
#define CORE_DELAY	(2 * HZ)
/* A pass that comes when the last one's pause is over, give or take a busy CPU. */
#define SAME_BURST	(HZ / 20)
/* Long after the wait that decides about a pass. */
#define AFTER_CALM	(600 * HZ)

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

static void later(unsigned long *delay, enum ullage_why *why, unsigned long d,
		  enum ullage_why w)
{
	if (d > *delay) {
		*delay = d;
		*why = w;
	}
}

/* Jiffies from now to a pass that its parameter puts @ms away, and what decided. */
static unsigned long pass_delay(struct ullage_balloon *ub, unsigned int ms,
				enum ullage_why *why)
{
	unsigned long delay = msecs_to_jiffies(ms);

	later(&delay, why, msecs_to_jiffies(ullage_pressure_ms(ub)), ULLAGE_WHY_PRESSURE);
	later(&delay, why, debt(ub), ULLAGE_WHY_RATE);
	later(&delay, why, ullage_budget_wait(ub), ULLAGE_WHY_BUDGET);
	return delay;
}

/* The same for the first pass after an idle time. */
static unsigned long first_delay(struct ullage_balloon *ub, enum ullage_why *why)
{
	unsigned long delay;

	*why = ULLAGE_WHY_SETTLE;
	delay = pass_delay(ub, ullage_param(ULLAGE_P_SETTLE_MS), why);
	later(&delay, why, msecs_to_jiffies(ullage_reuse_ms(ub)), ULLAGE_WHY_REUSE);
	return delay;
}

/* When the first pass after an idle time may start. No lock is taken: see trigger.c. */
unsigned long ullage_first_pass_delay(struct ullage_balloon *ub)
{
	enum ullage_why why;

	return first_delay(ub, &why);
}

static void say_budget(struct ullage_balloon *ub)
{
	static DEFINE_RATELIMIT_STATE(once, 600 * HZ, 1);

	ratelimit_set_flags(&once, RATELIMIT_MSG_ON_RELEASE);
	if (__ratelimit(&once))
		dev_info(&ub->vdev->dev,
			 "the guest takes again what it frees: reports wait up to 10 s at a time, so that they cost it no more than cpu_permille allows\n");
}

static void arm(struct ullage_balloon *ub, unsigned long delay, enum ullage_why why)
{
	/* One wait for each time that the money runs out, not for each report in it. */
	if (why == ULLAGE_WHY_BUDGET && READ_ONCE(ub->why) != why) {
		ullage_count(ub, ULLAGE_C_BUDGET_WAITS, 1);
		say_budget(ub);
	}
	WRITE_ONCE(ub->why, why);
	trace_pace(jiffies_to_msecs(delay), why);
	/*
	 * A pass that is refused has isolated blocks already, and they go to the
	 * tail of their list, behind those that the host has: the guest would
	 * take those next, and make the host find memory for nothing.
	 */
	if (why == ULLAGE_WHY_REUSE && delay) {
		mod_delayed_work(system_wq, &ub->calm_work, delay);
		delay = AFTER_CALM;
	} else {
		cancel_delayed_work(&ub->calm_work);
	}
	ullage_arm_pass(ub, delay);
}

/* Has the guest come to rest? Then the pass may begin. */
static void calm_fn(struct work_struct *work)
{
	struct ullage_balloon *ub =
		container_of(to_delayed_work(work), struct ullage_balloon, calm_work);

	if (READ_ONCE(ub->ending))
		return;
	arm(ub, ullage_reuse_wait(ub, ullage_budget_look(ub, 0, 0, 0)), ULLAGE_WHY_REUSE);
}

/* The core has asked for a pass in 2 s, after the first block freed in a while. */
void ullage_pace_start(struct ullage_balloon *ub)
{
	enum ullage_why why;
	unsigned long delay;

	/* The start before this one has led to nothing. */
	if (READ_ONCE(ub->started))
		ullage_count(ub, ULLAGE_C_EMPTY_STARTS, 1);
	WRITE_ONCE(ub->started, true);
	ullage_budget_look(ub, 0, 0, 0);
	ullage_reuse_begin(ub);
	delay = first_delay(ub, &why);
	arm(ub, delay, why);
	ullage_count(ub, ULLAGE_C_EARLY_STARTS, 1);
}

/* @held bytes are isolated right now and go back in a moment. */
static bool below_floor(u64 held)
{
	u64 free = (u64)global_zone_page_state(NR_FREE_PAGES) << PAGE_SHIFT;

	return free + held < (u64)ullage_param(ULLAGE_P_FLOOR_MIB) * SZ_1M;
}

/*
 * A few blocks are not worth an exit to the host if more may follow, but none
 * waits for longer than the core would have let it. Meanwhile nothing is
 * armed, so that a large free finds its pass at once; a timer sees to the
 * rest. @fresh bytes are known to be free and not reported: a zone with little
 * to report may come before one with much.
 */
static bool too_small(struct ullage_balloon *ub, u64 bytes, u64 fresh)
{
	u64 least = (u64)ullage_param(ULLAGE_P_BATCH_MIB) * SZ_1M;
	unsigned long now = jiffies;

	/* Without the trigger these blocks have waited already. */
	if (max(bytes, fresh) >= least || !READ_ONCE(ub->triggered))
		return false;
	/* The one before has found nothing at its time; this is another. */
	if (ub->small && time_after(now, ub->small_until + HZ))
		ub->small = false;
	if (!ub->small) {
		ub->small = true;
		ub->small_until = now + CORE_DELAY;
		schedule_delayed_work(&ub->small_work, CORE_DELAY);
	}
	return time_before(now, ub->small_until);
}

static void small_fn(struct work_struct *work)
{
	arm(container_of(to_delayed_work(work), struct ullage_balloon, small_work), 0,
	    ULLAGE_WHY_SMALL);
}

/* Whoever runs out of memory wants what the core has isolated now; reports come later. */
void ullage_pace_cut(struct ullage_balloon *ub)
{
	arm(ub, CORE_DELAY, ULLAGE_WHY_OOM);
}

/*
 * May @bytes, which the core has isolated, be reported now? @first in a pass.
 * An error ends the pass.
 */
int ullage_pace_admit(struct ullage_balloon *ub, u64 bytes, bool first)
{
	unsigned long wait;
	bool again;
	u64 fresh;

	if (READ_ONCE(ub->cut_short)) {
		ullage_pace_cut(ub);
		return -EBUSY;
	}
	WRITE_ONCE(ub->started, false);
	/* The host waits for the balloon. */
	if (READ_ONCE(ub->huge_want))
		return 0;
	wait = debt(ub);
	if (wait) {
		ullage_count(ub, ULLAGE_C_PACED_WAITS, 1);
		arm(ub, wait, ULLAGE_WHY_RATE);
		return -EAGAIN;
	}
	/* The next large free starts a pass again; no timer waits for it. */
	if (below_floor(bytes)) {
		ullage_count(ub, ULLAGE_C_FLOOR_SKIPS, 1);
		return -EAGAIN;
	}
	if (!first)
		return 0;

	fresh = ullage_budget_look(ub, 0, bytes, 0);
	wait = ullage_budget_wait(ub);
	if (wait) {
		arm(ub, wait, ULLAGE_WHY_BUDGET);
		return -EAGAIN;
	}
	/* The rest of a burst goes with its beginning. */
	again = time_before(jiffies, ub->reported_at + SAME_BURST +
			    msecs_to_jiffies(ullage_param(ULLAGE_P_PASS_DELAY_MS)));
	wait = again ? 0 : ullage_reuse_wait(ub, max(bytes, fresh));
	if (wait) {
		arm(ub, wait, ULLAGE_WHY_REUSE);
		return -EAGAIN;
	}
	if (!again && too_small(ub, bytes, fresh)) {
		ullage_count(ub, ULLAGE_C_SMALL_WAITS, 1);
		return -EAGAIN;
	}
	if (ub->small) {
		ub->small = false;
		cancel_delayed_work(&ub->small_work);
	}
	ullage_pressure_look(ub, bytes);
	ullage_budget_burst(ub);
	return 0;
}

/*
 * The host has taken note of blocks, of which @bytes go back to the core; the
 * next pass comes when that is paid for.
 */
void ullage_pace_reported(struct ullage_balloon *ub, u64 bytes, u64 cpu_ns)
{
	enum ullage_why why = ULLAGE_WHY_PASS;
	unsigned long delay;

	/* What the host asked for by its balloon is not the guest's doing. */
	if (READ_ONCE(ub->huge_want)) {
		ullage_budget_forgive(ub, bytes);
		return;
	}
	charge(ub, bytes);
	ub->reported_at = jiffies;
	ullage_budget_look(ub, bytes, bytes, cpu_ns);
	delay = pass_delay(ub, ullage_param(ULLAGE_P_PASS_DELAY_MS), &why);
	arm(ub, delay, why);
}

void ullage_pace_init(struct ullage_balloon *ub)
{
	spin_lock_init(&ub->budget_lock);
	ub->reported_at = jiffies - HZ;
	INIT_DELAYED_WORK(&ub->small_work, small_fn);
	INIT_DELAYED_WORK(&ub->calm_work, calm_fn);
}

/* Nothing is owed and nothing is held back. */
void ullage_pace_reset(struct ullage_balloon *ub)
{
	atomic64_set(&ub->next_report_ns, 0);
	ullage_budget_reset(ub);
	ullage_pressure_reset(ub);
}

/* What was held back may go, and what waits under the old pace waits under the new one. */
void ullage_pace_restart(struct ullage_balloon *ub)
{
	ullage_pace_reset(ub);
	arm(ub, ullage_first_pass_delay(ub), ULLAGE_WHY_SETTLE);
}
