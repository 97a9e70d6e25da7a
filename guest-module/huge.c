// SPDX-License-Identifier: GPL-2.0
/*
 * The fast balloon: blocks of 2 MiB and more, taken from reports, instead of
 * arrays of 4 KiB pages. One descriptor of the reporting queue stands for a
 * thousand entries of an array, nothing is zeroed, and no memory of the host
 * is touched in order to be given back. The other way the host hears nothing:
 * what was reported may be used again at any time (virtio 1.2, 5.5.6.7).
 *
 * The blocks count in `actual` and are no more the guest's memory than other
 * balloon pages are. They do not move, unlike those.
 */

#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sizes.h>

#include "ullage.h"

/* One pass brings about this much; more marks need not go for it. */
#define STEP_PAGES		((unsigned long)SZ_512M >> PAGE_SHIFT)
/* Free at most this much before the host's wish is read again. */
#define DEFLATE_PAGES		((unsigned long)SZ_256M >> PAGE_SHIFT)
/* After a pass without a block; meanwhile the balloon grows page by page. */
#define REST			HZ

/* Pages of the guest, under take_lock. */
static void account(struct ullage_balloon *ub, struct page *page, long pages)
{
	WRITE_ONCE(ub->huge_pages, ub->huge_pages + pages);
	if (!ullage_guest_keeps_account(ub))
		adjust_managed_page_count(page, -pages);
}

/* Take @page of a report, or what is wanted of it; for ullage_take(). */
bool ullage_huge_keep(struct ullage_balloon *ub, struct page *page, unsigned int order)
{
	unsigned long want = READ_ONCE(ub->huge_want);
	bool kept = false;

	if (want < pageblock_nr_pages)
		return false;
	ullage_block_own(page, order);
	/* Pieces below the page block would break up more than they are worth. */
	for (; 1UL << order > want; order--)
		ullage_block_free(ullage_block_split(page));

	spin_lock(&ub->take_lock);
	if (1UL << order <= ub->huge_want) {
		WRITE_ONCE(ub->huge_want, ub->huge_want - (1UL << order));
		list_add(&page->lru, &ub->huge);
		account(ub, page, 1L << order);
		kept = true;
	}
	spin_unlock(&ub->take_lock);
	if (kept) {
		ullage_count(ub, ULLAGE_C_INFLATED_PAGES, (u64)ULLAGE_PFNS_PER_PAGE << order);
		ullage_count(ub, ULLAGE_C_FAST_INFLATED_PAGES,
			     (u64)ULLAGE_PFNS_PER_PAGE << order);
	} else {
		/* The wish has gone meanwhile; the block is the driver's all the same. */
		ullage_block_free(page);
	}
	return true;
}

static bool usable(struct ullage_balloon *ub)
{
	return ULLAGE_CAN_TAKE && ullage_param(ULLAGE_P_FAST_BALLOON) &&
	       ullage_param(ULLAGE_P_REPORTING) && READ_ONCE(ub->reporting) &&
	       !virtio_has_feature(ub->vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST) &&
	       /* QEMU drops nothing then, but does what arrays of pages ask for. */
	       !page_poisoning_enabled_static();
}

void ullage_huge_want(struct ullage_balloon *ub, unsigned long pages)
{
	spin_lock(&ub->take_lock);
	WRITE_ONCE(ub->huge_want, pages);
	spin_unlock(&ub->take_lock);
}

/* Ask for a pass that brings @want pages; true: it is on its way and pass_lock is held. */
static bool start_pass(struct ullage_balloon *ub, unsigned long want)
{
	bool started;

	mutex_lock(&ullage_devices_lock);
	started = ub->reporting;
	if (started) {
		mutex_lock(&ub->pass_lock);
		ullage_huge_want(ub, want);
		ullage_unmark(ub, min(want, STEP_PAGES));
		ullage_arm_pass(ub, 0);
	}
	mutex_unlock(&ullage_devices_lock);
	return started;
}

/*
 * One pass of reports for a balloon that lacks @missing 4 KiB pages; returns
 * how many it got. The caller is the balloon's worker. pass_lock keeps the
 * core's work from being set up anew under the wait for it; the devices' lock
 * would keep everyone from the parameters for as long as the host takes.
 */
unsigned int ullage_huge_inflate(struct ullage_balloon *ub, s64 missing)
{
	unsigned long want = round_down((unsigned long)missing / ULLAGE_PFNS_PER_PAGE,
					pageblock_nr_pages);
	unsigned long before = READ_ONCE(ub->huge_pages), after = before;

	if (!want || !usable(ub) || time_before(jiffies, ub->huge_rest_until))
		return 0;
	if (start_pass(ub, want)) {
		flush_delayed_work(&ub->prdev.work);
		mutex_unlock(&ub->pass_lock);
		ullage_huge_want(ub, 0);
		after = READ_ONCE(ub->huge_pages);
	}
	/* An OOM may have taken more of it than the pass brought. */
	if (after > before)
		return (after - before) * ULLAGE_PFNS_PER_PAGE;
	ub->huge_rest_until = jiffies + REST;
	return 0;
}

/*
 * Give blocks back for @want 4 KiB pages of the balloon; returns how many went.
 * A wish for less than a page block is left to single pages, if there are any.
 */
unsigned int ullage_huge_deflate(struct ullage_balloon *ub, s64 want)
{
	unsigned long left = min_t(u64, DIV_ROUND_UP_ULL(want, ULLAGE_PFNS_PER_PAGE),
				   DEFLATE_PAGES);
	unsigned long freed = 0;
	struct page *page, *half;

	if (left < pageblock_nr_pages && READ_ONCE(ub->num_pfns))
		return 0;
	while (left > freed) {
		spin_lock(&ub->take_lock);
		page = list_first_entry_or_null(&ub->huge, struct page, lru);
		while (page && page_private(page) > pageblock_order &&
		       1UL << page_private(page) > left - freed) {
			half = ullage_block_split(page);
			list_add(&half->lru, &ub->huge);
		}
		if (page) {
			list_del(&page->lru);
			account(ub, page, -(1L << page_private(page)));
		}
		spin_unlock(&ub->take_lock);
		if (!page)
			break;
		freed += ullage_block_free(page);
		cond_resched();
	}
	freed *= ULLAGE_PFNS_PER_PAGE;
	ullage_count(ub, ULLAGE_C_DEFLATED_PAGES, freed);
	ullage_count(ub, ULLAGE_C_FAST_DEFLATED_PAGES, freed);
	return freed;
}

void ullage_huge_init(struct ullage_balloon *ub)
{
	mutex_init(&ub->pass_lock);
	INIT_LIST_HEAD(&ub->huge);
	ub->huge_rest_until = jiffies;
}
