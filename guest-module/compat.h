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
