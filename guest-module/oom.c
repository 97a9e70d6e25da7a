// SPDX-License-Identifier: GPL-2.0
/*
 * Before the kernel kills a process for want of memory it asks its OOM
 * notifiers, and kills nobody if one of them found some. This one gives what
 * the driver has, the cheapest first: hints, the reserve, the balloon if the host
 * allowed that, and then what is on its way: free memory that a report shows to the host
 * right now cannot be allocated until the host has answered. An OOM for want
 * of that memory is a fake one, so it waits, for a bounded time, and nobody
 * has to die. The limit of a memory cgroup does not come here: the kernel asks
 * only when the whole guest is short.
 *
 * Nothing here allocates or waits without limit. The kernel holds its
 * oom_lock, under which nobody else gets killed either; who needs memory
 * meanwhile tries again every few milliseconds.
 */

#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/sched.h>
#include <linux/virtio_config.h>

#include "ullage.h"

/* After an OOM the host's wish to inflate waits this long. */
#define INFLATE_HOLD	(10 * HZ)
/* And reports this long: what is free then is better in the guest's hands. */
#define REPORT_HOLD	(2 * HZ)
/* What the balloon gives of its large blocks, in 4 KiB pages: 16 MiB. */
#define OOM_STEP	4096
/* After a wait in vain there is no other one for this long. */
#define WAIT_REST	(10 * HZ)
/* The core puts pages back at once when the host has answered. */
#define PUT_BACK	(HZ / 10)
/* Before notifiers of the default priority, as the stock driver is. */
#define OOM_PRIORITY	80

static unsigned int to_kib(unsigned long pages)
{
	return pages << (PAGE_SHIFT - 10);
}

/* Each of these returns pages of the guest. */
static unsigned long from_reserve(struct ullage_balloon *ub)
{
	unsigned long pages = ullage_reserve_release(ub, ULONG_MAX);

	if (pages)
		dev_info_ratelimited(&ub->vdev->dev,
				     "the guest is out of memory: gave it the reserve of %u KiB\n",
				     to_kib(pages));
	return pages;
}

static unsigned long from_balloon(struct ullage_balloon *ub, unsigned long until)
{
	unsigned int n;

	if (!virtio_has_feature(ub->vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM))
		return 0;
	/* Large blocks are there at once, without a word to the host. */
	n = ullage_huge_deflate(ub, OOM_STEP) ?: ullage_pages_oom(ub, until);
	if (!n)
		return 0;

	/* The worker writes the new size, and looks at the host's wish again after the hold. */
	ullage_balloon_resize(ub);
	ullage_count(ub, ULLAGE_C_OOM_DEFLATED_PAGES, n);
	n /= ULLAGE_PFNS_PER_PAGE;
	dev_info_ratelimited(&ub->vdev->dev,
			     "the guest is out of memory: took %u KiB back from the balloon\n",
			     to_kib(n));
	return n;
}

static bool pass_runs(struct ullage_balloon *ub)
{
	return work_busy(&ub->prdev.work.work) & WORK_BUSY_RUNNING;
}

/*
 * Wait until the core has put back what it had isolated. The work is watched
 * and not flushed: a pass allocates before it isolates, and would wait for the
 * very caller of this.
 */
static unsigned long from_host(struct ullage_balloon *ub, unsigned long until)
{
	unsigned long pages = atomic_long_read(&ub->in_flight);
	unsigned long t0 = jiffies, answered = jiffies;

	if (!READ_ONCE(ub->reporting) || !pass_runs(ub) || !time_before(t0, until) ||
	    time_before(t0, READ_ONCE(ub->no_wait_until)))
		return 0;

	while (pass_runs(ub) && time_before(jiffies, until) &&
	       time_before(jiffies, answered + PUT_BACK)) {
		if (atomic_long_read(&ub->in_flight))
			answered = jiffies;
		schedule_timeout_uninterruptible(1);
	}
	if (pages)
		ullage_count(ub, ULLAGE_C_OOM_WAITS, 1);
	if (pass_runs(ub)) {
		if (!pages)
			return 0;
		WRITE_ONCE(ub->no_wait_until, jiffies + WAIT_REST);
		dev_warn_ratelimited(&ub->vdev->dev,
				     "the guest is out of memory and %u KiB are on their way from the host, which has not answered for %u ms: is it overloaded? A process may be killed; oom_wait_ms and reserve_mib help\n",
				     to_kib(pages), jiffies_to_msecs(jiffies - t0));
		return 0;
	}
	if (pages) {
		ullage_count(ub, ULLAGE_C_OOM_SAVES, pages);
		dev_info_ratelimited(&ub->vdev->dev,
				     "the guest was out of memory: %u KiB came back from the host after %u ms, nobody has to be killed for them\n",
				     to_kib(pages), jiffies_to_msecs(jiffies - t0));
	}
	/* A pass that had isolated pages and not shown them yet has put them back, too. */
	return max(pages, 1UL);
}

static int oom_notify(struct notifier_block *nb, unsigned long unused, void *freed)
{
	struct ullage_balloon *ub = container_of(nb, struct ullage_balloon, oom_nb);
	unsigned long until = jiffies + msecs_to_jiffies(ullage_param(ULLAGE_P_OOM_WAIT_MS));
	unsigned long pages;

	/* The host has to wait: for its pages, and with what has not been shown to it yet. */
	WRITE_ONCE(ub->hold_until, jiffies + INFLATE_HOLD);
	WRITE_ONCE(ub->hold, true);
	cancel_delayed_work(&ub->oom_over);
	WRITE_ONCE(ub->oom_under_way, true);
	WRITE_ONCE(ub->cut_short, true);
	ullage_huge_want(ub, 0);

	/* Nobody needs these any more. */
	pages = ullage_hint_release(ub);
	pages += from_reserve(ub);
	if (!pages)
		pages = from_balloon(ub, until);
	/* Waiting is for those who have nothing else. */
	if (!pages)
		pages = from_host(ub, until);
	*(unsigned long *)freed += pages;
	/* From its end on: a pass that goes on meanwhile is what this has waited for in vain. */
	WRITE_ONCE(ub->oom_under_way, false);
	mod_delayed_work(system_wq, &ub->oom_over, REPORT_HOLD);
	return NOTIFY_OK;
}

/* Passes that were refused meanwhile have armed the next one. */
static void oom_over_fn(struct work_struct *work)
{
	struct ullage_balloon *ub =
		container_of(to_delayed_work(work), struct ullage_balloon, oom_over);

	/* The next one has come; its end arms this again. */
	if (!READ_ONCE(ub->oom_under_way))
		WRITE_ONCE(ub->cut_short, false);
}

void ullage_oom_init(struct ullage_balloon *ub)
{
	INIT_DELAYED_WORK(&ub->oom_over, oom_over_fn);
	ub->oom_nb.notifier_call = oom_notify;
	ub->oom_nb.priority = OOM_PRIORITY;
}

int ullage_oom_start(struct ullage_balloon *ub)
{
	WRITE_ONCE(ub->cut_short, false);
	ub->no_wait_until = jiffies;
	return register_oom_notifier(&ub->oom_nb);
}

/* After this no OOM is under way in this driver. */
void ullage_oom_stop(struct ullage_balloon *ub)
{
	unregister_oom_notifier(&ub->oom_nb);
	cancel_delayed_work_sync(&ub->oom_over);
}
