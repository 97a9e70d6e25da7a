// SPDX-License-Identifier: GPL-2.0
/*
 * Statistics. The device holds one buffer; it gives it back when it wants new
 * figures, and the driver fills and returns it.
 */

#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/virtio_config.h>
#include <linux/vmstat.h>

#include "ullage.h"

static void put(struct ullage_balloon *ub, unsigned int *n, u16 tag, u64 val)
{
	struct virtio_balloon_stat *s;

	if (WARN_ON_ONCE(*n >= ARRAY_SIZE(ub->stats)))
		return;
	s = &ub->stats[(*n)++];
	s->tag = cpu_to_virtio16(ub->vdev, tag);
	s->val = cpu_to_virtio64(ub->vdev, val);
}

static u64 bytes(unsigned long pages)
{
	return (u64)pages << PAGE_SHIFT;
}

/* They are counted by zone, in the zones' order. */
static u64 stalls(const unsigned long *ev)
{
	unsigned int zone;
	u64 sum = 0;

	for (zone = 0; zone < MAX_NR_ZONES; zone++)
		sum += ev[ALLOCSTALL_NORMAL - ZONE_NORMAL + zone];
	return sum;
}

static unsigned int fill(struct ullage_balloon *ub)
{
	unsigned long ev[NR_VM_EVENT_ITEMS];
	unsigned int n = 0;
	struct sysinfo si;

	si_meminfo(&si);
	put(ub, &n, VIRTIO_BALLOON_S_MEMFREE, bytes(si.freeram));
	put(ub, &n, VIRTIO_BALLOON_S_MEMTOT, bytes(si.totalram));
	put(ub, &n, VIRTIO_BALLOON_S_AVAIL, bytes(si_mem_available()));
	put(ub, &n, VIRTIO_BALLOON_S_CACHES, bytes(global_node_page_state(NR_FILE_PAGES)));

	if (!IS_ENABLED(CONFIG_VM_EVENT_COUNTERS))
		return n;
	all_vm_events(ev);
	put(ub, &n, VIRTIO_BALLOON_S_SWAP_IN, bytes(ev[PSWPIN]));
	put(ub, &n, VIRTIO_BALLOON_S_SWAP_OUT, bytes(ev[PSWPOUT]));
	put(ub, &n, VIRTIO_BALLOON_S_MAJFLT, ev[PGMAJFAULT]);
	/* All faults, as the stock driver sends it: hosts compare guests. */
	put(ub, &n, VIRTIO_BALLOON_S_MINFLT, ev[PGFAULT]);
#ifdef CONFIG_HUGETLB_PAGE
	put(ub, &n, VIRTIO_BALLOON_S_HTLB_PGALLOC, ev[HTLB_BUDDY_PGALLOC]);
	put(ub, &n, VIRTIO_BALLOON_S_HTLB_PGFAIL, ev[HTLB_BUDDY_PGALLOC_FAIL]);
#endif
	put(ub, &n, VIRTIO_BALLOON_S_OOM_KILL, ev[OOM_KILL]);
	put(ub, &n, VIRTIO_BALLOON_S_ALLOC_STALL, stalls(ev));
	put(ub, &n, VIRTIO_BALLOON_S_ASYNC_SCAN, bytes(ev[PGSCAN_KSWAPD]));
	put(ub, &n, VIRTIO_BALLOON_S_DIRECT_SCAN, bytes(ev[PGSCAN_DIRECT]));
	put(ub, &n, VIRTIO_BALLOON_S_ASYNC_RECLAIM, bytes(ev[PGSTEAL_KSWAPD]));
	put(ub, &n, VIRTIO_BALLOON_S_DIRECT_RECLAIM, bytes(ev[PGSTEAL_DIRECT]));
	return n;
}

/* The ring is empty when this runs: its one buffer is in our hands. */
static int queue_buffer(struct ullage_balloon *ub)
{
	struct scatterlist sg;
	int err;

	sg_init_one(&sg, ub->stats, fill(ub) * sizeof(ub->stats[0]));
	err = virtqueue_add_outbuf(ub->vqs[ULLAGE_Q_STATS], &sg, 1, ub, GFP_KERNEL);
	if (err)
		dev_err_ratelimited(&ub->vdev->dev,
				    "cannot queue statistics: %d; they stay at their last values\n", err);
	return err;
}

static void send(struct ullage_balloon *ub)
{
	virtqueue_kick(ub->vqs[ULLAGE_Q_STATS]);
	ullage_count(ub, ULLAGE_C_STATS_UPDATES, 1);
}

static void stats_work_fn(struct work_struct *work)
{
	struct ullage_balloon *ub = container_of(work, struct ullage_balloon, stats_work);
	unsigned int len;

	if (virtqueue_get_buf(ub->vqs[ULLAGE_Q_STATS], &len) && !queue_buffer(ub))
		send(ub);
}

/* The queue's callback: in interrupt context. */
void ullage_stats_request(struct virtqueue *vq)
{
	struct ullage_balloon *ub = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&ub->stop_lock, flags);
	if (!ub->stopping)
		queue_work(system_freezable_wq, &ub->stats_work);
	spin_unlock_irqrestore(&ub->stop_lock, flags);
}

void ullage_stats_init(struct ullage_balloon *ub)
{
	INIT_WORK(&ub->stats_work, stats_work_fn);
}

/* Before the device is ready: it may look for its buffer as soon as it is. */
void ullage_stats_prime(struct ullage_balloon *ub)
{
	ub->stats_primed = ub->vqs[ULLAGE_Q_STATS] && !queue_buffer(ub);
}

/* And it must not be told of it earlier than that. */
void ullage_stats_start(struct ullage_balloon *ub)
{
	if (ub->stats_primed)
		send(ub);
}

void ullage_stats_stop(struct ullage_balloon *ub)
{
	cancel_work_sync(&ub->stats_work);
}
