// SPDX-License-Identifier: GPL-2.0
/*
 * Single pages in the balloon, by arrays of 4 KiB page numbers: the way that
 * every device knows. Compaction may move them. All under balloon_lock, whose
 * holder never allocates but may wait for the host.
 */

#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/virtio_config.h>
#include <linux/vmstat.h>

#include "ullage.h"

/* What one OOM frees: 4 MiB. */
#define OOM_BATCHES	4

static unsigned int put_pfns(struct ullage_balloon *ub, unsigned int at,
			     struct page *page)
{
	u32 pfn = (u32)(page_to_pfn(page) * ULLAGE_PFNS_PER_PAGE);
	unsigned int i;

	for (i = 0; i < ULLAGE_PFNS_PER_PAGE; i++)
		ub->pfns[at++] = cpu_to_virtio32(ub->vdev, pfn + i);
	return at;
}

/* Free @pages, which the balloon has let go of; under balloon_lock. */
static void release(struct ullage_balloon *ub, struct list_head *pages)
{
	struct page *page, *next;
	unsigned int n = 0;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		if (!ullage_guest_keeps_account(ub))
			adjust_managed_page_count(page, 1);
		put_page(page);
		n += ULLAGE_PFNS_PER_PAGE;
	}
	WRITE_ONCE(ub->num_pfns, ub->num_pfns - n);
	ullage_count(ub, ULLAGE_C_DEFLATED_PAGES, n);
}

static void complain(struct ullage_balloon *ub, enum ullage_queue q, int err)
{
	if (err && err != -ETIMEDOUT && !READ_ONCE(ub->dead))
		dev_err_ratelimited(&ub->vdev->dev,
				    "queue %s failed: %d; unbind and bind the device to start over\n",
				    ub->vqs[q]->name, err);
}

/*
 * An OOM may leave ub->pfns with the host that did not answer in time. Nobody
 * writes there before it has; under balloon_lock.
 */
static int collect_late(struct ullage_balloon *ub, unsigned long patience)
{
	int err;

	if (!ub->late)
		return 0;
	err = ullage_await_host(ub, ub->vqs[ULLAGE_Q_DEFLATE], patience);
	if (err == -ETIMEDOUT)
		return err;
	ub->late = false;
	if (!err)
		release(ub, &ub->untold);
	return err;
}

/* Tell the host of the first @n entries of ub->pfns; under balloon_lock. */
static int tell_host(struct ullage_balloon *ub, enum ullage_queue q, unsigned int n,
		     unsigned long patience)
{
	struct scatterlist sg;
	int err;

	sg_init_one(&sg, ub->pfns, n * sizeof(ub->pfns[0]));
	err = ullage_show_host(ub, ub->vqs[q], &sg, 1, false);
	if (!err)
		err = ullage_await_host(ub, ub->vqs[q], patience);
	complain(ub, q, err);
	return err;
}

/* Take up to @want 4 KiB pages from the guest; returns how many it got. */
unsigned int ullage_pages_inflate(struct ullage_balloon *ub, unsigned int want)
{
	unsigned int n = 0, got = 0;
	struct page *page;
	LIST_HEAD(fresh);
	int err;

	want = min(want, ULLAGE_BATCH_PFNS);
	/* Outside the lock: allocation may end up in the OOM notifier below. */
	while (got + ULLAGE_PFNS_PER_PAGE <= want) {
		page = balloon_page_alloc();
		if (!page)
			break;
		balloon_page_push(&fresh, page);
		got += ULLAGE_PFNS_PER_PAGE;
	}
	if (!got)
		return 0;

	mutex_lock(&ub->balloon_lock);
	if (collect_late(ub, MAX_SCHEDULE_TIMEOUT)) {
		mutex_unlock(&ub->balloon_lock);
		put_pages_list(&fresh);
		return 0;
	}
	list_for_each_entry(page, &fresh, lru) {
		n = put_pfns(ub, n, page);
		if (!ullage_guest_keeps_account(ub))
			adjust_managed_page_count(page, -1);
	}
	balloon_page_list_enqueue(&ub->pages, &fresh);
	WRITE_ONCE(ub->num_pfns, ub->num_pfns + n);
	err = tell_host(ub, ULLAGE_Q_INFLATE, n, MAX_SCHEDULE_TIMEOUT);
	mutex_unlock(&ub->balloon_lock);

	ullage_count(ub, ULLAGE_C_INFLATED_PAGES, n);
	return err ? 0 : got;
}

/*
 * Give up to @want 4 KiB pages back to the guest; under balloon_lock. The host
 * hears of it before the guest uses the pages, whether or not it asked for
 * that (MUST_TELL_HOST). If it did and cannot be told, or has not answered
 * within @patience, the pages wait for its answer or for the device's reset.
 */
static unsigned int deflate_locked(struct ullage_balloon *ub, unsigned int want,
				   unsigned long patience)
{
	unsigned int n = 0;
	struct page *page;
	LIST_HEAD(leaving);
	int err;

	if (collect_late(ub, patience))
		return 0;
	want = min3(want, ULLAGE_BATCH_PFNS, ub->num_pfns) / ULLAGE_PFNS_PER_PAGE;
	balloon_page_list_dequeue(&ub->pages, &leaving, want);
	list_for_each_entry(page, &leaving, lru)
		n = put_pfns(ub, n, page);
	if (!n)
		return 0;

	err = tell_host(ub, ULLAGE_Q_DEFLATE, n, patience);
	ub->late = err == -ETIMEDOUT;
	if (err && !READ_ONCE(ub->dead) &&
	    virtio_has_feature(ub->vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST)) {
		list_splice(&leaving, &ub->untold);
		return 0;
	}
	release(ub, &leaving);
	return n;
}

unsigned int ullage_pages_deflate(struct ullage_balloon *ub, unsigned int want)
{
	unsigned int n;

	mutex_lock(&ub->balloon_lock);
	n = deflate_locked(ub, want, MAX_SCHEDULE_TIMEOUT);
	mutex_unlock(&ub->balloon_lock);
	return n;
}

static unsigned long time_left(unsigned long until)
{
	return time_before(jiffies, until) ? until - jiffies : 0;
}

/*
 * The guest is out of memory: up to OOM_BATCHES back; returns 4 KiB pages. The
 * lock's holder needs no memory, but maybe the host. It may be the balloon's
 * worker, which gives pages back itself and takes the lock again and again:
 * those count, too.
 */
unsigned int ullage_pages_oom(struct ullage_balloon *ub, unsigned long until)
{
	unsigned int i, n, sum = 0, before = READ_ONCE(ub->num_pfns);

	if (!before)
		return 0;
	while (!mutex_trylock(&ub->balloon_lock)) {
		n = READ_ONCE(ub->num_pfns);
		if (n < before)
			return before - n;
		if (!time_before(jiffies, until))
			return 0;
		schedule_timeout_uninterruptible(1);
	}
	for (i = 0; i < OOM_BATCHES; i++) {
		n = deflate_locked(ub, ULLAGE_BATCH_PFNS, time_left(until));
		if (!n)
			break;
		sum += n;
	}
	mutex_unlock(&ub->balloon_lock);
	return sum;
}

#ifdef CONFIG_BALLOON_COMPACTION
/*
 * Compaction wants @page elsewhere: @newpage takes its place in the balloon.
 * Both are locked and @page is on no list. The balloon's lock is only tried:
 * its holder may wait for the host, and compaction has other pages to move.
 * What follows after that lock is dropped is safe: @newpage stays locked until
 * this returns, and deflating passes over locked pages.
 */
static int migrate_page(struct balloon_dev_info *info, struct page *newpage,
			struct page *page, enum migrate_mode mode)
{
	struct ullage_balloon *ub = container_of(info, struct ullage_balloon, pages);
	unsigned long flags;

	if (!mutex_trylock(&ub->balloon_lock))
		return -EAGAIN;
	/* A host that cannot be told would go on with the old page. */
	if (ub->late || virtqueue_is_broken(ub->vqs[ULLAGE_Q_INFLATE]) ||
	    virtqueue_is_broken(ub->vqs[ULLAGE_Q_DEFLATE])) {
		mutex_unlock(&ub->balloon_lock);
		return -EAGAIN;
	}

	/* The balloon's own reference; compaction drops the one it came with. */
	get_page(newpage);
	/* MemTotal is kept per zone. */
	if (!ullage_guest_keeps_account(ub) && page_zone(page) != page_zone(newpage)) {
		adjust_managed_page_count(page, 1);
		adjust_managed_page_count(newpage, -1);
	}

	spin_lock_irqsave(&info->pages_lock, flags);
	balloon_page_insert(info, newpage);
	info->isolated_pages--;
	__count_vm_event(BALLOON_MIGRATE);
	spin_unlock_irqrestore(&info->pages_lock, flags);

	/*
	 * Inflate first, so that the host never sees the balloon shrink. If one
	 * of the two fails now, the device has been reset and holds neither page.
	 */
	tell_host(ub, ULLAGE_Q_INFLATE, put_pfns(ub, 0, newpage), MAX_SCHEDULE_TIMEOUT);
	tell_host(ub, ULLAGE_Q_DEFLATE, put_pfns(ub, 0, page), MAX_SCHEDULE_TIMEOUT);
	mutex_unlock(&ub->balloon_lock);

	ullage_forget_page(page);
	put_page(page);
	ullage_count(ub, ULLAGE_C_MIGRATED_PAGES, ULLAGE_PFNS_PER_PAGE);
	return MIGRATEPAGE_SUCCESS;
}
#endif

void ullage_pages_init(struct ullage_balloon *ub)
{
	mutex_init(&ub->balloon_lock);
	balloon_devinfo_init(&ub->pages);
	INIT_LIST_HEAD(&ub->untold);
#ifdef CONFIG_BALLOON_COMPACTION
	ub->pages.migratepage = migrate_page;
#endif
}

/* The queues are new: whatever the host still had it has no more. */
void ullage_pages_start(struct ullage_balloon *ub)
{
	ub->late = false;
}

/*
 * All pages home, also those that compaction holds at this moment: they point
 * at this driver until it lets go of them, which takes it microseconds.
 */
void ullage_pages_empty(struct ullage_balloon *ub)
{
	while (ub->num_pfns) {
		if (virtqueue_is_broken(ub->vqs[ULLAGE_Q_DEFLATE]) ||
		    (!list_empty(&ub->untold) && !ub->late) || !ullage_time_left(ub))
			ullage_give_up(ub);
		if (!ullage_pages_deflate(ub, ULLAGE_BATCH_PFNS))
			schedule_timeout_uninterruptible(1);
		if (READ_ONCE(ub->dead)) {
			mutex_lock(&ub->balloon_lock);
			release(ub, &ub->untold);
			mutex_unlock(&ub->balloon_lock);
		}
		cond_resched();
	}
}
