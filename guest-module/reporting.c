// SPDX-License-Identifier: GPL-2.0
/*
 * Free page reporting. The kernel's core isolates free blocks and hands them
 * to report(), up to 32 at a time; the host drops them while it waits; the
 * core puts them back, marked, so that each is reported once. When that may
 * happen is the matter of pace.c.
 */

#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/sort.h>
#include <linux/virtio_config.h>

#define CREATE_TRACE_POINTS
#include "trace.h"

#include "compat.h"
#include "ullage.h"

/*
 * At most so much in one request: QEMU discards it in one go in its main loop,
 * where its monitor and other devices wait meanwhile.
 */
#define REQUEST_MAX	(3 * SZ_4M)
/* And so long a rest after each: the main loop's lock is not a fair one. */
#define REQUEST_REST_US	20
/*
 * The CPU time of a report is taken from the clock, because the scheduler's
 * account is up to a tick behind. A pass that was preempted has cost no more
 * than this for each report: some microseconds a block.
 */
#define REPORT_CPU_MAX_NS	NSEC_PER_MSEC

/* The core serves one device a system; under ullage_devices_lock. */
static struct ullage_balloon *reporter;

struct piece {
	unsigned long pfn;
	unsigned int len;
};

static int by_pfn(const void *a, const void *b)
{
	const struct piece *l = a, *r = b;

	return l->pfn < r->pfn ? -1 : l->pfn > r->pfn;
}

/*
 * Fill ub->report_sg with the pages of @sgl, neighbours joined: the host works
 * one entry after the other, and large ones cost it less.
 */
static unsigned int join(struct ullage_balloon *ub, struct scatterlist *sgl,
			 unsigned int nents)
{
	struct piece p[PAGE_REPORTING_CAPACITY];
	struct scatterlist *sg;
	unsigned int i, n = 0;

	for_each_sg(sgl, sg, nents, i) {
		p[i].pfn = page_to_pfn(sg_page(sg));
		p[i].len = sg->length;
	}
	sort(p, nents, sizeof(p[0]), by_pfn, NULL);

	for (i = 1; i < nents; i++) {
		if (p[n].pfn + (p[n].len >> PAGE_SHIFT) == p[i].pfn &&
		    (u64)p[n].len + p[i].len <= REQUEST_MAX)
			p[n].len += p[i].len;
		else
			p[++n] = p[i];
	}
	n++;

	sg_init_table(ub->report_sg, n);
	for (i = 0; i < n; i++)
		sg_set_page(&ub->report_sg[i], pfn_to_page(p[i].pfn), p[i].len, 0);
	return n;
}

/* In requests that neither the ring nor the host's main loop is too short for. */
static int send(struct ullage_balloon *ub, unsigned int n)
{
	struct virtqueue *vq = ub->vqs[ULLAGE_Q_REPORTING];
	unsigned int most = virtqueue_get_vring_size(vq);
	struct scatterlist *sg = ub->report_sg;
	unsigned int i, begin;
	u64 bytes;
	int err;

	for (begin = 0; begin < n; begin = i) {
		bytes = sg[begin].length;
		for (i = begin + 1; i < n && i - begin < most; i++) {
			bytes += sg[i].length;
			if (bytes > REQUEST_MAX)
				break;
		}
		sg_mark_end(&sg[i - 1]);
		err = ullage_ask_host(ub, vq, &sg[begin], i - begin, true);
		if (err)
			return err;
		ullage_count(ub, ULLAGE_C_REPORTS, 1);
		usleep_range(REQUEST_REST_US, 2 * REQUEST_REST_US);
		if (i < n && READ_ONCE(ub->cut_short))
			return -EBUSY;
	}
	return 0;
}

/* Blocks beyond the last counter's order, which x86 does not have, count there. */
static void count_orders(struct ullage_balloon *ub, struct scatterlist *sgl,
			 unsigned int nents)
{
	struct scatterlist *sg;
	unsigned int i, order;

	for_each_sg(sgl, sg, nents, i) {
		order = clamp_t(unsigned int, get_order(sg->length), 1, 10);
		ullage_count(ub, ULLAGE_C_REPORTED_ORDER_1 + order - 1, sg->length);
	}
}

/* An error puts the pages back unmarked and ends the pass. */
static int report(struct page_reporting_dev_info *prdev,
		  struct scatterlist *sgl, unsigned int nents)
{
	struct ullage_balloon *ub = container_of(prdev, struct ullage_balloon, prdev);
	/* Within a pass, the first report has armed the next pass. */
	bool first = !delayed_work_pending(&prdev->work);
	s64 began = ktime_get_ns();
	struct scatterlist *sg;
	unsigned int i, n;
	u64 bytes = 0;
	s64 t0, host, now;
	int err;

	if (WARN_ON_ONCE(!nents || nents > PAGE_REPORTING_CAPACITY))
		return -EINVAL;
	/* Whoever stops it waits for the end of this pass. */
	if (READ_ONCE(ub->stopping) || READ_ONCE(ub->ending) ||
	    !ullage_param(ULLAGE_P_REPORTING))
		return -ESHUTDOWN;
	for_each_sg(sgl, sg, nents, i)
		bytes += sg->length;

	err = ullage_pace_admit(ub, bytes, first);
	if (err)
		return err;

	n = join(ub, sgl, nents);
	t0 = ktime_get_ns();
	atomic_long_add(bytes >> PAGE_SHIFT, &ub->in_flight);
	err = send(ub, n);
	host = ktime_get_ns() - t0;
	ullage_count(ub, ULLAGE_C_REPORT_HOST_NS, host);
	trace_report(bytes, nents, n, host, err);
	atomic_long_sub(bytes >> PAGE_SHIFT, &ub->in_flight);
	if (err == -EBUSY) {
		ullage_pace_cut(ub);
		return err;
	}
	if (err) {
		ullage_count(ub, ULLAGE_C_REPORT_ERRORS, 1);
		dev_err_ratelimited(&ub->vdev->dev,
				    "free page report failed: %d; unbind and bind the device to start over\n",
				    err);
		return err;
	}

	if (first)
		ullage_count(ub, ULLAGE_C_PASSES, 1);
	ullage_count(ub, ULLAGE_C_REPORTED_PAGES, bytes >> PAGE_SHIFT);
	ullage_count(ub, ULLAGE_C_REPORTED_BYTES, bytes);
	ullage_count(ub, ULLAGE_C_MERGED_BLOCKS, nents - n);
	count_orders(ub, sgl, nents);

	nents = ullage_take(ub, sgl, nents);
	bytes = 0;
	for_each_sg(sgl, sg, nents, i)
		bytes += sg->length;
	/* What lies between two reports of a pass is the core's work. */
	if (!first)
		began = ub->report_end_ns;
	now = ktime_get_ns();
	ub->report_end_ns = now;
	ullage_pace_reported(ub, bytes, clamp_t(s64, now - began - host, 0, REPORT_CPU_MAX_NS));
	return 0;
}

/*
 * A host takes memory back only by whole pages of its own. QEMU passes over
 * smaller pieces in silence, and the core would mark them as given back.
 */
static unsigned int smallest_order(void)
{
	unsigned long host_page = ullage_param(ULLAGE_P_HOST_PAGE_KIB) * (unsigned long)SZ_1K;

	return max_t(unsigned int, ullage_param(ULLAGE_P_ORDER), get_order(host_page));
}

static int start(struct ullage_balloon *ub)
{
	unsigned int order = smallest_order();
	int err;

	ub->prdev.report = report;
	ub->prdev.order = order;
	/* What was given before may have been taken meanwhile, with nobody looking. */
	ub->given = 0;
	ub->small = false;
	WRITE_ONCE(ub->ending, false);
	ullage_pace_reset(ub);
	ub->core_order = ullage_core_order();
	/* It sets up the work; nobody may wait for that meanwhile. */
	mutex_lock(&ub->pass_lock);
	err = page_reporting_register(&ub->prdev);
	mutex_unlock(&ub->pass_lock);
	if (err) {
		dev_err(&ub->vdev->dev,
			"free page reporting is off: the kernel refused it: %d%s\n", err,
			err == -EBUSY ? " (another driver does it; unbind that one first)" : "");
		return err;
	}
	ullage_set_core_order(order);
	ub->reporting = true;
	reporter = ub;
	ullage_residue_start(ub);
	dev_info(&ub->vdev->dev, "free page reporting is on, in blocks of %lu KiB and more\n",
		 (PAGE_SIZE << order) >> 10);
	return 0;
}

/* What keeps this device from reporting as the parameters want it, or NULL. */
static const char *hindrance(struct ullage_balloon *ub)
{
	if (!ub->vqs[ULLAGE_Q_REPORTING])
		return "the device does not offer it (QEMU: free-page-reporting=on) or this guest poisons free pages";
	if (smallest_order() > ULLAGE_MAX_ORDER)
		return "host_page_kib says that the host's pages are larger than any free block of this guest; give the VM smaller ones";
	return NULL;
}

/*
 * Make reporting what the parameters say; under ullage_devices_lock. A changed
 * order takes a new registration, because the core reads it only there.
 */
int ullage_reporting_apply(struct ullage_balloon *ub)
{
	const char *why_not = hindrance(ub);
	bool wanted = ullage_param(ULLAGE_P_REPORTING) && !why_not;
	int err;

	if (ub->reporting && (!wanted || ub->prdev.order != smallest_order()))
		ullage_reporting_stop(ub);
	if (!wanted) {
		if (ullage_param(ULLAGE_P_REPORTING))
			dev_info(&ub->vdev->dev, "free page reporting is off: %s\n", why_not);
		return 0;
	}
	if (reporter && reporter != ub)
		return 0;
	if (!ub->reporting) {
		err = start(ub);
		if (err)
			return err;
	}
	if (ub->prdev.order > ullage_param(ULLAGE_P_ORDER))
		dev_info(&ub->vdev->dev,
			 "order=%u has no effect below the host's pages of %u KiB; write host_page_kib=4 too if the host uses no huge pages for this guest\n",
			 ullage_param(ULLAGE_P_ORDER), ullage_param(ULLAGE_P_HOST_PAGE_KIB));
	if (!ullage_param(ULLAGE_P_EARLY_START))
		ullage_trigger_detach(ub);
	else if (!ullage_trigger_attach(ub))
		/* Registration has asked for a first pass in 2 s: bring it forward. */
		ullage_reporting_repace(ub);
	return 0;
}

/*
 * What arms the core's work goes first: the trigger, and the timers for few
 * blocks and for calm. A last pass may still set those, so they are looked for
 * again when passes have ended, and with them what they may have armed; such a
 * pass would end at once. When this returns no page is on its way to the host.
 */
void ullage_reporting_stop(struct ullage_balloon *ub)
{
	ullage_trigger_detach(ub);
	if (!ub->reporting)
		return;
	ullage_residue_stop(ub);
	WRITE_ONCE(ub->ending, true);
	page_reporting_unregister(&ub->prdev);
	cancel_delayed_work_sync(&ub->small_work);
	cancel_delayed_work_sync(&ub->calm_work);
	cancel_delayed_work_sync(&ub->prdev.work);
	ullage_set_core_order(ub->core_order);
	ub->reporting = false;
	reporter = NULL;
	dev_info(&ub->vdev->dev, "free page reporting is off\n");
}

/*
 * The pace has changed: what it held back may go, and what waits under the old
 * one waits under the new one. Nothing may be pending, for instance where the
 * floor ended the last pass, so a pass is always asked for. Under
 * ullage_devices_lock.
 */
void ullage_reporting_repace(struct ullage_balloon *ub)
{
	if (ub->reporting)
		ullage_pace_restart(ub);
}
