// SPDX-License-Identifier: GPL-2.0
/*
 * Compaction, one page block at a time: a block with many free pieces in it is
 * emptied into pieces elsewhere, and is then large enough to be reported.
 *
 * The kernel's own compaction of a whole system (/proc/sys/vm/compact_memory)
 * cannot be ended, and its search for places strides over holes: where every
 * second 64 KiB are free it may find none of them. alloc_contig_range() picks
 * the block instead and takes the places from the allocator's smallest blocks.
 */

#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/sched.h>

#include "compat.h"
#include "ullage.h"

/* Blocks that are this free, in eighths, one pass after the other: cheap ones first. */
static const unsigned int pass_eighths[] = { 6, 4, 2 };

/*
 * Free pages of the page block that starts with @page; 0 where emptying it is
 * no use or no hope. Read without a lock: what is wrong here fails there.
 */
static unsigned long free_in_block(struct page *page)
{
	unsigned long i, free = 0, block = pageblock_nr_pages;
	struct page *at;
	unsigned int order;

	for (i = 0; i < block; i++) {
		at = page + i;
		if (PageBuddy(at)) {
			order = READ_ONCE(at->private);
			if (order >= pageblock_order || !IS_ALIGNED(i, 1UL << order))
				return 0;
			free += 1UL << order;
			i += (1UL << order) - 1;
		} else if (page_count(at) && !PageLRU(at) && !__PageMovable(at)) {
			return 0;
		}
	}
	return free;
}

static unsigned long end_of_memory(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, pgdat_end_pfn(NODE_DATA(nid)));
	return end;
}

static bool empty_block(struct ullage_balloon *ub, unsigned long pfn)
{
	unsigned long n = pageblock_nr_pages;

	if (ullage_empty_range(pfn, pfn + n))
		return false;
	free_contig_range(pfn, n);
	return true;
}

/*
 * Go on where the last call ended, for @ns at most. True: all of memory has
 * been seen, or most blocks cannot be emptied.
 */
bool ullage_compact(struct ullage_balloon *ub, struct ullage_compaction *c, u64 ns)
{
	u64 until = ktime_get_ns() + ns;
	unsigned long end = end_of_memory(), block = pageblock_nr_pages;
	struct page *page;

	for (; c->pass < ARRAY_SIZE(pass_eighths); c->pass++, c->pfn = 0) {
		for (; c->pfn < end; c->pfn += block) {
			/* Someone else wants this CPU: that comes first. */
			if (need_resched() || ktime_get_ns() >= until ||
			    READ_ONCE(ub->stopping) || READ_ONCE(ub->cut_short))
				return false;
			page = pfn_to_online_page(c->pfn);
			if (!page || page_zone(page) != page_zone(page + block - 1) ||
			    8 * free_in_block(page) < pass_eighths[c->pass] * block)
				continue;
			if (empty_block(ub, c->pfn)) {
				c->emptied++;
				continue;
			}
			/* What holds its pages may hold more of them. */
			if (++c->failed > 8 + c->emptied)
				return true;
		}
	}
	return true;
}
