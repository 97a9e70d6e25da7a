/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernel versions, and nothing else. The README lists
 * the versions that were built and those that were run.
 */
#ifndef ULLAGE_COMPAT_H
#define ULLAGE_COMPAT_H

#include <linux/version.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/shrinker.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "ullage_balloon needs Linux 6.1 or later"
#endif

/* The largest block of the page allocator; MAX_ORDER used to lie one above. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#define ULLAGE_MAX_ORDER	MAX_PAGE_ORDER
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define ULLAGE_MAX_ORDER	MAX_ORDER
#else
#define ULLAGE_MAX_ORDER	(MAX_ORDER - 1)
#endif

/*
 * The arguments of the timer_start tracepoint after the timer itself. A wrong
 * guess fails to compile: trigger.c lets the tracepoint's own header check it.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#define ULLAGE_TIMER_START_ARGS	unsigned long bucket_expiry
#else
#define ULLAGE_TIMER_START_ARGS	unsigned long expires, unsigned int flags
#endif

/*
 * Up to 6.1 each registration sets the core's smallest block from the driver's
 * order. Later kernels (some version between 6.2 and 6.12; built and run: 6.1
 * and 6.12) keep the first driver's for good and ignore the next one's, but
 * export the variable, which Kbuild looks up in the kernel's list of symbols:
 * there it is written, and what it was comes back when reporting ends, so that
 * the next driver finds what it would have found without this one.
 */
#ifdef ULLAGE_HAVE_CORE_ORDER
extern unsigned int page_reporting_order;
static inline unsigned int ullage_core_order(void)
{
	return page_reporting_order;
}

static inline void ullage_set_core_order(unsigned int order)
{
	page_reporting_order = order;
}
#else
static inline unsigned int ullage_core_order(void)
{
	return 0;
}

static inline void ullage_set_core_order(unsigned int order)
{
}
#endif

/* Move what is in use in these page blocks elsewhere and allocate all of them. */
static inline int ullage_empty_range(unsigned long start, unsigned long end)
{
	return alloc_contig_range(start, end, MIGRATE_MOVABLE, GFP_KERNEL | __GFP_NOWARN);
}

/*
 * Where take.c knows the core: it puts isolated blocks back by following the
 * list with sg_next(), and isolated blocks look like fresh ones but for their
 * reference. True of 6.1 and 6.12, which were run; others may take none.
 */
#define ULLAGE_KERNEL_IS(_major, _minor)					\
	(LINUX_VERSION_CODE >= KERNEL_VERSION(_major, _minor, 0) &&		\
	 LINUX_VERSION_CODE < KERNEL_VERSION(_major, (_minor) + 1, 0))
#define ULLAGE_CAN_TAKE		(ULLAGE_KERNEL_IS(6, 1) || ULLAGE_KERNEL_IS(6, 12))

/* A shrinker as a member of another struct: from 6.7 on the kernel allocates them. */
struct ullage_shrinker {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	struct shrinker *kernels;
#else
	struct shrinker kernels;
#endif
};

typedef unsigned long ullage_shrink_fn(struct shrinker *shrinker, struct shrink_control *sc);

static inline struct ullage_shrinker *ullage_shrinker_of(struct shrinker *shrinker)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	return shrinker->private_data;
#else
	return container_of(shrinker, struct ullage_shrinker, kernels);
#endif
}

static inline int ullage_shrinker_add(struct ullage_shrinker *us, const char *name,
				      ullage_shrink_fn *count, ullage_shrink_fn *scan)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	us->kernels = shrinker_alloc(0, "%s", name);
	if (!us->kernels)
		return -ENOMEM;
	us->kernels->count_objects = count;
	us->kernels->scan_objects = scan;
	us->kernels->private_data = us;
	shrinker_register(us->kernels);
	return 0;
#else
	us->kernels = (struct shrinker){
		.count_objects = count, .scan_objects = scan, .seeks = DEFAULT_SEEKS,
	};
	return register_shrinker(&us->kernels, "%s", name);
#endif
}

static inline void ullage_shrinker_remove(struct ullage_shrinker *us)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_free(us->kernels);
	/* A device that could not be restored is removed once more. */
	us->kernels = NULL;
#else
	unregister_shrinker(&us->kernels);
#endif
}

/* Statistics by virtio 1.3, which the header of 6.1 does not know. */
#ifndef VIRTIO_BALLOON_S_OOM_KILL
#define VIRTIO_BALLOON_S_OOM_KILL	10
#define VIRTIO_BALLOON_S_ALLOC_STALL	11
#define VIRTIO_BALLOON_S_ASYNC_SCAN	12
#define VIRTIO_BALLOON_S_DIRECT_SCAN	13
#define VIRTIO_BALLOON_S_ASYNC_RECLAIM	14
#define VIRTIO_BALLOON_S_DIRECT_RECLAIM	15
#endif
#define ULLAGE_STATS_NR			16

/* Find @n queues; a slot without a name is left out and takes no index. */
static inline int ullage_find_vqs(struct virtio_device *vdev, unsigned int n,
				  struct virtqueue *vqs[],
				  vq_callback_t *callbacks[],
				  const char * const names[])
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	struct virtqueue_info info[8] = {};
	unsigned int i;

	if (n > ARRAY_SIZE(info))
		return -EINVAL;
	for (i = 0; i < n; i++) {
		info[i].name = names[i];
		info[i].callback = callbacks[i];
	}
	return virtio_find_vqs(vdev, n, vqs, info, NULL);
#else
	return virtio_find_vqs(vdev, n, vqs, callbacks, names, NULL);
#endif
}

/*
 * A page that compaction has moved away stops being a balloon page. The
 * kernel's own helper for this has changed its name within 6.1.y.
 */
static inline void ullage_forget_page(struct page *page)
{
#ifdef CONFIG_BALLOON_COMPACTION
	__ClearPageMovable(page);
	set_page_private(page, 0);
#endif
	__ClearPageOffline(page);
}

#endif
