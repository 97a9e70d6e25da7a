/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ullage_balloon: a driver for the standard virtio balloon device that gives
 * freed memory back to the host soon after it is freed.
 *
 * main.c       binding, features, queues, suspend
 * balloon.c    meets the host's wish for a balloon
 * pages.c      single pages: inflate, deflate, compaction
 * huge.c       the fast balloon: 2 MiB and more at a time
 * take.c       blocks for the driver out of a report
 * reserve.c    free memory that no report holds
 * oom.c        what is done before anyone is killed
 * hint.c       free page hints for a migration
 * stats.c      the statistics queue
 * reporting.c  free page reporting: the core's contract
 * pace.c       when the next pass may start
 * budget.c     what reporting may cost the guest
 * reuse.c      less haste for a guest that takes back what it frees
 * pressure.c   backing off while the guest wants memory itself
 * trace.h      tracepoints
 * trigger.c    starts the first pass of a burst early
 * residue.c    what reporting leaves: small pieces, cold page cache
 * compact.c    empties page blocks
 * params.c     module parameters
 * counters.c   sysfs
 */
#ifndef ULLAGE_H
#define ULLAGE_H

#include <linux/atomic.h>
#include <linux/balloon_compaction.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/page_reporting.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"

/* The balloon interface counts in 4 KiB pages, whatever the kernel's are. */
#define ULLAGE_PFNS_PER_PAGE	(1U << (PAGE_SHIFT - VIRTIO_BALLOON_PFN_SHIFT))
/* One buffer for the host: 1 MiB of 4 KiB pages. */
#define ULLAGE_BATCH_PFNS	256U

/* In the order of virtio 1.2, 5.5.2; absent queues take no index. */
enum ullage_queue {
	ULLAGE_Q_INFLATE,
	ULLAGE_Q_DEFLATE,
	ULLAGE_Q_STATS,
	ULLAGE_Q_HINT,
	ULLAGE_Q_REPORTING,
	ULLAGE_Q_NR
};

/*
 * Events since the driver was bound: X(sysfs name, enum suffix). Each is one
 * line here, its meaning one in the README.
 */
#define ULLAGE_COUNTERS(X) \
	X(passes, PASSES) \
	X(reports, REPORTS) \
	X(reported_pages, REPORTED_PAGES) \
	X(reported_bytes, REPORTED_BYTES) \
	X(reported_order_1, REPORTED_ORDER_1) \
	X(reported_order_2, REPORTED_ORDER_2) \
	X(reported_order_3, REPORTED_ORDER_3) \
	X(reported_order_4, REPORTED_ORDER_4) \
	X(reported_order_5, REPORTED_ORDER_5) \
	X(reported_order_6, REPORTED_ORDER_6) \
	X(reported_order_7, REPORTED_ORDER_7) \
	X(reported_order_8, REPORTED_ORDER_8) \
	X(reported_order_9, REPORTED_ORDER_9) \
	X(reported_order_10, REPORTED_ORDER_10) \
	X(merged_blocks, MERGED_BLOCKS) \
	X(report_errors, REPORT_ERRORS) \
	X(report_host_ns, REPORT_HOST_NS) \
	X(paced_waits, PACED_WAITS) \
	X(floor_skips, FLOOR_SKIPS) \
	X(budget_waits, BUDGET_WAITS) \
	X(reuses, REUSES) \
	X(backoffs, BACKOFFS) \
	X(small_waits, SMALL_WAITS) \
	X(early_starts, EARLY_STARTS) \
	X(compactions, COMPACTIONS) \
	X(compact_ns, COMPACT_NS) \
	X(compact_gained_bytes, COMPACT_GAINED_BYTES) \
	X(compact_backoffs, COMPACT_BACKOFFS) \
	X(cache_trims, CACHE_TRIMS) \
	X(cache_trimmed_bytes, CACHE_TRIMMED_BYTES) \
	X(trim_backoffs, TRIM_BACKOFFS) \
	X(empty_starts, EMPTY_STARTS) \
	X(retaken_bytes, RETAKEN_BYTES) \
	X(pass_cpu_ns, PASS_CPU_NS) \
	X(inflated_pages, INFLATED_PAGES) \
	X(deflated_pages, DEFLATED_PAGES) \
	X(fast_inflated_pages, FAST_INFLATED_PAGES) \
	X(fast_deflated_pages, FAST_DEFLATED_PAGES) \
	X(oom_deflated_pages, OOM_DEFLATED_PAGES) \
	X(oom_waits, OOM_WAITS) \
	X(oom_saves, OOM_SAVES) \
	X(reserve_fills, RESERVE_FILLS) \
	X(reserve_releases, RESERVE_RELEASES) \
	X(migrated_pages, MIGRATED_PAGES) \
	X(inflate_failures, INFLATE_FAILURES) \
	X(stats_updates, STATS_UPDATES) \
	X(hint_runs, HINT_RUNS) \
	X(hinted_bytes, HINTED_BYTES) \
	X(host_timeouts, HOST_TIMEOUTS)

enum ullage_counter {
#define X(_name, _id) ULLAGE_C_##_id,
	ULLAGE_COUNTERS(X)
#undef X
	ULLAGE_C_NR
};

/* Module parameters; params.c says their bounds and units. */
enum ullage_param {
	ULLAGE_P_REPORTING,
	ULLAGE_P_EARLY_START,
	ULLAGE_P_ORDER,
	ULLAGE_P_PASS_DELAY_MS,
	ULLAGE_P_SETTLE_MS,
	ULLAGE_P_CPU_PERMILLE,
	ULLAGE_P_FAULT_US,
	ULLAGE_P_BACKOFF,
	ULLAGE_P_REUSE_BACKOFF,
	ULLAGE_P_BATCH_MIB,
	ULLAGE_P_HOST_PAGE_KIB,
	ULLAGE_P_RATE_MIB_S,
	ULLAGE_P_FLOOR_MIB,
	ULLAGE_P_OOM_WAIT_MS,
	ULLAGE_P_RESERVE_MIB,
	ULLAGE_P_FAST_BALLOON,
	ULLAGE_P_COMPACT_MIB,
	ULLAGE_P_CACHE_TRIM,
	ULLAGE_P_STOP_WAIT_MS,
	ULLAGE_P_NR
};

/* A walk over all memory that empties page blocks. */
struct ullage_compaction {
	unsigned long pfn;
	unsigned int pass;
	unsigned int emptied, failed;
};

/* What residue.c has seen and done; only its look touches it while that runs. */
struct ullage_residue {
	struct delayed_work look;
	struct ullage_cpu_look __percpu *cpus;
	unsigned long next_look;
	/* A parameter was written: forget what was held against the guest. */
	bool afresh;

	/* As of the last look; idle time and clock in us, all CPUs together. */
	unsigned long *events;
	unsigned long last_pgfree, freed;
	unsigned long last_pressure, pressed_until;
	bool pressed;
	u64 last_idle, last_us, own_us;

	/* Compaction: paid until (ns), and after one that yielded little none before. */
	s64 compact_paid;
	unsigned long compact_after, compact_wait;
	unsigned long small_before, small_left;
	struct ullage_compaction walk;
	bool compacting;

	/* Trimming: least cold pages in this window and the one before. */
	unsigned long window_end, cold_now, cold_before;
	unsigned long trim_after, trim_wait;
	unsigned long trimmed, refaults;
};

/* What put the next pass where it is. */
enum ullage_why {
	ULLAGE_WHY_SETTLE,
	ULLAGE_WHY_PASS,
	ULLAGE_WHY_PRESSURE,
	ULLAGE_WHY_RATE,
	ULLAGE_WHY_BUDGET,
	ULLAGE_WHY_REUSE,
	ULLAGE_WHY_SMALL,
	ULLAGE_WHY_OOM
};

/* Bytes of the last seconds, the younger half first; under budget_lock. */
struct ullage_reuse {
	u64 given[2];
	u64 taken[2];
	unsigned long since;
	unsigned int step;
	unsigned long calm_since;
	/* Passes touch these, and the trigger while none is pending. */
	u64 allocated;
	unsigned long looked;
	unsigned long waits_since;
};

/* What a guest under pressure is known by. */
struct ullage_look {
	unsigned long at;
	u64 free;
	unsigned long stalls;
	unsigned long refaults;
};

struct ullage_balloon {
	struct virtio_device *vdev;
	struct virtqueue *vqs[ULLAGE_Q_NR];

	/* Linked while the queues are live; under ullage_devices_lock. */
	struct list_head node;

	/* Woken by every queue's callback. */
	wait_queue_head_t host_answer;
	/* Set under stop_lock: no new work, and no endless wait for the host. */
	bool stopping;
	unsigned long stop_by;
	spinlock_t stop_lock;
	/* The device was reset because it never answered; under reset_lock. */
	bool dead;
	struct mutex reset_lock;

	/* The balloon: pages, inflate and deflate queues, pfns. */
	struct mutex balloon_lock;
	struct balloon_dev_info pages;
	/* Counted in num_pfns, but on their way out: the host must hear first. */
	struct list_head untold;
	unsigned int num_pfns;
	__virtio32 pfns[ULLAGE_BATCH_PFNS];
	/* The host still has pfns, on the deflate queue. */
	bool late;
	struct delayed_work size_work;
	unsigned int retry_ms;

	/* What was taken from reports: linked by lru, the order in private. */
	spinlock_t take_lock;
	struct list_head huge;
	unsigned long huge_pages;
	unsigned long huge_want;
	unsigned long huge_rest_until;
	/* Held while the balloon waits for a pass; taken after ullage_devices_lock. */
	struct mutex pass_lock;
	struct list_head reserve;
	unsigned long reserve_pages;
	unsigned long refill_from;
	struct ullage_shrinker shrinker;

	/*
	 * Hints. The worker alone touches the queue; blocks that the host has
	 * still to read of and those that it has, linked by lru, the order in
	 * private. Pages in both lists and pages in the second.
	 */
	struct work_struct hint_work;
	spinlock_t hint_lock;
	struct list_head hint_sent;
	struct list_head hint_held;
	unsigned long hint_pages;
	unsigned long hint_free;
	bool hint_short;
	u32 hint_id;
	bool hint_changed;
	u32 hint_command;
	__virtio32 hint_begin;
	__virtio32 hint_end;
	struct ullage_shrinker hint_shrinker;

	/* Out of memory: the host's wishes wait. */
	struct notifier_block oom_nb;
	struct delayed_work oom_over;
	unsigned long no_wait_until;
	unsigned long hold_until;
	bool hold;

	/* Statistics; only stats_work touches the buffer once it is queued. */
	struct work_struct stats_work;
	struct virtio_balloon_stat stats[ULLAGE_STATS_NR];
	bool stats_primed;

	/* Reporting; these three under ullage_devices_lock. */
	bool reporting;
	bool triggered;
	/* The core's smallest block before this driver's. */
	unsigned int core_order;
	struct page_reporting_dev_info prdev;
	struct scatterlist report_sg[PAGE_REPORTING_CAPACITY];
	s64 report_end_ns;
	/* Shown to the host, which has not answered yet. */
	atomic_long_t in_flight;
	/* Set while the guest is out of memory: a pass ends at once. */
	bool cut_short;
	bool oom_under_way;
	/* No pass may report or arm another: it is being switched off. */
	bool ending;
	struct irq_work early_start;

	struct ullage_residue residue;
	/* The pace: of the rate, and what decided last. */
	atomic64_t next_report_ns;
	enum ullage_why why;
	/* A pass was brought forward and has not come to a report yet. */
	bool started;
	/* Few blocks wait for more; only passes touch these, and they take turns. */
	bool small;
	unsigned long small_until;
	unsigned long reported_at;
	struct delayed_work small_work;
	/* Looks whether a guest that takes memory back has come to rest. */
	struct delayed_work calm_work;
	/* The budget: bytes that the host has and the guest did not take again. */
	spinlock_t budget_lock;
	u64 given;
	atomic64_t spent_until_ns;
	unsigned long burst_until;
	struct ullage_reuse reuse;
	/* Pressure; only passes look. */
	struct ullage_look look;
	unsigned int backoff_level;

	atomic64_t counters[ULLAGE_C_NR];
};

static inline void ullage_count(struct ullage_balloon *ub,
				enum ullage_counter c, s64 n)
{
	atomic64_add(n, &ub->counters[c]);
}

/* With DEFLATE_ON_OOM the guest may count the balloon as its own memory. */
static inline bool ullage_guest_keeps_account(struct ullage_balloon *ub)
{
	return virtio_has_feature(ub->vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
}

/* The balloon's size, in 4 KiB pages. */
static inline unsigned int ullage_balloon_size(struct ullage_balloon *ub)
{
	return READ_ONCE(ub->num_pfns) + READ_ONCE(ub->huge_pages) * ULLAGE_PFNS_PER_PAGE;
}

/* main.c */
extern struct mutex ullage_devices_lock;
extern struct list_head ullage_devices;
void ullage_give_up(struct ullage_balloon *ub);
unsigned long ullage_time_left(struct ullage_balloon *ub);
int ullage_show_host(struct ullage_balloon *ub, struct virtqueue *vq,
		     struct scatterlist *sg, unsigned int nents, bool in);
int ullage_await_host(struct ullage_balloon *ub, struct virtqueue *vq,
		      unsigned long patience);
int ullage_ask_host(struct ullage_balloon *ub, struct virtqueue *vq,
		    struct scatterlist *sg, unsigned int nents, bool in);

/* balloon.c */
void ullage_balloon_init(struct ullage_balloon *ub);
void ullage_balloon_stop(struct ullage_balloon *ub);
void ullage_balloon_empty(struct ullage_balloon *ub);
void ullage_balloon_resize(struct ullage_balloon *ub);

/* pages.c */
void ullage_pages_init(struct ullage_balloon *ub);
void ullage_pages_start(struct ullage_balloon *ub);
void ullage_pages_empty(struct ullage_balloon *ub);
unsigned int ullage_pages_inflate(struct ullage_balloon *ub, unsigned int want);
unsigned int ullage_pages_deflate(struct ullage_balloon *ub, unsigned int want);
unsigned int ullage_pages_oom(struct ullage_balloon *ub, unsigned long until);

/* huge.c */
void ullage_huge_init(struct ullage_balloon *ub);
void ullage_huge_want(struct ullage_balloon *ub, unsigned long pages);
bool ullage_huge_keep(struct ullage_balloon *ub, struct page *page, unsigned int order);
unsigned int ullage_huge_inflate(struct ullage_balloon *ub, s64 missing);
unsigned int ullage_huge_deflate(struct ullage_balloon *ub, s64 want);

/* take.c */
unsigned int ullage_take(struct ullage_balloon *ub, struct scatterlist *sgl,
			 unsigned int nents);
void ullage_unmark(struct ullage_balloon *ub, unsigned long need);
void ullage_block_own(struct page *page, unsigned int order);
struct page *ullage_block_split(struct page *page);
unsigned long ullage_block_free(struct page *page);

/* reserve.c */
void ullage_reserve_init(struct ullage_balloon *ub);
int ullage_reserve_start(struct ullage_balloon *ub);
void ullage_reserve_stop(struct ullage_balloon *ub);
int ullage_reserve_apply(struct ullage_balloon *ub);
bool ullage_reserve_keep(struct ullage_balloon *ub, struct page *page, unsigned int order);
unsigned long ullage_reserve_release(struct ullage_balloon *ub, unsigned long want);

/* oom.c */
void ullage_oom_init(struct ullage_balloon *ub);
int ullage_oom_start(struct ullage_balloon *ub);
void ullage_oom_stop(struct ullage_balloon *ub);

/* stats.c */
void ullage_stats_init(struct ullage_balloon *ub);
void ullage_stats_prime(struct ullage_balloon *ub);
void ullage_stats_start(struct ullage_balloon *ub);
void ullage_stats_stop(struct ullage_balloon *ub);
void ullage_stats_request(struct virtqueue *vq);

/* hint.c */
void ullage_hint_init(struct ullage_balloon *ub);
int ullage_hint_start(struct ullage_balloon *ub);
void ullage_hint_look(struct ullage_balloon *ub);
void ullage_hint_change(struct ullage_balloon *ub);
void ullage_hint_answered(struct virtqueue *vq);
unsigned long ullage_hint_release(struct ullage_balloon *ub);
void ullage_hint_stop(struct ullage_balloon *ub);
void ullage_hint_empty(struct ullage_balloon *ub);

/* reporting.c */
int ullage_reporting_apply(struct ullage_balloon *ub);
void ullage_reporting_stop(struct ullage_balloon *ub);
void ullage_reporting_repace(struct ullage_balloon *ub);

/* pace.c */
unsigned long ullage_first_pass_delay(struct ullage_balloon *ub);
void ullage_pace_start(struct ullage_balloon *ub);
int ullage_pace_admit(struct ullage_balloon *ub, u64 bytes, bool first);
void ullage_pace_reported(struct ullage_balloon *ub, u64 bytes, u64 cpu_ns);
void ullage_pace_cut(struct ullage_balloon *ub);
void ullage_pace_init(struct ullage_balloon *ub);
void ullage_pace_reset(struct ullage_balloon *ub);
void ullage_pace_restart(struct ullage_balloon *ub);

/* budget.c */
u64 ullage_budget_look(struct ullage_balloon *ub, u64 given, u64 held, u64 cpu_ns);
void ullage_budget_forgive(struct ullage_balloon *ub, u64 held);
unsigned long ullage_budget_wait(struct ullage_balloon *ub);
void ullage_budget_burst(struct ullage_balloon *ub);
s64 ullage_budget_left_us(struct ullage_balloon *ub);
void ullage_budget_reset(struct ullage_balloon *ub);

/* reuse.c */
void ullage_reuse_note(struct ullage_balloon *ub, u64 given, u64 taken);
unsigned int ullage_reuse_ms(struct ullage_balloon *ub);
void ullage_reuse_begin(struct ullage_balloon *ub);
unsigned long ullage_reuse_wait(struct ullage_balloon *ub, u64 fresh);
void ullage_reuse_reset(struct ullage_balloon *ub);

/* pressure.c */
void ullage_pressure_look(struct ullage_balloon *ub, u64 held);
unsigned int ullage_pressure_ms(struct ullage_balloon *ub);
void ullage_pressure_reset(struct ullage_balloon *ub);

/* trigger.c */
void ullage_trigger_find(void);
void ullage_arm_pass(struct ullage_balloon *ub, unsigned long delay);
void ullage_trigger_init(struct ullage_balloon *ub);
int ullage_trigger_attach(struct ullage_balloon *ub);
void ullage_trigger_detach(struct ullage_balloon *ub);

/* residue.c */
void ullage_residue_start(struct ullage_balloon *ub);
void ullage_residue_stop(struct ullage_balloon *ub);
int ullage_residue_afresh(struct ullage_balloon *ub);

/* compact.c */
bool ullage_compact(struct ullage_balloon *ub, struct ullage_compaction *c, u64 ns);

/* params.c */
void ullage_params_init(void);
unsigned int ullage_param(enum ullage_param p);

/* counters.c */
extern const struct attribute_group *ullage_groups[];
int ullage_summary_add(void);
void ullage_summary_remove(void);

#endif
