// SPDX-License-Identifier: GPL-2.0
/*
 * An early start for the first pass of a burst.
 *
 * When a large block becomes free, the kernel's core starts a timer of 2 s
 * with the zone's lock held and tells no driver. Starting a timer passes the
 * timer_start tracepoint, though: a probe there compares one pointer and, if
 * it is the core's timer, set by the core and not for the time at which the
 * pace would have it, raises an interrupt on this CPU. That handler, outside
 * all locks, moves the pass: forward as a rule, and back for a guest that
 * takes again what it frees.
 *
 * Nothing polls, nothing wakes an idle guest, and without the tracepoint (or
 * with early_start=0) the first pass comes after the core's own 2 s.
 */

#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/timer.h>

#include "compat.h"
#include "ullage.h"

static struct tracepoint *timer_start_tp;

/* This CPU is setting the timer of a pass for this driver itself. */
static DEFINE_PER_CPU(bool, arming);

/*
 * A pass @delay jiffies from now, from any context. The core's own queue;
 * refused by itself while the work is being cancelled. The timer is set within
 * the call, and without interrupts nobody else sets one on this CPU meanwhile.
 */
void ullage_arm_pass(struct ullage_balloon *ub, unsigned long delay)
{
	unsigned long flags;

	local_irq_save(flags);
	__this_cpu_write(arming, true);
	mod_delayed_work(system_wq, &ub->prdev.work, delay);
	__this_cpu_write(arming, false);
	local_irq_restore(flags);
}

static void find_tp(struct tracepoint *tp, void *found)
{
	struct tracepoint **tpp = found;

	if (!strcmp(tp->name, "timer_start"))
		*tpp = tp;
}

/* Tracepoints are not exported by name; those of the kernel itself never go away. */
void ullage_trigger_find(void)
{
	for_each_kernel_tracepoint(find_tp, &timer_start_tp);
}

/*
 * Runs for each timer of the machine, under the timer base's lock and maybe
 * the zone's: no timer, no work item and no message can be touched here.
 */
static void on_timer_start(void *data, struct timer_list *timer,
			   ULLAGE_TIMER_START_ARGS)
{
	struct ullage_balloon *ub = data;

	if (likely(timer != &ub->prdev.work.timer))
		return;
	/* What this driver armed is where it belongs, however far away. */
	if (__this_cpu_read(arming))
		return;
	if (timer->expires != jiffies + ullage_first_pass_delay(ub))
		irq_work_queue(&ub->early_start);
}

static void early_start_fn(struct irq_work *work)
{
	struct ullage_balloon *ub = container_of(work, struct ullage_balloon, early_start);

	/* It may have run since; then there is nothing to move. */
	if (!delayed_work_pending(&ub->prdev.work))
		return;
	ullage_pace_start(ub);
}

void ullage_trigger_init(struct ullage_balloon *ub)
{
	/* The tracepoint's header holds the probe's arguments to its own. */
	check_trace_callback_type_timer_start(on_timer_start);
	init_irq_work(&ub->early_start, early_start_fn);
}

int ullage_trigger_attach(struct ullage_balloon *ub)
{
	int err = -ENOENT;

	if (ub->triggered)
		return 0;
	if (timer_start_tp)
		err = tracepoint_probe_register(timer_start_tp, on_timer_start, ub);
	if (err) {
		dev_notice(&ub->vdev->dev,
			   "no early start (tracepoint timer_start: %d): the first report of a burst comes after 2 s\n",
			   err);
		return err;
	}
	ub->triggered = true;
	return 0;
}

/* After this neither the probe nor its handler runs or will run. */
void ullage_trigger_detach(struct ullage_balloon *ub)
{
	if (!ub->triggered)
		return;
	tracepoint_probe_unregister(timer_start_tp, on_timer_start, ub);
	tracepoint_synchronize_unregister();
	irq_work_sync(&ub->early_start);
	ub->triggered = false;
}
