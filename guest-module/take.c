// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks for the driver itself, out of those that the host has just dropped.
 *
 * An ordinary allocation may write zeroes into what it gets (init_on_alloc),
 * and so has the host find memory for pages that are meant for the host. What
 * the core has isolated for a report is nobody's, and after the host's answer
 * there is nothing behind it: the core follows the list it handed out with
 * sg_next() to put the blocks back, so a list that ends early leaves the rest
 * to the driver. Nothing is zeroed and nothing faults.
 *
 * Such a block gets the reference that an allocation would have set, and goes
 * home by __free_pages(). This leans on the core's internals: compat.h says
 * for which kernels that was verified, elsewhere nothing is taken.
 */

#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/vmstat.h>

#include "ullage.h"

/* With blocks of the smallest size that is taken. */
#define ONE_REPORT	(PAGE_REPORTING_CAPACITY * pageblock_nr_pages)
/* Most list entries that are looked at under one zone's lock. */
#define WALK_MAX	2048U

/*
 * What is taken does not move. So nothing comes from where the guest relies on
 * its pages moving away, nor from the few MiB that old devices need.
 */
static bool may_take_from(struct zone *zone)
{
	if (zone_idx(zone) == ZONE_MOVABLE)
		return false;
#ifdef CONFIG_ZONE_DMA
	if (zone_idx(zone) == ZONE_DMA)
		return false;
#endif
#ifdef CONFIG_CMA
	if (zone->cma_pages)
		return false;
#endif
	return true;
}

/*
 * Pages that the zone can spare when it has those back that are isolated. As
 * careful as the core with its reports, which needs 32 blocks above what the
 * zone wants to keep.
 */
static unsigned long room(struct zone *zone, unsigned long isolated)
{
	unsigned long free = zone_page_state(zone, NR_FREE_PAGES) + isolated;
	unsigned long keep = high_wmark_pages(zone) + zone->lowmem_reserve[ZONE_NORMAL] +
			     ONE_REPORT;

	return free > keep && may_take_from(zone) ? free - keep : 0;
}

void ullage_block_own(struct page *page, unsigned int order)
{
	init_page_count(page);
	set_page_private(page, order);
}

/* The block's upper half, now a block of its own. */
struct page *ullage_block_split(struct page *page)
{
	unsigned int order = page_private(page) - 1;
	struct page *half = page + (1UL << order);

	set_page_private(page, order);
	ullage_block_own(half, order);
	return half;
}

/*
 * Back to the guest; returns its pages. A page block as a whole would be parked
 * in a per-CPU list, where no report finds it; its halves are not, and merge.
 */
unsigned long ullage_block_free(struct page *page)
{
	unsigned int order = page_private(page);
	unsigned long pages = 1UL << order;

	if (order == pageblock_order) {
		ullage_block_free(ullage_block_split(page));
		order--;
	}
	set_page_private(page, 0);
	__free_pages(page, order);
	return pages;
}

static bool take(struct ullage_balloon *ub, struct page *page, unsigned int order)
{
	if (order < pageblock_order || order > ULLAGE_MAX_ORDER)
		return false;
	if (WARN_ON_ONCE(page_count(page) || PageBuddy(page)))
		return false;
	return ullage_huge_keep(ub, page, order) || ullage_reserve_keep(ub, page, order);
}

/*
 * In report(), after the host's answer: take what is wanted of the @nents
 * blocks in @sgl; returns how many the core still has. It expects at least one.
 */
unsigned int ullage_take(struct ullage_balloon *ub, struct scatterlist *sgl,
			 unsigned int nents)
{
	unsigned long pages = 0, spare;
	unsigned int i, left = nents;

	if (!ULLAGE_CAN_TAKE)
		return nents;
	/* They are all of one zone. */
	for (i = 0; i < nents; i++)
		pages += sgl[i].length >> PAGE_SHIFT;
	spare = room(page_zone(sg_page(sgl)), pages);

	for (i = nents - 1; i > 0; i--) {
		pages = sgl[i].length >> PAGE_SHIFT;
		if (pages > spare || !take(ub, sg_page(&sgl[i]), get_order(sgl[i].length)))
			continue;
		spare -= pages;
		left--;
		sg_set_page(&sgl[i], sg_page(&sgl[left]), sgl[left].length, 0);
	}
	if (left < nents)
		sg_mark_end(&sgl[left - 1]);
	return left;
}

/* Unmark blocks on @list until @need pages of it are unmarked; returns how many are. */
static unsigned long unmark(struct list_head *list, unsigned int order, unsigned long need)
{
	unsigned int walked = 0;
	unsigned long found = 0;
	struct page *page;

	list_for_each_entry(page, list, lru) {
		if (found >= need || ++walked > WALK_MAX)
			break;
		if (PageReported(page))
			__ClearPageReported(page);
		found += 1UL << order;
	}
	return found;
}

static unsigned long unmark_zone(struct zone *zone, unsigned int least, unsigned long need)
{
	unsigned long flags, found = 0;
	unsigned int order, mt;

	for (order = least; order <= ULLAGE_MAX_ORDER; order++) {
		for (mt = 0; mt < MIGRATE_PCPTYPES && found < need; mt++) {
			spin_lock_irqsave(&zone->lock, flags);
			found += unmark(&zone->free_area[order].free_list[mt], order, need - found);
			spin_unlock_irqrestore(&zone->lock, flags);
		}
	}
	return found;
}

/*
 * The core passes over what it has marked as reported. For @need pages, and a
 * report more a zone because the core keeps one block of each, the marks go, so
 * that the next pass brings them here; the host has dropped them already and
 * another report costs it next to nothing.
 */
void ullage_unmark(struct ullage_balloon *ub, unsigned long need)
{
	unsigned int least = max_t(unsigned int, pageblock_order, ub->prdev.order);
	unsigned long here;
	struct zone *zone;
	int nid, i;

	if (!ULLAGE_CAN_TAKE)
		return;
	for_each_online_node(nid) {
		for (i = 0; i < MAX_NR_ZONES && need; i++) {
			zone = &NODE_DATA(nid)->node_zones[i];
			here = populated_zone(zone) ? min(room(zone, 0), need) : 0;
			if (here)
				need -= min(here, unmark_zone(zone, least, here + ONE_REPORT));
		}
	}
}
