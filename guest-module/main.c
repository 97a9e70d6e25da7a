// SPDX-License-Identifier: GPL-2.0
/* Binding: features, queues, the order in which parts start and stop. */

#include <linux/err.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "compat.h"
#include "ullage.h"

/*
 * Off: guests that had named pages were seen to crash after a migration of QEMU
 * 7.2 under emulation, with the stock driver as well. Read when a device is bound.
 */
static bool free_page_hints;
module_param(free_page_hints, bool, 0444);
MODULE_PARM_DESC(free_page_hints, "Name free pages to a host that migrates the guest (bool, default N)");

/* How long an answer may take before the log says that it is missing. */
#define HOST_TIMEOUT	(10 * HZ)
/* No buffer is longer: a report of as many of the largest blocks as fit into one. */
#define LONGEST_BUFFER	((u32)PAGE_REPORTING_CAPACITY << (PAGE_SHIFT + ULLAGE_MAX_ORDER))

/* Guards the list and starting and stopping of reporting on its devices. */
DEFINE_MUTEX(ullage_devices_lock);
LIST_HEAD(ullage_devices);

static void host_answered(struct virtqueue *vq)
{
	struct ullage_balloon *ub = vq->vdev->priv;

	wake_up(&ub->host_answer);
}

/*
 * A device that does not answer, or not in a way that can be understood, may
 * still act on the memory it was shown. Only a reset takes that memory back.
 */
void ullage_give_up(struct ullage_balloon *ub)
{
	mutex_lock(&ub->reset_lock);
	if (!ub->dead) {
		dev_err(&ub->vdev->dev,
			"the device is broken or does not answer: resetting it; unbind and bind it to start over\n");
		virtio_break_device(ub->vdev);
		virtio_reset_device(ub->vdev);
		WRITE_ONCE(ub->dead, true);
	}
	mutex_unlock(&ub->reset_lock);
	ullage_hint_look(ub);
	wake_up_all(&ub->host_answer);
}

/* Jiffies that are left for what @ub still has to do; 0: it must give up. */
unsigned long ullage_time_left(struct ullage_balloon *ub)
{
	unsigned long now = jiffies;

	if (!smp_load_acquire(&ub->stopping))
		return HOST_TIMEOUT;
	if (time_after_eq(now, READ_ONCE(ub->stop_by)))
		return 0;
	return min_t(unsigned long, HOST_TIMEOUT, READ_ONCE(ub->stop_by) - now);
}

/*
 * Nothing is allocated, because this runs when memory is short. The host holds
 * no buffer of @vq now: a second answer to the last one would be taken for an
 * answer to this one, and the core finds that its number is not in use.
 */
int ullage_show_host(struct ullage_balloon *ub, struct virtqueue *vq,
		     struct scatterlist *sg, unsigned int nents, bool in)
{
	unsigned int len;
	int err;

	if (virtqueue_get_buf(vq, &len) || virtqueue_is_broken(vq)) {
		ullage_give_up(ub);
		return -EIO;
	}
	if (in)
		err = virtqueue_add_inbuf(vq, sg, nents, ub, GFP_NOWAIT | __GFP_NOWARN);
	else
		err = virtqueue_add_outbuf(vq, sg, nents, ub, GFP_NOWAIT | __GFP_NOWARN);
	if (!err)
		virtqueue_kick(vq);
	return err;
}

/*
 * Wait until the host has taken note of what @vq shows it. -ETIMEDOUT after
 * @patience jiffies: the host may still act on that memory, ask again. Without
 * a limit (MAX_SCHEDULE_TIMEOUT) it never returns while the host may act on
 * it, except after a reset.
 */
int ullage_await_host(struct ullage_balloon *ub, struct virtqueue *vq,
		      unsigned long patience)
{
	bool stopping, answered = false;
	unsigned long wait, t0 = jiffies, last = t0;
	unsigned int len = 0;

	while (!answered && !virtqueue_is_broken(vq)) {
		stopping = READ_ONCE(ub->stopping);
		wait = ullage_time_left(ub);
		if (!wait) {
			ullage_give_up(ub);
			break;
		}
		wait = min(wait, patience - min(patience, jiffies - t0));
		wait_event_timeout(ub->host_answer,
				   (answered = virtqueue_get_buf(vq, &len)) ||
				   virtqueue_is_broken(vq) ||
				   READ_ONCE(ub->stopping) != stopping, wait);
		/* It counts, however late it comes. */
		if (answered || virtqueue_is_broken(vq))
			break;
		if (jiffies - t0 >= patience)
			return -ETIMEDOUT;
		if (time_before(jiffies, last + HOST_TIMEOUT))
			continue;
		last = jiffies;
		ullage_count(ub, ULLAGE_C_HOST_TIMEOUTS, 1);
		dev_warn_ratelimited(&ub->vdev->dev,
				     "no answer on queue %s for %u s: is the VM's host overloaded or its QEMU stuck?\n",
				     vq->name, HOST_TIMEOUT / HZ);
	}
	/* Nothing is read from there, so that it does no harm. */
	if (answered && len > LONGEST_BUFFER)
		dev_err_ratelimited(&ub->vdev->dev,
				    "the device says that it wrote %u bytes on queue %s, which is more than it was given: is it broken?\n",
				    len, vq->name);
	if (answered)
		return 0;
	/* The queue is broken, which does not keep the host from its work. */
	ullage_give_up(ub);
	return -EIO;
}

/*
 * Show the host @nents pieces of memory and wait until it has taken note.
 * Never returns while the host may still act on them, except after a reset.
 * Callers take turns on a queue.
 */
int ullage_ask_host(struct ullage_balloon *ub, struct virtqueue *vq,
		    struct scatterlist *sg, unsigned int nents, bool in)
{
	int err = ullage_show_host(ub, vq, sg, nents, in);

	return err ?: ullage_await_host(ub, vq, MAX_SCHEDULE_TIMEOUT);
}

/* Queue numbers are dense: each feature that is negotiated has the next one. */
static int find_queues(struct ullage_balloon *ub)
{
	struct virtio_device *vdev = ub->vdev;
	vq_callback_t *callbacks[ULLAGE_Q_NR] = {
		[ULLAGE_Q_INFLATE] = host_answered,
		[ULLAGE_Q_DEFLATE] = host_answered,
	};
	const char *names[ULLAGE_Q_NR] = {
		[ULLAGE_Q_INFLATE] = "inflate",
		[ULLAGE_Q_DEFLATE] = "deflate",
	};
	unsigned int i;
	int err;

	memset(ub->vqs, 0, sizeof(ub->vqs));
	if (virtio_has_feature(vdev, VIRTIO_BALLOON_F_STATS_VQ)) {
		names[ULLAGE_Q_STATS] = "stats";
		callbacks[ULLAGE_Q_STATS] = ullage_stats_request;
	}
	if (virtio_has_feature(vdev, VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {
		names[ULLAGE_Q_HINT] = "hint";
		callbacks[ULLAGE_Q_HINT] = ullage_hint_answered;
	} else if (vdev->config->get_features(vdev) & BIT_ULL(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {
		/* The device has that queue, and the next one's number is behind it. */
		names[ULLAGE_Q_HINT] = "hint-unused";
	}
	if (virtio_has_feature(vdev, VIRTIO_BALLOON_F_REPORTING)) {
		names[ULLAGE_Q_REPORTING] = "reporting";
		callbacks[ULLAGE_Q_REPORTING] = host_answered;
	}
	err = ullage_find_vqs(vdev, ULLAGE_Q_NR, ub->vqs, callbacks, names);
	/* A transport may find a queue and have none. */
	for (i = 0; i < ULLAGE_Q_NR && !err; i++) {
		if (names[i] && !ub->vqs[i]) {
			vdev->config->del_vqs(vdev);
			err = -ENXIO;
		}
	}
	return err;
}

/* The host must know what freed pages hold before it drops any of them. */
static void tell_poison(struct virtio_device *vdev)
{
	__u32 poison = 0;

	if (!virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON))
		return;
	if (!want_init_on_free())
		memset(&poison, PAGE_POISON, sizeof(poison));
	virtio_cwrite_le(vdev, struct virtio_balloon_config, poison_val, &poison);
}

static int bring_up(struct ullage_balloon *ub)
{
	int err;

	ub->stopping = false;
	ub->dead = false;
	err = find_queues(ub);
	if (err) {
		dev_err(&ub->vdev->dev, "cannot set up the device's queues: %d\n", err);
		return err;
	}
	tell_poison(ub->vdev);
	ullage_pages_start(ub);
	err = ullage_reserve_start(ub);
	if (err)
		goto no_reserve;
	err = ullage_hint_start(ub);
	if (err)
		goto no_hint;
	err = ullage_oom_start(ub);
	if (err)
		goto no_oom;
	ullage_stats_prime(ub);
	virtio_device_ready(ub->vdev);
	ullage_stats_start(ub);

	mutex_lock(&ullage_devices_lock);
	list_add_tail(&ub->node, &ullage_devices);
	/* A balloon without reporting is still a balloon; the log says why. */
	ullage_reporting_apply(ub);
	mutex_unlock(&ullage_devices_lock);

	ullage_balloon_resize(ub);
	ullage_hint_change(ub);
	return 0;

no_oom:
	ullage_hint_stop(ub);
no_hint:
	ullage_reserve_stop(ub);
no_reserve:
	ub->vdev->config->del_vqs(ub->vdev);
	return err;
}

/*
 * Reporting ends first: its core runs on a work queue that suspend does not
 * freeze. Pages go home while the queues still live, so that the host learns
 * of each of them, or the deadline ends it with a reset.
 */
static void bring_down(struct ullage_balloon *ub)
{
	spin_lock_irq(&ub->stop_lock);
	WRITE_ONCE(ub->stop_by, jiffies + msecs_to_jiffies(ullage_param(ULLAGE_P_STOP_WAIT_MS)));
	smp_store_release(&ub->stopping, true);
	spin_unlock_irq(&ub->stop_lock);
	/* Who waits for the host now has a deadline. */
	wake_up_all(&ub->host_answer);

	mutex_lock(&ullage_devices_lock);
	list_del_init(&ub->node);
	ullage_reporting_stop(ub);
	mutex_unlock(&ullage_devices_lock);

	ullage_stats_stop(ub);
	ullage_oom_stop(ub);
	ullage_hint_stop(ub);
	ullage_reserve_stop(ub);
	ullage_balloon_stop(ub);
	ullage_balloon_empty(ub);

	virtio_reset_device(ub->vdev);
	ullage_hint_empty(ub);
	ub->vdev->config->del_vqs(ub->vdev);
}

static int ullage_validate(struct virtio_device *vdev)
{
	/*
	 * A page that comes back from the host is full of zeroes. Where the
	 * guest fills free pages with something and the host cannot be told,
	 * reporting would break what the guest relies on.
	 */
	if (!want_init_on_free() && !page_poisoning_enabled_static())
		__virtio_clear_bit(vdev, VIRTIO_BALLOON_F_PAGE_POISON);
	else if (!virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON))
		__virtio_clear_bit(vdev, VIRTIO_BALLOON_F_REPORTING);

	if (!free_page_hints)
		__virtio_clear_bit(vdev, VIRTIO_BALLOON_F_FREE_PAGE_HINT);

	/* Indirect descriptors are allocated per request; see ullage_ask_host(). */
	__virtio_clear_bit(vdev, VIRTIO_RING_F_INDIRECT_DESC);
	/* The balloon speaks in guest-physical page numbers, not in bus addresses. */
	__virtio_clear_bit(vdev, VIRTIO_F_ACCESS_PLATFORM);
	return 0;
}

static int ullage_probe(struct virtio_device *vdev)
{
	struct ullage_balloon *ub;
	int err;

	if (!vdev->config->get) {
		dev_err(&vdev->dev, "the device has no configuration space\n");
		return -EINVAL;
	}
	ub = kzalloc(sizeof(*ub), GFP_KERNEL);
	if (!ub)
		return -ENOMEM;

	ub->vdev = vdev;
	vdev->priv = ub;
	INIT_LIST_HEAD(&ub->node);
	init_waitqueue_head(&ub->host_answer);
	spin_lock_init(&ub->stop_lock);
	mutex_init(&ub->reset_lock);
	ullage_pages_init(ub);
	ullage_balloon_init(ub);
	spin_lock_init(&ub->take_lock);
	ullage_huge_init(ub);
	ullage_reserve_init(ub);
	ullage_hint_init(ub);
	ullage_oom_init(ub);
	ullage_stats_init(ub);
	ullage_pace_init(ub);
	ullage_trigger_init(ub);

	err = bring_up(ub);
	if (err) {
		vdev->priv = NULL;
		kfree(ub);
	}
	return err;
}

static void ullage_remove(struct virtio_device *vdev)
{
	struct ullage_balloon *ub = vdev->priv;

	bring_down(ub);
	vdev->priv = NULL;
	kfree(ub);
}

static void ullage_config_changed(struct virtio_device *vdev)
{
	ullage_balloon_resize(vdev->priv);
	ullage_hint_change(vdev->priv);
}

#ifdef CONFIG_PM_SLEEP
static int ullage_freeze(struct virtio_device *vdev)
{
	bring_down(vdev->priv);
	return 0;
}

static int ullage_restore(struct virtio_device *vdev)
{
	return bring_up(vdev->priv);
}
#endif

static const struct virtio_device_id ullage_ids[] = {
	{ VIRTIO_ID_BALLOON, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, ullage_ids);

static const unsigned int ullage_features[] = {
	VIRTIO_BALLOON_F_MUST_TELL_HOST,
	VIRTIO_BALLOON_F_STATS_VQ,
	VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
	VIRTIO_BALLOON_F_FREE_PAGE_HINT,
	VIRTIO_BALLOON_F_PAGE_POISON,
	VIRTIO_BALLOON_F_REPORTING,
};

static struct virtio_driver ullage_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.driver.dev_groups = ullage_groups,
	.id_table = ullage_ids,
	.feature_table = ullage_features,
	.feature_table_size = ARRAY_SIZE(ullage_features),
	.validate = ullage_validate,
	.probe = ullage_probe,
	.remove = ullage_remove,
	.config_changed = ullage_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = ullage_freeze,
	.restore = ullage_restore,
#endif
};

static int __init ullage_init(void)
{
	int err;

	ullage_params_init();
	ullage_trigger_find();
	err = ullage_summary_add();
	if (err)
		return err;
	err = register_virtio_driver(&ullage_driver);
	if (err)
		ullage_summary_remove();
	return err;
}

static void __exit ullage_exit(void)
{
	ullage_summary_remove();
	unregister_virtio_driver(&ullage_driver);
}

module_init(ullage_init);
module_exit(ullage_exit);

MODULE_DESCRIPTION("virtio balloon that returns freed memory to the host at once");
MODULE_AUTHOR("The Ullage authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
