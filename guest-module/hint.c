// SPDX-License-Identifier: GPL-2.0
/*
 * Free page hints (virtio 1.2, 5.5.6.6): at the start of a migration the host
 * asks for pages that need not be sent. The driver takes free blocks, names
 * them and keeps them until the host is done, or until the guest needs them: a
 * page that is written afterwards is sent like any other.
 *
 * Blocks come from the ordinary allocator, as in the stock driver, so a guest
 * with init_on_alloc writes zeroes into what it names. Where free pages are
 * reported there is nothing to gain by that: the host has nothing behind them
 * any more, and would have to find memory for the zeroes. Such a guest answers
 * with no block at all.
 */

#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/virtio_config.h>

#include "ullage.h"

/* No memory is reclaimed for a hint. */
#define BLOCK_FLAGS	(__GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC)
/* The guest keeps a sixteenth of its memory free for what it has to do. */
#define KEEP_SHARE	16
/* A host that takes no hint for so long gets no more of them. */
#define HOST_PATIENCE	(2 * HZ)

static bool ullage_hints(struct ullage_balloon *ub)
{
	return virtio_has_feature(ub->vdev, VIRTIO_BALLOON_F_FREE_PAGE_HINT);
}

/* Host's reading of a block or a command has ended; only the worker asks. */
static void collect(struct ullage_balloon *ub)
{
	struct virtqueue *vq = ub->vqs[ULLAGE_Q_HINT];
	unsigned int len;
	struct page *page;
	void *token;

	while ((token = virtqueue_get_buf(vq, &len))) {
		if (token == ub)
			continue;
		page = token;
		spin_lock(&ub->hint_lock);
		list_move_tail(&page->lru, &ub->hint_held);
		WRITE_ONCE(ub->hint_free, ub->hint_free + (1UL << page_private(page)));
		spin_unlock(&ub->hint_lock);
	}
}

/* Frees at least @want pages of those that the host has read of; returns how many. */
static unsigned long release(struct ullage_balloon *ub, unsigned long want)
{
	unsigned long freed = 0, n;
	struct page *page;

	while (freed < want) {
		spin_lock(&ub->hint_lock);
		page = list_first_entry_or_null(&ub->hint_held, struct page, lru);
		if (page) {
			n = 1UL << page_private(page);
			list_del(&page->lru);
			WRITE_ONCE(ub->hint_free, ub->hint_free - n);
			WRITE_ONCE(ub->hint_pages, ub->hint_pages - n);
		}
		spin_unlock(&ub->hint_lock);
		if (!page)
			break;
		n = page_private(page);
		set_page_private(page, 0);
		__free_pages(page, n);
		freed += 1UL << n;
	}
	return freed;
}

/* The guest is short of memory: all of it back; returns pages. */
unsigned long ullage_hint_release(struct ullage_balloon *ub)
{
	/* The worker sees it and takes no more. */
	WRITE_ONCE(ub->hint_short, true);
	return release(ub, ULONG_MAX);
}

static unsigned long count_objects(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct ullage_balloon *ub = container_of(ullage_shrinker_of(shrinker),
						 struct ullage_balloon, hint_shrinker);

	return READ_ONCE(ub->hint_free);
}

static unsigned long scan_objects(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct ullage_balloon *ub = container_of(ullage_shrinker_of(shrinker),
						 struct ullage_balloon, hint_shrinker);

	WRITE_ONCE(ub->hint_short, true);
	return release(ub, sc->nr_to_scan) ?: SHRINK_STOP;
}

/*
 * The host's last command. Only the worker asks, and reads it only when the
 * configuration has changed: QEMU shows STOP as soon as its command was taken up.
 */
static u32 command(struct ullage_balloon *ub)
{
	if (xchg(&ub->hint_changed, false))
		virtio_cread_le(ub->vdev, struct virtio_balloon_config, free_page_hint_cmd_id,
				&ub->hint_command);
	return ub->hint_command;
}

/* Whether the host makes room on the queue for @entries. */
static bool has_room(struct ullage_balloon *ub, unsigned int entries)
{
	struct virtqueue *vq = ub->vqs[ULLAGE_Q_HINT];
	unsigned long since = jiffies;

	collect(ub);
	while (vq->num_free < entries && !virtqueue_is_broken(vq) &&
	       !READ_ONCE(ub->stopping) && time_before(jiffies, since + HOST_PATIENCE)) {
		wait_event_timeout(ub->host_answer,
				   virtqueue_is_broken(vq) || READ_ONCE(ub->stopping), 1);
		collect(ub);
	}
	return vq->num_free >= entries && !virtqueue_is_broken(vq);
}

static int say(struct ullage_balloon *ub, __virtio32 *word, u32 id)
{
	struct virtqueue *vq = ub->vqs[ULLAGE_Q_HINT];
	struct scatterlist sg;
	int err;

	*word = cpu_to_virtio32(ub->vdev, id);
	sg_init_one(&sg, word, sizeof(*word));
	err = virtqueue_add_outbuf(vq, &sg, 1, ub, GFP_KERNEL);
	if (!err)
		virtqueue_kick(vq);
	return err;
}

static bool can_spare(unsigned long pages)
{
	return global_zone_page_state(NR_FREE_PAGES) > totalram_pages() / KEEP_SHARE + pages;
}

static struct page *take_block(unsigned int *order)
{
	unsigned int orders[] = { ULLAGE_MAX_ORDER, pageblock_order }, i;
	struct page *page;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		*order = orders[i];
		page = can_spare(1UL << *order) ? alloc_pages(BLOCK_FLAGS, *order) : NULL;
		if (page)
			return page;
	}
	return NULL;
}

static int name_block(struct ullage_balloon *ub)
{
	struct virtqueue *vq = ub->vqs[ULLAGE_Q_HINT];
	struct scatterlist sg;
	unsigned int order;
	struct page *page;
	int err;

	/* One entry stays for the word that ends it. */
	if (!has_room(ub, 2))
		return -EBUSY;
	page = take_block(&order);
	if (!page)
		return -ENOMEM;

	set_page_private(page, order);
	spin_lock(&ub->hint_lock);
	list_add_tail(&page->lru, &ub->hint_sent);
	WRITE_ONCE(ub->hint_pages, ub->hint_pages + (1UL << order));
	spin_unlock(&ub->hint_lock);

	sg_init_table(&sg, 1);
	sg_set_page(&sg, page, PAGE_SIZE << order, 0);
	err = virtqueue_add_inbuf(vq, &sg, 1, page, GFP_KERNEL);
	if (err) {
		spin_lock(&ub->hint_lock);
		list_del(&page->lru);
		WRITE_ONCE(ub->hint_pages, ub->hint_pages - (1UL << order));
		spin_unlock(&ub->hint_lock);
		set_page_private(page, 0);
		__free_pages(page, order);
		return err;
	}
	virtqueue_kick(vq);
	ullage_count(ub, ULLAGE_C_HINTED_BYTES, PAGE_SIZE << order);
	return 0;
}

/* Name what is free, until the host says otherwise. */
static void answer(struct ullage_balloon *ub, u32 id)
{
	struct virtqueue *vq = ub->vqs[ULLAGE_Q_HINT];
	s64 before = atomic64_read(&ub->counters[ULLAGE_C_HINTED_BYTES]);

	/* The words of the last round must have been read. */
	if (!has_room(ub, virtqueue_get_vring_size(vq))) {
		if (!READ_ONCE(ub->stopping))
			dev_err_ratelimited(&ub->vdev->dev,
					    "the device asks for free page hints and does not read its queue\n");
		return;
	}
	if (say(ub, &ub->hint_begin, id))
		return;
	WRITE_ONCE(ub->hint_short, false);
	while (!READ_ONCE(ub->reporting) && !READ_ONCE(ub->stopping) &&
	       !READ_ONCE(ub->hint_short) && command(ub) == id && !name_block(ub))
		cond_resched();
	if (has_room(ub, 1))
		say(ub, &ub->hint_end, VIRTIO_BALLOON_CMD_ID_STOP);
	ullage_count(ub, ULLAGE_C_HINT_RUNS, 1);
	dev_info_ratelimited(&ub->vdev->dev,
			     "the host asked what is free and was told of %lld MiB%s\n",
			     (atomic64_read(&ub->counters[ULLAGE_C_HINTED_BYTES]) - before) >> 20,
			     READ_ONCE(ub->reporting) ? ": all else has been reported" : "");
}

static void hint_work_fn(struct work_struct *work)
{
	struct ullage_balloon *ub = container_of(work, struct ullage_balloon, hint_work);
	u32 id = command(ub), last = ub->hint_id;

	collect(ub);
	if (id == VIRTIO_BALLOON_CMD_ID_DONE)
		release(ub, ULONG_MAX);
	/* After STOP the blocks stay: their pages are not sent while nobody writes them. */
	ub->hint_id = id;
	if (id != last && id != VIRTIO_BALLOON_CMD_ID_STOP && id != VIRTIO_BALLOON_CMD_ID_DONE)
		answer(ub, id);
	/* What such a device has not read of comes back by a reset only. */
	if (virtqueue_is_broken(ub->vqs[ULLAGE_Q_HINT])) {
		ullage_give_up(ub);
		ullage_hint_empty(ub);
	}
}

/* The host has read, or the device was reset; in interrupt context, too. */
void ullage_hint_look(struct ullage_balloon *ub)
{
	unsigned long flags;

	spin_lock_irqsave(&ub->stop_lock, flags);
	if (!ub->stopping && ullage_hints(ub))
		queue_work(system_freezable_wq, &ub->hint_work);
	spin_unlock_irqrestore(&ub->stop_lock, flags);
}

void ullage_hint_change(struct ullage_balloon *ub)
{
	WRITE_ONCE(ub->hint_changed, true);
	ullage_hint_look(ub);
}

void ullage_hint_answered(struct virtqueue *vq)
{
	ullage_hint_look(vq->vdev->priv);
}

void ullage_hint_init(struct ullage_balloon *ub)
{
	INIT_WORK(&ub->hint_work, hint_work_fn);
	spin_lock_init(&ub->hint_lock);
	INIT_LIST_HEAD(&ub->hint_sent);
	INIT_LIST_HEAD(&ub->hint_held);
}

int ullage_hint_start(struct ullage_balloon *ub)
{
	ub->hint_id = VIRTIO_BALLOON_CMD_ID_STOP;
	if (!ullage_hints(ub))
		return 0;
	return ullage_shrinker_add(&ub->hint_shrinker, "ullage-hint", count_objects, scan_objects);
}

/* After this nothing more is named. */
void ullage_hint_stop(struct ullage_balloon *ub)
{
	cancel_work_sync(&ub->hint_work);
	if (ullage_hints(ub))
		ullage_shrinker_remove(&ub->hint_shrinker);
}

/* The device was reset: what it had not read of it never will. */
void ullage_hint_empty(struct ullage_balloon *ub)
{
	struct page *page;

	spin_lock(&ub->hint_lock);
	list_for_each_entry(page, &ub->hint_sent, lru)
		ub->hint_free += 1UL << page_private(page);
	list_splice_init(&ub->hint_sent, &ub->hint_held);
	spin_unlock(&ub->hint_lock);
	release(ub, ULONG_MAX);
}
