// SPDX-License-Identifier: GPL-2.0
/* The balloon: pages that the guest holds for the host and does not touch. */

#include <linux/jiffies.h>
#include <linux/virtio_config.h>

#include "ullage.h"

/* 16 MiB a run of the worker, so that a changed target is seen soon. */
#define BATCHES_PER_RUN	16
#define RETRY_MIN_MS	200
#define RETRY_MAX_MS	5000

/* By the worker, and by whoever has stopped it. */
static void write_actual(struct ullage_balloon *ub)
{
	__u32 actual = ullage_balloon_size(ub);

	virtio_cwrite_le(ub->vdev, struct virtio_balloon_config, actual, &actual);
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
	return n ?: ullage_pages_inflate(ub, min_t(s64, missing, ULLAGE_BATCH_PFNS));
}

static unsigned int shrink(struct ullage_balloon *ub, s64 surplus)
{
	unsigned int n = ullage_huge_deflate(ub, surplus);

	if (n)
		write_actual(ub);
	return n ?: ullage_pages_deflate(ub, min_t(s64, surplus, ULLAGE_BATCH_PFNS));
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

void ullage_balloon_init(struct ullage_balloon *ub)
{
	INIT_DELAYED_WORK(&ub->size_work, size_work_fn);
	ub->retry_ms = RETRY_MIN_MS;
}

void ullage_balloon_stop(struct ullage_balloon *ub)
{
	cancel_delayed_work_sync(&ub->size_work);
}

/* Everything home; the worker has stopped. */
void ullage_balloon_empty(struct ullage_balloon *ub)
{
	ullage_pages_empty(ub);
	while (ullage_huge_deflate(ub, S64_MAX))
		cond_resched();
	write_actual(ub);
}
