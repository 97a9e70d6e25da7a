// SPDX-License-Identifier: GPL-2.0
/*
 * What free page reporting leaves behind: free memory in pieces smaller than
 * the reported order, and page cache that nobody reads any more.
 *
 * A look, at most one a second, decides. It compacts when that many pieces lie
 * about and the guest has time for it; the blocks that come out of it start
 * reporting by themselves. It has a little of the cold page cache reclaimed,
 * and leaves it alone for long when some of that is read again.
 *
 * Small pieces never become a reported block, so nothing tells a driver that
 * there are some. Looks therefore hang on timers that an idle CPU ignores, and
 * on an ordinary one only while much was freed since the last look or what it
 * left has to wait for a busy guest: one that does nothing is not woken.
 */

#include <linux/cpu.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernel_stat.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/percpu.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/tick.h>
#include <linux/vmstat.h>

#include "compat.h"
#include "ullage.h"

#define LOOK_EVERY	HZ
/* So much freed since the last look is worth another one on an idle CPU. */
#define FREED_PAGES	(SZ_4M >> PAGE_SHIFT)
/* A guest that was short of memory is left alone for so long. */
#define PRESSURE_HOLD	(10 * HZ)
/* Compaction may take one part in so many of one CPU's time, ... */
#define COMPACT_SHARE	100
/* ... so much of it ahead, ... */
#define COMPACT_BURST	(5 * (s64)NSEC_PER_SEC)
/* ... so much at a stretch, with a look at the guest in between. */
#define COMPACT_SLICE	(250 * NSEC_PER_MSEC)
#define COMPACT_LOOK	(HZ / 4)
/* After a compaction that yielded less than a quarter of what it looked at. */
#define COMPACT_BACKOFF		(30 * HZ)
#define COMPACT_BACKOFF_MAX	(3600 * HZ)

/* Cache counts as cold when so much more of it is inactive than active ... */
#define TRIM_LEAST	(SZ_16M >> PAGE_SHIFT)
/* ... for that long. */
#define TRIM_AGE	(10 * HZ)
#define TRIM_EVERY	(2 * HZ)
#define TRIM_PART	8
#define TRIM_STEP_MAX	(SZ_64M >> PAGE_SHIFT)
/* One page in so many of the trimmed may be read again before it backs off. */
#define TRIM_REFAULTS	32
#define TRIM_BACKOFF		(60 * HZ)
#define TRIM_BACKOFF_MAX	(3600 * HZ)

/* Groups at the top of the guest's cgroup tree that are served; systemd has 3. */
#define GROUPS_MAX	32
#define CGROUP_ROOT	"/sys/fs/cgroup"

enum cache_trim {
	TRIM_OFF,
	TRIM_RECLAIM,
	TRIM_DROP,
};

/* One CPU's timer, which does not wake it. */
struct ullage_cpu_look {
	struct delayed_work work;
	struct ullage_balloon *ub;
};

static int write_file(const char *path, const char *text)
{
	struct file *file = filp_open(path, O_WRONLY, 0);
	loff_t pos = 0;
	ssize_t n;

	if (IS_ERR(file))
		return PTR_ERR(file);
	n = kernel_write(file, text, strlen(text), &pos);
	filp_close(file, NULL);
	return n < 0 ? n : 0;
}

/* Its beginning, as a string. */
static int read_file(const char *path, char *text, size_t size)
{
	struct file *file = filp_open(path, O_RDONLY, 0);
	loff_t pos = 0;
	ssize_t n;

	if (IS_ERR(file))
		return PTR_ERR(file);
	n = kernel_read(file, text, size - 1, &pos);
	filp_close(file, NULL);
	if (n < 0)
		return n;
	text[n] = '\0';
	return 0;
}

/* ---- what the guest does ---- */

/* Free pages in blocks that are too small to be reported; racy, and so clamped. */
static unsigned long small_pages(unsigned int order)
{
	unsigned long free, whole, small = 0;
	struct zone *zone;
	unsigned int o;
	int nid, i;

	for_each_online_node(nid) {
		for (i = 0; i < MAX_NR_ZONES; i++) {
			zone = &NODE_DATA(nid)->node_zones[i];
			if (!populated_zone(zone))
				continue;
			free = zone_page_state(zone, NR_FREE_PAGES);
			whole = 0;
			for (o = order; o <= ULLAGE_MAX_ORDER; o++)
				whole += READ_ONCE(zone->free_area[o].nr_free) << o;
			small += free > whole ? free - whole : 0;
		}
	}
	return small;
}

static u64 idle_us(void)
{
	u64 idle, sum = 0;
	int cpu;

	for_each_online_cpu(cpu) {
		idle = get_cpu_idle_time_us(cpu, NULL);
		/* The kernel does without idle ticks: the tick's own count is exact. */
		if (idle == (u64)-1)
			idle = div_u64(kcpustat_cpu(cpu).cpustat[CPUTIME_IDLE] +
				       kcpustat_cpu(cpu).cpustat[CPUTIME_IOWAIT], NSEC_PER_USEC);
		else
			idle += get_cpu_iowait_time_us(cpu, NULL);
		sum += idle;
	}
	return sum;
}

/* Events that a guest with memory to spare does not have. */
static unsigned long pressure_events(const unsigned long *events)
{
	unsigned long sum = events[PGSCAN_DIRECT] + events[PGSCAN_KSWAPD] + events[OOM_KILL];
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		sum += events[ALLOCSTALL_NORMAL - ZONE_NORMAL + i];
#ifdef CONFIG_SWAP
	sum += events[PSWPIN] + events[PSWPOUT];
#endif
	return sum;
}

static unsigned long cold_pages(void)
{
	unsigned long inactive = global_node_page_state(NR_INACTIVE_FILE);
	unsigned long active = global_node_page_state(NR_ACTIVE_FILE);

	return inactive > active ? inactive - active : 0;
}

/*
 * What has happened since the last look. False: the guest wants to be left
 * alone now.
 */
static bool observe(struct ullage_residue *r)
{
	unsigned long now = jiffies, pressure, cold = cold_pages();
	u64 us = ktime_to_us(ktime_get()), idle = idle_us();
	bool quiet;

	all_vm_events(r->events);
	pressure = pressure_events(r->events);
	r->freed = r->events[PGFREE] - r->last_pgfree;
	r->last_pgfree = r->events[PGFREE];

	/* Half of all CPU time is left over, not counting what was spent here. */
	quiet = idle >= r->last_idle &&
		2 * (idle - r->last_idle + r->own_us) >= (us - r->last_us) * num_online_cpus();
	r->own_us = 0;
	r->last_idle = idle;
	r->last_us = us;

	if (pressure != r->last_pressure) {
		r->last_pressure = pressure;
		r->pressed_until = now + PRESSURE_HOLD;
		r->pressed = true;
	}
	if (r->pressed && time_after_eq(now, r->pressed_until))
		r->pressed = false;

	/* The least of this window and the one before: at least TRIM_AGE old. */
	if (time_after_eq(now, r->window_end)) {
		r->cold_before = time_after_eq(now, r->window_end + TRIM_AGE) ?
				 min(r->cold_now, cold) : r->cold_now;
		r->cold_now = cold;
		r->window_end = now + TRIM_AGE;
	}
	r->cold_now = min(r->cold_now, cold);
	return quiet && !r->pressed;
}

/* ---- compaction ---- */

static bool compaction_is_due(struct ullage_residue *r, unsigned long small)
{
	unsigned long least = (u64)ullage_param(ULLAGE_P_COMPACT_MIB) * SZ_1M >> PAGE_SHIFT;

	if (!least || r->compact_paid > ktime_get_ns() + COMPACT_BURST * COMPACT_SHARE)
		return false;
	if (r->compacting)
		return true;
	if (small < least)
		return false;
	/* What it could not move last time, it need not try so soon again. */
	return !r->compact_wait || time_after_eq(jiffies, r->compact_after) ||
	       small >= r->small_left + max(least, r->small_left / 2);
}

/* All of memory was seen, or @small pages are too few to go on. */
static void compacted(struct ullage_balloon *ub, unsigned long small)
{
	struct ullage_residue *r = &ub->residue;
	unsigned long gained = r->small_before > small ? r->small_before - small : 0;

	r->compacting = false;
	r->small_left = small;
	ullage_count(ub, ULLAGE_C_COMPACTIONS, 1);
	if (gained >= r->small_before / 4) {
		r->compact_wait = 0;
		return;
	}
	ullage_count(ub, ULLAGE_C_COMPACT_BACKOFFS, 1);
	r->compact_wait = clamp(2 * r->compact_wait, (unsigned long)COMPACT_BACKOFF,
				(unsigned long)COMPACT_BACKOFF_MAX);
	r->compact_after = jiffies + r->compact_wait;
}

/* A slice of it. What it takes is paid for afterwards, by waiting. */
static void compact(struct ullage_balloon *ub, unsigned long small)
{
	struct ullage_residue *r = &ub->residue;
	unsigned long after;
	s64 t0 = ktime_get_ns(), took;
	bool all;

	if (!r->compacting) {
		r->compacting = true;
		r->small_before = small;
		memset(&r->walk, 0, sizeof(r->walk));
	}
	all = ullage_compact(ub, &r->walk, COMPACT_SLICE);
	took = ktime_get_ns() - t0;
	r->compact_paid = max_t(s64, t0, r->compact_paid) + took * COMPACT_SHARE;
	r->own_us += div_s64(took, NSEC_PER_USEC);

	after = small_pages(ub->prdev.order);
	ullage_count(ub, ULLAGE_C_COMPACT_NS, took);
	if (small > after)
		ullage_count(ub, ULLAGE_C_COMPACT_GAINED_BYTES, (u64)(small - after) << PAGE_SHIFT);
	if (all || after < r->small_before / 32)
		compacted(ub, after);
}

/* ---- page cache ---- */

struct group_list {
	struct dir_context ctx;
	unsigned int n;
	char (*names)[NAME_MAX + 1];
};

static bool note_group(struct dir_context *ctx, const char *name, int len, loff_t pos,
		       u64 ino, unsigned int type)
{
	struct group_list *list = container_of(ctx, struct group_list, ctx);

	if (type != DT_DIR || name[0] == '.' || len > NAME_MAX)
		return true;
	memcpy(list->names[list->n], name, len);
	list->names[list->n][len] = '\0';
	return ++list->n < GROUPS_MAX;
}

static unsigned long stat_of(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	unsigned long value = 0;

	if (at && sscanf(at + strlen(name), "%lu", &value) != 1)
		value = 0;
	return value;
}

/*
 * Ask @path for that much. Anonymous memory is not to be swapped by this:
 * later kernels can be told so, earlier ones are asked only without swap.
 */
static int reclaim(const char *path, unsigned long pages)
{
	char text[48];
	int err;

	snprintf(text, sizeof(text), "%lu swappiness=0", pages << PAGE_SHIFT);
	err = write_file(path, text);
	if (err == -EINVAL && !get_nr_swap_pages()) {
		*strchr(text, ' ') = '\0';
		err = write_file(path, text);
	}
	/* Less than was asked for is no error. */
	return err == -EAGAIN ? 0 : err;
}

/* Memory of the whole guest, node by node; kernels before 6.17 do not have it. */
static int trim_nodes(unsigned long pages)
{
	char path[64];
	int nid, err, done = -ENOENT;

	for_each_online_node(nid) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/reclaim", nid);
		err = reclaim(path, pages / num_online_nodes());
		if (!err || done)
			done = err;
	}
	return done;
}

/* The groups below the root, which cannot be asked: each for a part of what is cold in it. */
static int trim_groups(unsigned long pages)
{
	struct group_list list = { .ctx.actor = note_group };
	unsigned long inactive, active, part;
	struct file *dir;
	char *path, *text;
	unsigned int i;
	int err = -ENOMEM;

	list.names = kvcalloc(GROUPS_MAX, sizeof(*list.names), GFP_KERNEL);
	path = kmalloc(sizeof(CGROUP_ROOT) + NAME_MAX + 32, GFP_KERNEL);
	text = (char *)__get_free_page(GFP_KERNEL);
	if (!list.names || !path || !text)
		goto out;
	dir = filp_open(CGROUP_ROOT, O_RDONLY | O_DIRECTORY, 0);
	if (IS_ERR(dir)) {
		err = PTR_ERR(dir);
		goto out;
	}
	err = iterate_dir(dir, &list.ctx);
	filp_close(dir, NULL);
	if (err)
		goto out;

	err = -ENOENT;
	for (i = 0; i < list.n && pages; i++) {
		sprintf(path, CGROUP_ROOT "/%s/memory.stat", list.names[i]);
		if (read_file(path, text, PAGE_SIZE))
			continue;
		inactive = stat_of(text, "\ninactive_file ") >> PAGE_SHIFT;
		active = stat_of(text, "\nactive_file ") >> PAGE_SHIFT;
		part = inactive > active ? min((inactive - active) / TRIM_PART, pages) : 0;
		sprintf(path, CGROUP_ROOT "/%s/memory.reclaim", list.names[i]);
		if (part) {
			int this = reclaim(path, part);

			if (!this)
				pages -= part;
			if (!this || err)
				err = this;
		} else if (err == -ENOENT) {
			err = 0;
		}
	}
out:
	kvfree(list.names);
	kfree(path);
	free_page((unsigned long)text);
	return err;
}

static bool trim_is_due(struct ullage_residue *r, unsigned long cold)
{
	return ullage_param(ULLAGE_P_CACHE_TRIM) && cold >= TRIM_LEAST &&
	       time_after_eq(jiffies, r->trim_after);
}

/* Some of what was trimmed is read again: it was not so cold after all. */
static bool trim_was_wrong(struct ullage_balloon *ub)
{
	struct ullage_residue *r = &ub->residue;
	unsigned long refaults = global_node_page_state(WORKINGSET_REFAULT_FILE);
	bool wrong = r->trimmed && refaults - r->refaults > max(r->trimmed / TRIM_REFAULTS, 64UL);

	if (wrong) {
		ullage_count(ub, ULLAGE_C_TRIM_BACKOFFS, 1);
		r->trim_wait = clamp(2 * r->trim_wait, (unsigned long)TRIM_BACKOFF,
				     (unsigned long)TRIM_BACKOFF_MAX);
		r->trim_after = jiffies + r->trim_wait;
		r->trimmed = 0;
	}
	/* Judged anew from here on; what has passed the test once may come back. */
	if (!r->trimmed)
		r->refaults = refaults;
	return wrong;
}

static void trim(struct ullage_balloon *ub, unsigned long cold)
{
	struct ullage_residue *r = &ub->residue;
	unsigned long step = min_t(unsigned long, cold / TRIM_PART, TRIM_STEP_MAX);
	unsigned long before = global_node_page_state(NR_FILE_PAGES), after;
	int err;

	err = trim_nodes(step);
	if (err)
		err = trim_groups(step);
	if (err && ullage_param(ULLAGE_P_CACHE_TRIM) == TRIM_DROP)
		err = write_file("/proc/sys/vm/drop_caches", "1");
	r->trim_after = jiffies + TRIM_EVERY;
	if (err) {
		dev_info_once(&ub->vdev->dev,
			      "page cache is not trimmed: this guest has no group with memory.reclaim below " CGROUP_ROOT
			      ", or has swap that cannot be kept out of it (%d); cache_trim=2 allows drop_caches instead\n",
			      err);
		r->trim_after = jiffies + TRIM_BACKOFF;
		return;
	}
	after = global_node_page_state(NR_FILE_PAGES);
	if (after >= before) {
		/* Nothing of it in these groups. */
		r->trim_after = jiffies + TRIM_BACKOFF;
		return;
	}
	r->trimmed += before - after;
	ullage_count(ub, ULLAGE_C_CACHE_TRIMS, 1);
	ullage_count(ub, ULLAGE_C_CACHE_TRIMMED_BYTES, (u64)(before - after) << PAGE_SHIFT);
}

/* ---- when ---- */

static void forget(struct ullage_residue *r)
{
	r->compact_paid = 0;
	r->compact_wait = 0;
	r->compacting = false;
	r->trim_after = jiffies;
	r->trim_wait = 0;
	r->trimmed = 0;
}

static void look(struct work_struct *work)
{
	struct ullage_residue *r = container_of(to_delayed_work(work), struct ullage_residue, look);
	struct ullage_balloon *ub = container_of(r, struct ullage_balloon, residue);
	bool quiet = observe(r) && !READ_ONCE(ub->cut_short), wrong = trim_was_wrong(ub), due;
	unsigned long cold, small = small_pages(ub->prdev.order);

	if (READ_ONCE(ub->stopping))
		return;
	if (xchg(&r->afresh, false))
		forget(r);
	cold = min(r->cold_before, r->cold_now);
	due = compaction_is_due(r, small);
	if (quiet && due)
		compact(ub, small);
	else if (quiet && !wrong && trim_is_due(r, cold))
		trim(ub, cold);

	WRITE_ONCE(r->next_look, jiffies + LOOK_EVERY);
	if (quiet && r->compacting)
		queue_delayed_work(system_unbound_wq, &r->look, COMPACT_LOOK);
	else if (r->freed >= FREED_PAGES || (due && !quiet))
		queue_delayed_work(system_unbound_wq, &r->look, LOOK_EVERY);
}

/* On its CPU: long work must not hold up what else is queued there. */
static void cpu_look(struct work_struct *work)
{
	struct ullage_cpu_look *c = container_of(to_delayed_work(work), struct ullage_cpu_look, work);
	struct ullage_residue *r = &c->ub->residue;

	if (time_after_eq(jiffies, READ_ONCE(r->next_look)))
		queue_delayed_work(system_unbound_wq, &r->look, 0);
	queue_delayed_work_on(raw_smp_processor_id(), system_wq, &c->work, LOOK_EVERY);
}

void ullage_residue_start(struct ullage_balloon *ub)
{
	struct ullage_residue *r = &ub->residue;
	struct ullage_cpu_look *c;
	int cpu;

	memset(r, 0, sizeof(*r));
	r->events = kcalloc(NR_VM_EVENT_ITEMS, sizeof(*r->events), GFP_KERNEL);
	r->cpus = alloc_percpu(struct ullage_cpu_look);
	if (!r->events || !r->cpus) {
		dev_warn(&ub->vdev->dev, "no memory to look after what reporting leaves behind\n");
		kfree(r->events);
		free_percpu(r->cpus);
		r->cpus = NULL;
		return;
	}
	r->window_end = jiffies + TRIM_AGE;
	r->next_look = jiffies + LOOK_EVERY;
	forget(r);
	INIT_DELAYED_WORK(&r->look, look);
	/* The first comparison needs something to compare with. */
	observe(r);
	r->pressed = false;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(r->cpus, cpu);
		c->ub = ub;
		INIT_DEFERRABLE_WORK(&c->work, cpu_look);
	}
	cpus_read_lock();
	for_each_online_cpu(cpu)
		queue_delayed_work_on(cpu, system_wq, &per_cpu_ptr(r->cpus, cpu)->work, LOOK_EVERY);
	cpus_read_unlock();
}

int ullage_residue_afresh(struct ullage_balloon *ub)
{
	struct ullage_residue *r = &ub->residue;

	if (r->cpus) {
		WRITE_ONCE(r->afresh, true);
		mod_delayed_work(system_unbound_wq, &r->look, LOOK_EVERY);
	}
	return 0;
}

/* A compaction under way is waited for. */
void ullage_residue_stop(struct ullage_balloon *ub)
{
	struct ullage_residue *r = &ub->residue;
	int cpu;

	if (!r->cpus)
		return;
	for_each_possible_cpu(cpu)
		cancel_delayed_work_sync(&per_cpu_ptr(r->cpus, cpu)->work);
	cancel_delayed_work_sync(&r->look);
	free_percpu(r->cpus);
	kfree(r->events);
	r->cpus = NULL;
}
