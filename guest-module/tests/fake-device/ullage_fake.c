// SPDX-License-Identifier: GPL-2.0
/*
 * A virtio balloon device inside the guest, for tests: slow, silent or hostile
 * in ways that no real host can be made to be. Any driver for the balloon binds
 * to it. Parameters say how it behaves; most can be written while it runs.
 *
 * A queue is named by its bit: 1 inflate, 2 deflate, 4 statistics, 8 hints,
 * 16 reporting.
 *
 * It owns what it was given: the first word of each inflated page and of each
 * piece in a report is overwritten until the page leaves or the report is
 * answered. Who uses such a page too early destroys that word, and is counted.
 */

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <linux/wait.h>

enum { INFLATE, DEFLATE, STATS, HINT, REPORTING, QUEUES };

#define CANARY		0x0ddba11c0ffee000ULL
#define MAX_PIECES	256
#define MAX_TAGS	64

static unsigned long features = BIT(VIRTIO_BALLOON_F_REPORTING);
module_param(features, ulong, 0444);
MODULE_PARM_DESC(features, "Bits 0 to 23 that are offered");

static unsigned int ring[QUEUES] = { 128, 128, 128, 128, 128 };
module_param_array(ring, uint, NULL, 0444);
MODULE_PARM_DESC(ring, "Descriptors of each queue");

static int find_error;
module_param(find_error, int, 0644);
MODULE_PARM_DESC(find_error, "Finding the queues fails with this errno");

static uint lacks;
module_param(lacks, uint, 0444);
MODULE_PARM_DESC(lacks, "Queues that are not there: finding them fails, as on PCI");

static uint null;
module_param(null, uint, 0444);
MODULE_PARM_DESC(null, "Queues that are found and are not there");

static bool no_config;
module_param(no_config, bool, 0444);
MODULE_PARM_DESC(no_config, "No configuration space");

static uint delay_ms[QUEUES];
module_param_array(delay_ms, uint, NULL, 0644);
MODULE_PARM_DESC(delay_ms, "Each queue's answers take this long");

static uint bad_id;
module_param(bad_id, uint, 0644);
MODULE_PARM_DESC(bad_id, "Queues whose answers name a buffer beyond the ring");

static uint stale_id;
module_param(stale_id, uint, 0644);
MODULE_PARM_DESC(stale_id, "Queues whose answers name a buffer that the device does not hold");

static uint bad_len;
module_param(bad_len, uint, 0644);
MODULE_PARM_DESC(bad_len, "Queues whose answers say that 4 GiB were written");

static uint twice;
module_param(twice, uint, 0644);
MODULE_PARM_DESC(twice, "Queues that answer each buffer twice");

static uint unasked;
module_param(unasked, uint, 0644);
MODULE_PARM_DESC(unasked, "Queues that raise their interrupt and have nothing to say");

struct queue {
	struct virtqueue *vq;
	struct kthread_worker *worker;
	struct kthread_work work;
	bool stopped;
	u16 seen;
	unsigned int which;
	unsigned long kicks;
	unsigned long answers;
	/* The buffer at hand. */
	u16 head;
	unsigned int pieces;
	u64 *addr[MAX_PIECES];
	u64 was[MAX_PIECES];
};

static struct fake {
	struct virtio_device vdev;
	struct virtio_balloon_config config;
	u8 status;
	struct queue queues[QUEUES];
	unsigned long *balloon;
	unsigned long pfns;
} *fake;

static struct device *parent;
static DECLARE_WAIT_QUEUE_HEAD(behaviour);
/* Guards fake against parameters that are written while the module goes. */
static DEFINE_MUTEX(fake_lock);
static uint silent;

/* What was seen, since the module was loaded. */
static struct {
	unsigned long inflated, deflated;	/* pages of 4 KiB */
	unsigned long strangers;		/* deflated and never inflated, or inflated twice */
	unsigned long outside;			/* pages that do not exist */
	unsigned long early;			/* pages that were used too early */
	unsigned long reported_bytes, pieces;
	unsigned long hinted_bytes, hint_ids;
	u32 last_hint_id;
	unsigned long config_writes, resets;
	atomic_long_t in_flight_bytes;
	unsigned int tags;
	struct virtio_balloon_stat stats[MAX_TAGS];
} seen;

static void raise_queue(struct virtqueue *vq)
{
	unsigned long flags;

	/* Drivers expect their callbacks in an interrupt. */
	local_irq_save(flags);
	vring_interrupt(0, vq);
	local_irq_restore(flags);
}

static void put_used(struct queue *q, u32 id, u32 len)
{
	const struct vring *vr = virtqueue_get_vring(q->vq);
	u16 idx = virtio16_to_cpu(q->vq->vdev, vr->used->idx);

	vr->used->ring[idx % vr->num].id = cpu_to_virtio32(q->vq->vdev, id);
	vr->used->ring[idx % vr->num].len = cpu_to_virtio32(q->vq->vdev, len);
	virt_wmb();
	vr->used->idx = cpu_to_virtio16(q->vq->vdev, idx + 1);
}

static bool take_head(struct queue *q)
{
	const struct vring *vr = virtqueue_get_vring(q->vq);

	if (READ_ONCE(silent) & BIT(q->which))
		return false;
	if (virtio16_to_cpu(q->vq->vdev, READ_ONCE(vr->avail->idx)) == q->seen)
		return false;
	virt_rmb();
	q->head = virtio16_to_cpu(q->vq->vdev, vr->avail->ring[q->seen % vr->num]);
	q->seen++;
	q->pieces = 0;
	return true;
}

/* One page in or out of the balloon. */
static void take_pfn(struct queue *q, u32 pfn)
{
	u64 *at;

	if (pfn >= fake->pfns || !pfn_valid(pfn)) {
		seen.outside++;
		return;
	}
	at = pfn_to_kaddr(pfn);
	if (q->which == INFLATE) {
		seen.inflated++;
		if (test_and_set_bit(pfn, fake->balloon))
			seen.strangers++;
		*at = CANARY ^ pfn;
		return;
	}
	seen.deflated++;
	if (!test_and_clear_bit(pfn, fake->balloon)) {
		seen.strangers++;
	} else if (q->pieces < MAX_PIECES) {
		/* Looked at when it is answered: until then it is the device's. */
		q->was[q->pieces] = CANARY ^ pfn;
		q->addr[q->pieces++] = at;
	}
}

static void take_piece(struct queue *q, void *at, u32 len, bool write)
{
	u32 i;

	switch (q->which) {
	case INFLATE:
	case DEFLATE:
		for (i = 0; i < len / 4; i++)
			take_pfn(q, virtio32_to_cpu(q->vq->vdev, ((__virtio32 *)at)[i]));
		break;
	case STATS:
		seen.tags = min_t(u32, len / sizeof(seen.stats[0]), MAX_TAGS);
		memcpy(seen.stats, at, seen.tags * sizeof(seen.stats[0]));
		break;
	case HINT:
		if (write) {
			seen.hinted_bytes += len;
		} else {
			seen.hint_ids++;
			seen.last_hint_id = virtio32_to_cpu(q->vq->vdev, *(__virtio32 *)at);
			/* As QEMU: a command that was taken up reads as STOP. */
			if (seen.last_hint_id == le32_to_cpu(fake->config.free_page_hint_cmd_id))
				fake->config.free_page_hint_cmd_id = 0;
		}
		break;
	case REPORTING:
		seen.reported_bytes += len;
		seen.pieces++;
		atomic_long_add(len, &seen.in_flight_bytes);
		if (q->pieces < MAX_PIECES) {
			q->was[q->pieces] = *(u64 *)at;
			q->addr[q->pieces++] = at;
			*(u64 *)at = CANARY;
		}
		break;
	}
}

static void take_buffer(struct queue *q)
{
	const struct vring *vr = virtqueue_get_vring(q->vq);
	unsigned int hops = 0, i = q->head;
	u16 flags;

	do {
		struct vring_desc *d = &vr->desc[i];

		flags = virtio16_to_cpu(q->vq->vdev, d->flags);
		take_piece(q, phys_to_virt(virtio64_to_cpu(q->vq->vdev, d->addr)),
			   virtio32_to_cpu(q->vq->vdev, d->len), flags & VRING_DESC_F_WRITE);
		i = virtio16_to_cpu(q->vq->vdev, d->next);
	} while ((flags & VRING_DESC_F_NEXT) && i < vr->num && ++hops < vr->num);
}

/* What was the device's and no longer is. */
static void let_go(struct queue *q)
{
	unsigned int i;

	for (i = 0; i < q->pieces; i++) {
		if (q->which == REPORTING) {
			if (*q->addr[i] != CANARY)
				seen.early++;
			else
				*q->addr[i] = q->was[i];
		} else if (*q->addr[i] != q->was[i]) {
			seen.early++;
		}
	}
	q->pieces = 0;
	if (q->which == REPORTING)
		atomic_long_set(&seen.in_flight_bytes, 0);
}

static void answer(struct queue *q)
{
	const struct vring *vr = virtqueue_get_vring(q->vq);
	u32 id = q->head, len = 0, bit = BIT(q->which);

	let_go(q);
	if (bad_id & bit)
		id = vr->num + 5;
	if (stale_id & bit)
		id = (id + 1) % vr->num;
	if (bad_len & bit)
		len = U32_MAX;
	put_used(q, id, len);
	if (twice & bit)
		put_used(q, id, len);
	q->answers++;
	raise_queue(q->vq);
}

static void serve(struct kthread_work *work)
{
	struct queue *q = container_of(work, struct queue, work);

	while (!READ_ONCE(q->stopped) && take_head(q)) {
		take_buffer(q);
		/* Statistics are answered when somebody asks for new ones. */
		if (q->which == STATS)
			return;
		wait_event_timeout(behaviour, READ_ONCE(q->stopped),
				   msecs_to_jiffies(delay_ms[q->which]));
		if (READ_ONCE(q->stopped)) {
			let_go(q);
			return;
		}
		answer(q);
	}
	if (!READ_ONCE(q->stopped) && (unasked & BIT(q->which)))
		raise_queue(q->vq);
}

static bool notified(struct virtqueue *vq)
{
	struct queue *q = vq->priv;

	q->kicks++;
	if (!READ_ONCE(q->stopped))
		kthread_queue_work(q->worker, &q->work);
	return true;
}

/* After this the device looks at no ring any more. */
static void stop_queues(void)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		WRITE_ONCE(fake->queues[i].stopped, true);
	wake_up_all(&behaviour);
	for (i = 0; i < QUEUES; i++)
		kthread_flush_work(&fake->queues[i].work);
	/* A reset takes back all that the device was given. */
	bitmap_zero(fake->balloon, fake->pfns);
}

/* ---- what the virtio core calls ---- */

static void fake_get(struct virtio_device *vdev, unsigned int at, void *to, unsigned int len)
{
	if (at + len <= sizeof(fake->config))
		memcpy(to, (u8 *)&fake->config + at, len);
	else
		memset(to, 0xff, len);
}

static void fake_set(struct virtio_device *vdev, unsigned int at, const void *from,
		     unsigned int len)
{
	seen.config_writes++;
	if (at + len <= sizeof(fake->config))
		memcpy((u8 *)&fake->config + at, from, len);
}

static u8 fake_get_status(struct virtio_device *vdev)
{
	return fake->status;
}

static void fake_set_status(struct virtio_device *vdev, u8 status)
{
	fake->status = status;
}

static void fake_reset(struct virtio_device *vdev)
{
	seen.resets++;
	stop_queues();
	fake->status = 0;
}

static u64 fake_features(struct virtio_device *vdev)
{
	/* The transport's own bits, from 24 on, are kept out: this device does nothing of them. */
	return (features & GENMASK(23, 0)) | BIT_ULL(VIRTIO_F_VERSION_1);
}

static int fake_finalize(struct virtio_device *vdev)
{
	vring_transport_features(vdev);
	return 0;
}

static void fake_del_vqs(struct virtio_device *vdev)
{
	struct virtqueue *vq, *next;

	stop_queues();
	list_for_each_entry_safe(vq, next, &vdev->vqs, list) {
		struct queue *q = vq->priv;

		q->vq = NULL;
		vring_del_virtqueue(vq);
	}
}

/* The device's n-th queue: it has one for each feature that it offers. */
static int which_queue(unsigned int n)
{
	bool there[QUEUES] = {
		true, true,
		features & BIT(VIRTIO_BALLOON_F_STATS_VQ),
		features & BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT),
		features & BIT(VIRTIO_BALLOON_F_REPORTING),
	};
	int i;

	for (i = 0; i < QUEUES; i++)
		if (there[i] && !n--)
			return i;
	return -ENOENT;
}

static int make_queue(struct virtio_device *vdev, unsigned int n, vq_callback_t *callback,
		      const char *name, struct virtqueue **vq)
{
	int which = which_queue(n);
	struct queue *q;

	*vq = NULL;
	if (which < 0 || (lacks & BIT(which)))
		return -ENOENT;
	if (null & BIT(which))
		return 0;
	q = &fake->queues[which];
	*vq = vring_create_virtqueue(n, ring[which], PAGE_SIZE, vdev, true, true, false,
				     notified, callback, name);
	if (!*vq)
		return -ENOMEM;
	(*vq)->priv = q;
	q->seen = 0;
	q->vq = *vq;
	WRITE_ONCE(q->stopped, false);
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static int fake_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
			 struct virtqueue_info info[], struct irq_affinity *desc)
#define NAME(_i)	(info[_i].name)
#define CALLBACK(_i)	(info[_i].callback)
#else
static int fake_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
			 vq_callback_t *callbacks[], const char * const names[],
			 const bool *ctx, struct irq_affinity *desc)
#define NAME(_i)	(names[_i])
#define CALLBACK(_i)	(callbacks[_i])
#endif
{
	unsigned int i, n = 0;
	int err = -find_error;

	for (i = 0; i < nvqs && !err; i++) {
		vqs[i] = NULL;
		if (NAME(i))
			err = make_queue(vdev, n++, CALLBACK(i), NAME(i), &vqs[i]);
	}
	if (err)
		fake_del_vqs(vdev);
	return err;
}

static const char *fake_bus_name(struct virtio_device *vdev)
{
	return "ullage_fake";
}

static const struct virtio_config_ops ops = {
	.get = fake_get,
	.set = fake_set,
	.get_status = fake_get_status,
	.set_status = fake_set_status,
	.reset = fake_reset,
	.find_vqs = fake_find_vqs,
	.del_vqs = fake_del_vqs,
	.get_features = fake_features,
	.finalize_features = fake_finalize,
	.bus_name = fake_bus_name,
};

static const struct virtio_config_ops ops_no_config = {
	.get_status = fake_get_status,
	.set_status = fake_set_status,
	.reset = fake_reset,
	.find_vqs = fake_find_vqs,
	.del_vqs = fake_del_vqs,
	.get_features = fake_features,
	.finalize_features = fake_finalize,
	.bus_name = fake_bus_name,
};

/* ---- files that act when they are written ---- */

static void changed(void)
{
	unsigned long flags;

	local_irq_save(flags);
	virtio_config_changed(&fake->vdev);
	local_irq_restore(flags);
}

/* Run @act with the number in @text; before the device exists, only keep it. */
static int with_number(const char *text, const struct kernel_param *kp, void (*act)(uint n))
{
	uint n;
	int err = kstrtouint(text, 0, &n);

	if (err)
		return err;
	mutex_lock(&fake_lock);
	*(uint *)kp->arg = n;
	if (fake)
		act(n);
	mutex_unlock(&fake_lock);
	return 0;
}

#define ACTING_PARAM(_name, _text)					\
	static int _name##_set(const char *text, const struct kernel_param *kp) \
	{								\
		return with_number(text, kp, _name##_act);		\
	}								\
	static const struct kernel_param_ops _name##_ops = {		\
		.set = _name##_set, .get = param_get_uint,		\
	};								\
	module_param_cb(_name, &_name##_ops, &_name, 0644);		\
	MODULE_PARM_DESC(_name, _text)

static uint num_pages;
static void num_pages_act(uint n)
{
	fake->config.num_pages = cpu_to_le32(n);
	changed();
}
ACTING_PARAM(num_pages, "The host's wish; a write is a change of the configuration");

static uint hint_id;
static void hint_id_act(uint n)
{
	fake->config.free_page_hint_cmd_id = cpu_to_le32(n);
	changed();
}
ACTING_PARAM(hint_id, "The host's command for free page hints");

static uint storm;
static void storm_act(uint n)
{
	uint i;

	for (i = 0; i < n; i++) {
		fake->config.num_pages = cpu_to_le32(i & 1 ? 0 : num_pages);
		changed();
		if (!(i & 15))
			usleep_range(50, 100);
	}
}
ACTING_PARAM(storm, "So many changes of the configuration at once: num_pages and 0 by turns");

/* Whatever waits is looked at again. */
static void silent_act(uint n)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		if (!READ_ONCE(fake->queues[i].stopped))
			kthread_queue_work(fake->queues[i].worker, &fake->queues[i].work);
}
ACTING_PARAM(silent, "Queues that do not answer");

static uint breaks;
static void breaks_act(uint n)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		if ((n & BIT(i)) && !READ_ONCE(fake->queues[i].stopped) && fake->queues[i].vq) {
			__virtqueue_break(fake->queues[i].vq);
			raise_queue(fake->queues[i].vq);
		}
}
ACTING_PARAM(breaks, "Queues that break now");

static uint ask_stats;
static void ask_stats_act(uint n)
{
	struct queue *q = &fake->queues[STATS];

	if (!READ_ONCE(q->stopped) && q->vq && q->seen)
		answer(q);
}
ACTING_PARAM(ask_stats, "A write asks for statistics");

static uint suspend;
static void suspend_act(uint n)
{
#ifdef CONFIG_PM_SLEEP
	int err = virtio_device_freeze(&fake->vdev) ?: virtio_device_restore(&fake->vdev);

	if (err)
		dev_err(&fake->vdev.dev, "suspend and resume failed: %d\n", err);
#endif
}
ACTING_PARAM(suspend, "A write is a suspend and a resume");

static int seen_get(char *buf, const struct kernel_param *kp)
{
	unsigned int i;
	int n = 0;

	mutex_lock(&fake_lock);
	n += sysfs_emit_at(buf, n, "inflated %lu\ndeflated %lu\nstrangers %lu\noutside %lu\nearly %lu\n",
			   seen.inflated, seen.deflated, seen.strangers, seen.outside, seen.early);
	n += sysfs_emit_at(buf, n, "reported_bytes %lu\npieces %lu\nin_flight_bytes %lu\n",
			   seen.reported_bytes, seen.pieces,
			   atomic_long_read(&seen.in_flight_bytes));
	n += sysfs_emit_at(buf, n, "hinted_bytes %lu\nhint_ids %lu\nlast_hint_id %u\n",
			   seen.hinted_bytes, seen.hint_ids, seen.last_hint_id);
	n += sysfs_emit_at(buf, n, "config_writes %lu\nresets %lu\n", seen.config_writes, seen.resets);
	if (fake) {
		n += sysfs_emit_at(buf, n, "actual %u\npoison %u\n",
				   le32_to_cpu(fake->config.actual),
				   le32_to_cpu(fake->config.poison_val));
		for (i = 0; i < QUEUES; i++)
			n += sysfs_emit_at(buf, n, "kicks_%u %lu\nanswers_%u %lu\n", i,
					   fake->queues[i].kicks, i, fake->queues[i].answers);
		for (i = 0; i < seen.tags; i++)
			n += sysfs_emit_at(buf, n, "tag_%u %llu\n",
					   virtio16_to_cpu(&fake->vdev, seen.stats[i].tag),
					   virtio64_to_cpu(&fake->vdev, seen.stats[i].val));
	}
	mutex_unlock(&fake_lock);
	return n;
}

static const struct kernel_param_ops seen_ops = { .get = seen_get };
module_param_cb(seen, &seen_ops, NULL, 0444);
MODULE_PARM_DESC(seen, "What the driver did, \"name number\" a line");

/* ---- coming and going ---- */

static void fake_release(struct device *dev)
{
}

static void end(struct fake *f)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		if (!IS_ERR_OR_NULL(f->queues[i].worker))
			kthread_destroy_worker(f->queues[i].worker);
	kvfree(f->balloon);
	kfree(f);
}

static struct fake *begin(void)
{
	struct fake *f = kzalloc(sizeof(*f), GFP_KERNEL);
	unsigned int i;

	if (!f)
		return NULL;
	f->pfns = get_num_physpages() * 2 + (1UL << 20);
	f->balloon = kvcalloc(BITS_TO_LONGS(f->pfns), sizeof(long), GFP_KERNEL);
	for (i = 0; i < QUEUES; i++) {
		f->queues[i].which = i;
		f->queues[i].stopped = true;
		kthread_init_work(&f->queues[i].work, serve);
		f->queues[i].worker = kthread_create_worker(0, "ullage_fake/%u", i);
		if (IS_ERR(f->queues[i].worker))
			break;
	}
	if (!f->balloon || i < QUEUES) {
		end(f);
		return NULL;
	}
	f->config.num_pages = cpu_to_le32(num_pages);
	f->config.free_page_hint_cmd_id = cpu_to_le32(hint_id);
	f->vdev.id.device = VIRTIO_ID_BALLOON;
	f->vdev.config = no_config ? &ops_no_config : &ops;
	f->vdev.dev.parent = parent;
	f->vdev.dev.release = fake_release;
	return f;
}

static int __init fake_init(void)
{
	struct fake *f;
	int err;

	parent = root_device_register("ullage_fake");
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	f = begin();
	if (!f) {
		root_device_unregister(parent);
		return -ENOMEM;
	}
	fake = f;
	err = register_virtio_device(&f->vdev);
	if (err) {
		put_device(&f->vdev.dev);
		fake = NULL;
		end(f);
		root_device_unregister(parent);
	}
	return err;
}

static void __exit fake_exit(void)
{
	struct fake *f = fake;

	unregister_virtio_device(&f->vdev);
	mutex_lock(&fake_lock);
	fake = NULL;
	mutex_unlock(&fake_lock);
	end(f);
	root_device_unregister(parent);
}

module_init(fake_init);
module_exit(fake_exit);

MODULE_DESCRIPTION("A virtio balloon device for tests of its drivers");
MODULE_AUTHOR("The Ullage authors");
MODULE_LICENSE("GPL");
