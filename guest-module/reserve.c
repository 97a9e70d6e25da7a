// SPDX-License-Identifier: GPL-2.0
/*
 * The reserve: blocks that are free in all but name and not on their way to
 * the host. While a slow host holds what the core has isolated, an allocation
 * that finds nothing else gets these at once. Filled from reports, so that it
 * costs the host nothing; given up to an OOM as a whole and to memory pressure
 * piece by piece. Off by default.
 */

#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sizes.h>

#include "ullage.h"

/*
 * More would make the shortage that it is meant for: a guest with 1 GiB held
 * back ran out of memory because of that.
 */
#define RESERVE_MAX		((unsigned long)SZ_256M >> PAGE_SHIFT)
#define RESERVE_SHARE		16
/* A guest that has needed it keeps it for this long. */
#define REFILL_REST		(30 * HZ)

static unsigned long goal(void)
{
	unsigned long pages = (unsigned long)ullage_param(ULLAGE_P_RESERVE_MIB) <<
			      (20 - PAGE_SHIFT);

	return min3(pages, RESERVE_MAX, totalram_pages() / RESERVE_SHARE);
}

/* Take @page of a report, if it fits; for ullage_take(). */
bool ullage_reserve_keep(struct ullage_balloon *ub, struct page *page, unsigned int order)
{
	bool kept = false;

	if (!ullage_param(ULLAGE_P_RESERVE_MIB))
		return false;
	spin_lock(&ub->take_lock);
	if (ub->reserve_pages + (1UL << order) <= goal() &&
	    time_after_eq(jiffies, ub->refill_from)) {
		ullage_block_own(page, order);
		list_add(&page->lru, &ub->reserve);
		WRITE_ONCE(ub->reserve_pages, ub->reserve_pages + (1UL << order));
		kept = true;
	}
	spin_unlock(&ub->take_lock);
	if (kept)
		ullage_count(ub, ULLAGE_C_RESERVE_FILLS, 1);
	return kept;
}

/* Free blocks until no more than @keep pages are left; returns the freed pages. */
static unsigned long shrink_to(struct ullage_balloon *ub, unsigned long keep)
{
	unsigned long freed = 0;
	struct page *page;

	for (;;) {
		spin_lock(&ub->take_lock);
		page = ub->reserve_pages > keep ?
			list_first_entry(&ub->reserve, struct page, lru) : NULL;
		if (page) {
			list_del(&page->lru);
			WRITE_ONCE(ub->reserve_pages,
				   ub->reserve_pages - (1UL << page_private(page)));
		}
		spin_unlock(&ub->take_lock);
		if (!page)
			return freed;
		freed += ullage_block_free(page);
	}
}

/* The guest needs @want pages; returns how many it got. */
unsigned long ullage_reserve_release(struct ullage_balloon *ub, unsigned long want)
{
	unsigned long have = READ_ONCE(ub->reserve_pages);
	unsigned long freed;

	if (!have)
		return 0;
	WRITE_ONCE(ub->refill_from, jiffies + REFILL_REST);
	freed = shrink_to(ub, have - min(have, want));
	if (freed)
		ullage_count(ub, ULLAGE_C_RESERVE_RELEASES, 1);
	return freed;
}

static unsigned long count_objects(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct ullage_balloon *ub =
		container_of(ullage_shrinker_of(shrinker), struct ullage_balloon, shrinker);

	return READ_ONCE(ub->reserve_pages) ?: SHRINK_EMPTY;
}

static unsigned long scan_objects(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct ullage_balloon *ub =
		container_of(ullage_shrinker_of(shrinker), struct ullage_balloon, shrinker);

	return ullage_reserve_release(ub, sc->nr_to_scan) ?: SHRINK_STOP;
}

/* The parameter has changed: free what is too much, look for what is missing. */
int ullage_reserve_apply(struct ullage_balloon *ub)
{
	shrink_to(ub, goal());
	if (!ULLAGE_CAN_TAKE && goal())
		dev_notice(&ub->vdev->dev,
			   "no reserve: this kernel's reporting was not verified for it\n");
	if (!ub->reporting || goal() <= ub->reserve_pages)
		return 0;
	WRITE_ONCE(ub->refill_from, jiffies);
	ullage_unmark(ub, goal() - ub->reserve_pages);
	ullage_reporting_repace(ub);
	return 0;
}

void ullage_reserve_init(struct ullage_balloon *ub)
{
	INIT_LIST_HEAD(&ub->reserve);
}

int ullage_reserve_start(struct ullage_balloon *ub)
{
	ub->refill_from = jiffies;
	return ullage_shrinker_add(&ub->shrinker, "ullage-reserve", count_objects, scan_objects);
}

/* After reporting has stopped: nothing fills it any more. */
void ullage_reserve_stop(struct ullage_balloon *ub)
{
	ullage_shrinker_remove(&ub->shrinker);
	shrink_to(ub, 0);
}
