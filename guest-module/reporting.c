// SPDX-License-Identifier: GPL-2.0
/*
 * Free page reporting. The kernel's core isolates free blocks and hands them
 * to report(), up to 32 at a time; the host drops them while it waits; the
 * core puts them back, marked, so that each is reported once. When that may
 * happen is the matter of pace.c.
 */

#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/sort.h>
#include <linux/virtio_config.h>

#include "compat.h"
#include "ullage.h"

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
		    (u64)p[n].len + p[i].len <= SZ_1G)
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

/* In pieces, should the ring be shorter than the list. */
static int send(struct ullage_balloon *ub, unsigned int n)
{
	struct virtqueue *vq = ub->vqs[ULLAGE_Q_REPORTING];
	unsigned int i, len;
	int err = 0;

	for (i = 0; i < n && !err; i += len) {
		len = min(n - i, virtqueue_get_vring_size(vq));
		sg_mark_end(&ub->report_sg[i + len - 1]);
		err = ullage_ask_host(ub, vq, &ub->report_sg[i], len, true);
	}
	return err;
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
	struct scatterlist *sg;
	unsigned int i, n;
	u64 bytes = 0;
	s64 t0;
	int err;

	if (WARN_ON_ONCE(!nents || nents > PAGE_REPORTING_CAPACITY))
		return -EINVAL;
	/* Whoever stops it waits for the end of this pass. */
	if (READ_ONCE(ub->stopping) || !ullage_param(ULLAGE_P_REPORTING))
		return -ESHUTDOWN;
	for_each_sg(sgl, sg, nents, i)
		bytes += sg->length;

	err = ullage_pace_admit(ub, bytes);
	if (err)
		return err;

	n = join(ub, sgl, nents);
	t0 = ktime_get_ns();
	atomic_long_add(bytes >> PAGE_SHIFT, &ub->in_flight);
	err = send(ub, n);
	ullage_count(ub, ULLAGE_C_REPORT_HOST_NS, ktime_get_ns() - t0);
	atomic_long_sub(bytes >> PAGE_SHIFT, &ub->in_flight);
	if (err) {
		ullage_count(ub, ULLAGE_C_REPORT_ERRORS, 1);
		dev_err_ratelimited(&ub->vdev->dev,
				    "free page report failed: %d; unbind and bind the device to start over\n",
				    err);
		return err;
	}

	if (first)
		ullage_count(ub, ULLAGE_C_PASSES, 1);
	ullage_count(ub, ULLAGE_C_REPORTS, 1);
	ullage_count(ub, ULLAGE_C_REPORTED_PAGES, bytes >> PAGE_SHIFT);
	ullage_count(ub, ULLAGE_C_REPORTED_BYTES, bytes);
	ullage_count(ub, ULLAGE_C_MERGED_BLOCKS, nents - n);
	count_orders(ub, sgl, nents);
	ullage_take(ub, sgl, nents);
	ullage_pace_reported(ub, bytes);
	return 0;
}

static int start(struct ullage_balloon *ub)
{
	unsigned int order = ullage_param(ULLAGE_P_ORDER);
	int err;

	ub->prdev.report = report;
	ub->prdev.order = order;
	ullage_pace_reset(ub);
	ub->core_order = ullage_core_order();
	err = page_reporting_register(&ub->prdev);
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

/*
 * Make reporting what the parameters say; under ullage_devices_lock. A changed
 * order takes a new registration, because the core reads it only there.
 */
int ullage_reporting_apply(struct ullage_balloon *ub)
{
	bool wanted = ullage_param(ULLAGE_P_REPORTING) && ub->vqs[ULLAGE_Q_REPORTING];
	int err;

	if (ub->reporting && (!wanted || ub->prdev.order != ullage_param(ULLAGE_P_ORDER)))
		ullage_reporting_stop(ub);
	if (!wanted) {
		if (ullage_param(ULLAGE_P_REPORTING))
			dev_info(&ub->vdev->dev,
				 "free page reporting is off: the device does not offer it (QEMU: free-page-reporting=on) or this guest poisons free pages\n");
		return 0;
	}
	if (reporter && reporter != ub)
		return 0;
	if (!ub->reporting) {
		err = start(ub);
		if (err)
			return err;
	}
	if (!ullage_param(ULLAGE_P_EARLY_START))
		ullage_trigger_detach(ub);
	else if (!ullage_trigger_attach(ub))
		/* Registration has asked for a first pass in 2 s: bring it forward. */
		ullage_reporting_repace(ub);
	return 0;
}

/*
 * The trigger goes first: it arms the work that unregistering cancels for
 * good. When this returns no page is on its way to the host.
 */
void ullage_reporting_stop(struct ullage_balloon *ub)
{
	ullage_trigger_detach(ub);
	if (!ub->reporting)
		return;
	ullage_residue_stop(ub);
	page_reporting_unregister(&ub->prdev);
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
	if (!ub->reporting)
		return;
	ullage_pace_reset(ub);
	ullage_arm_pass(ub, ullage_first_pass_delay(ub));
}
