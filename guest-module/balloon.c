// SPDX-License-Identifier: GPL-2.0
/* The balloon: pages that the guest holds for the host and does not touch. */

#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/virtio_config.h>
#include <linux/vmstat.h>

#include "compat.h"
#include "ullage.h"

/* 16 MiB a run of the worker, so that a changed target is seen soon. */
#define BATCHES_PER_RUN	16
/* What one OOM frees: 4 MiB. */
#define OOM_BATCHES	4
#define RETRY_MIN_MS	200
#define RETRY_MAX_MS	5000

static unsigned long time_left(unsigned long until)
{
	return time_before(jiffies, until) ? until - jiffies : 0;
}

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
static unsigned int inflate(struct ullage_balloon *ub, unsigned int want)
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

static unsigned int deflate(struct ullage_balloon *ub, unsigned int want)
{
	unsigned int n;

	mutex_lock(&ub->balloon_lock);
	n = deflate_locked(ub, want, MAX_SCHEDULE_TIMEOUT);
	mutex_unlock(&ub->balloon_lock);
	return n;
}

/* Under balloon_lock, so that an older figure never overwrites a newer one. */
static void write_actual_locked(struct ullage_balloon *ub)
{
	__u32 actual = ullage_balloon_size(ub);

	virtio_cwrite_le(ub->vdev, struct virtio_balloon_config, actual, &actual);
}

static void write_actual(struct ullage_balloon *ub)
{
	mutex_lock(&ub->balloon_lock);
	write_actual_locked(ub);
	mutex_unlock(&ub->balloon_lock);
}

/* How far the balloon is from what the host wants; positive: too small. */
static s64 distance(struct ullage_balloon *ub)
{
	__u32 target;

	virtio_cread_le(ub->vdev, struct virtio_balloon_config, num_pages, &target);
	return (s64)round_up((u64)target, ULLAGE_PFNS_PER_PAGE) - ullage_balloon_size(ub);
}

static void requeue(struct ullage_balloon *ub, unsigned long delay)
{
	unsigned long flags;

	spin_lock_irqsave(&ub->stop_lock, flags);
	if (!ub->stopping)
		mod_delayed_work(system_freezable_wq, &ub->size_work, delay);
	spin_unlock_irqrestore(&ub->stop_lock, flags);
}

/* A look at the host's wish in at most @delay; one that is sooner stays so. */
void ullage_balloon_look_by(struct ullage_balloon *ub, unsigned long delay)
{
	unsigned long flags;

	spin_lock_irqsave(&ub->stop_lock, flags);
	if (!ub->stopping)
		queue_delayed_work(system_freezable_wq, &ub->size_work, delay);
	spin_unlock_irqrestore(&ub->stop_lock, flags);
}

/* Nothing could be moved now: ask again later, and less often each time. */
static void retry_later(struct ullage_balloon *ub, s64 missing)
{
	s64 mib = abs(missing) >> (20 - VIRTIO_BALLOON_PFN_SHIFT);

	if (missing > 0) {
		ullage_count(ub, ULLAGE_C_INFLATE_FAILURES, 1);
		dev_info_ratelimited(&ub->vdev->dev,
				     "the guest has no page to spare; the host wants %lld MiB more, trying again in %u ms\n",
				     mib, ub->retry_ms);
	} else {
		dev_info_ratelimited(&ub->vdev->dev,
				     "no page leaves the balloon now; the host gives %lld MiB back, trying again in %u ms\n",
				     mib, ub->retry_ms);
	}
	requeue(ub, msecs_to_jiffies(ub->retry_ms));
	ub->retry_ms = min(2 * ub->retry_ms, (unsigned int)RETRY_MAX_MS);
}

/* By large blocks as far as that goes; each is worth telling the host at once. */
static unsigned int grow(struct ullage_balloon *ub, s64 missing)
{
	unsigned int n = ullage_huge_inflate(ub, missing);

	if (n)
		write_actual(ub);
	return n ?: inflate(ub, min_t(s64, missing, ULLAGE_BATCH_PFNS));
}

static unsigned int shrink(struct ullage_balloon *ub, s64 surplus)
{
	unsigned int n = ullage_huge_deflate(ub, surplus);

	if (n)
		write_actual(ub);
	return n ?: deflate(ub, min_t(s64, surplus, ULLAGE_BATCH_PFNS));
}

static void size_work_fn(struct work_struct *work)
{
	struct ullage_balloon *ub =
		container_of(to_delayed_work(work), struct ullage_balloon, size_work);
	unsigned int i, moved = 1;
	s64 missing = 0;

	for (i = 0; i < BATCHES_PER_RUN && moved; i++) {
		missing = distance(ub);
		if (!missing)
			break;
		/* A broken queue takes no answer back; pages can only come home. */
		if (missing > 0 && virtqueue_is_broken(ub->vqs[ULLAGE_Q_INFLATE]))
			break;
		if (missing > 0 && READ_ONCE(ub->hold)) {
			if (time_before(jiffies, READ_ONCE(ub->hold_until))) {
				requeue(ub, READ_ONCE(ub->hold_until) - jiffies + 1);
				break;
			}
			WRITE_ONCE(ub->hold, false);
		}
		moved = missing > 0 ? grow(ub, missing) : shrink(ub, -missing);
		if (moved)
			ub->retry_ms = RETRY_MIN_MS;
		cond_resched();
	}
	write_actual(ub);

	if (!moved && (missing < 0 || !virtqueue_is_broken(ub->vqs[ULLAGE_Q_INFLATE])))
		retry_later(ub, missing);
	else if (i == BATCHES_PER_RUN)
		requeue(ub, 0);
}

/* Called from interrupts, too. */
void ullage_balloon_resize(struct ullage_balloon *ub)
{
	requeue(ub, 0);
}

/* Take balloon_lock until @until; its holder needs no memory, but maybe the host. */
static bool lock_until(struct ullage_balloon *ub, unsigned long until)
{
	while (!mutex_trylock(&ub->balloon_lock)) {
		if (!time_before(jiffies, until))
			return false;
		schedule_timeout_uninterruptible(1);
	}
	return true;
}

/* The guest is out of memory: up to OOM_BATCHES back; returns 4 KiB pages. */
unsigned int ullage_balloon_oom(struct ullage_balloon *ub, unsigned long until)
{
	unsigned int i, n, sum = 0;

	if (!READ_ONCE(ub->num_pfns) || !lock_until(ub, until))
		return 0;
	for (i = 0; i < OOM_BATCHES; i++) {
		n = deflate_locked(ub, ULLAGE_BATCH_PFNS, time_left(until));
		if (!n)
			break;
		sum += n;
	}
	if (sum)
		write_actual_locked(ub);
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

void ullage_balloon_init(struct ullage_balloon *ub)
{
	mutex_init(&ub->balloon_lock);
	balloon_devinfo_init(&ub->pages);
	INIT_LIST_HEAD(&ub->untold);
#ifdef CONFIG_BALLOON_COMPACTION
	ub->pages.migratepage = migrate_page;
#endif
	INIT_DELAYED_WORK(&ub->size_work, size_work_fn);
	ub->retry_ms = RETRY_MIN_MS;
}

/* The queues are new: whatever the host still had it has no more. */
void ullage_balloon_start(struct ullage_balloon *ub)
{
	ub->late = false;
}

void ullage_balloon_stop(struct ullage_balloon *ub)
{
	cancel_delayed_work_sync(&ub->size_work);
}

/*
 * All pages home, also those that compaction holds at this moment: they point
 * at this driver until it lets go of them, which takes it microseconds.
 */
void ullage_balloon_empty(struct ullage_balloon *ub)
{
	while (ub->num_pfns) {
		if (virtqueue_is_broken(ub->vqs[ULLAGE_Q_DEFLATE]) ||
		    (!list_empty(&ub->untold) && !ub->late) || !ullage_time_left(ub))
			ullage_give_up(ub);
		if (!deflate(ub, ULLAGE_BATCH_PFNS))
			schedule_timeout_uninterruptible(1);
		if (READ_ONCE(ub->dead)) {
			mutex_lock(&ub->balloon_lock);
			release(ub, &ub->untold);
			mutex_unlock(&ub->balloon_lock);
		}
		cond_resched();
	}
	while (ullage_huge_deflate(ub, S64_MAX))
		cond_resched();
	write_actual(ub);
}
