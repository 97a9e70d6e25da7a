/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ullage_balloon: a driver for the standard virtio balloon device that gives
 * freed memory back to the host soon after it is freed.
 *
 * main.c       binding, features, queues, suspend
 * balloon.c    inflate, deflate, compaction, OOM
 * stats.c      the statistics queue
 * reporting.c  free page reporting and its pace
 * trigger.c    starts the first pass of a burst early
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
#include <linux/wait.h>
#include <linux/workqueue.h>

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

/* Events since the driver was bound; counters.c gives each its sysfs file. */
enum ullage_counter {
	ULLAGE_C_PASSES,
	ULLAGE_C_REPORTS,
	ULLAGE_C_REPORTED_PAGES,
	ULLAGE_C_REPORTED_BYTES,
	ULLAGE_C_REPORT_ERRORS,
	ULLAGE_C_REPORT_HOST_NS,
	ULLAGE_C_PACED_WAITS,
	ULLAGE_C_FLOOR_SKIPS,
	ULLAGE_C_CHURN_WAITS,
	ULLAGE_C_EARLY_STARTS,
	ULLAGE_C_INFLATED_PAGES,
	ULLAGE_C_DEFLATED_PAGES,
	ULLAGE_C_OOM_DEFLATED_PAGES,
	ULLAGE_C_MIGRATED_PAGES,
	ULLAGE_C_INFLATE_FAILURES,
	ULLAGE_C_STATS_UPDATES,
	ULLAGE_C_HOST_TIMEOUTS,
	ULLAGE_C_NR
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
	struct delayed_work size_work;
	unsigned int retry_ms;
	unsigned long hold_until;
	bool hold;
	struct notifier_block oom_nb;
	bool oom_registered;

	/* Statistics; only stats_work touches the buffer once it is queued. */
	struct work_struct stats_work;
	struct virtio_balloon_stat stats[VIRTIO_BALLOON_S_NR];
	bool stats_primed;

	/* Reporting; these three under ullage_devices_lock. */
	bool reporting;
	bool triggered;
	/* The core's smallest block before this driver's. */
	unsigned int core_order;
	struct page_reporting_dev_info prdev;
	struct scatterlist report_sg[PAGE_REPORTING_CAPACITY];
	atomic64_t next_report_ns;
	atomic64_t haste_spent_ns;
	struct irq_work early_start;

	atomic64_t counters[ULLAGE_C_NR];
};

static inline void ullage_count(struct ullage_balloon *ub,
				enum ullage_counter c, s64 n)
{
	atomic64_add(n, &ub->counters[c]);
}

/* main.c */
extern struct mutex ullage_devices_lock;
extern struct list_head ullage_devices;
void ullage_give_up(struct ullage_balloon *ub);
unsigned long ullage_time_left(struct ullage_balloon *ub);
int ullage_ask_host(struct ullage_balloon *ub, struct virtqueue *vq,
		    struct scatterlist *sg, unsigned int nents, bool in);

/* balloon.c */
void ullage_balloon_init(struct ullage_balloon *ub);
int ullage_balloon_start(struct ullage_balloon *ub);
void ullage_balloon_stop(struct ullage_balloon *ub);
void ullage_balloon_empty(struct ullage_balloon *ub);
void ullage_balloon_resize(struct ullage_balloon *ub);

/* stats.c */
void ullage_stats_init(struct ullage_balloon *ub);
void ullage_stats_prime(struct ullage_balloon *ub);
void ullage_stats_start(struct ullage_balloon *ub);
void ullage_stats_stop(struct ullage_balloon *ub);
void ullage_stats_request(struct virtqueue *vq);

/* reporting.c */
int ullage_reporting_apply(struct ullage_balloon *ub);
void ullage_reporting_stop(struct ullage_balloon *ub);
void ullage_reporting_repace(struct ullage_balloon *ub);
unsigned long ullage_first_pass_delay(struct ullage_balloon *ub);

/* trigger.c */
void ullage_trigger_find(void);
void ullage_arm_pass(struct ullage_balloon *ub, unsigned long delay);
void ullage_trigger_init(struct ullage_balloon *ub);
int ullage_trigger_attach(struct ullage_balloon *ub);
void ullage_trigger_detach(struct ullage_balloon *ub);

/* params.c */
void ullage_params_init(void);
bool ullage_param_reporting(void);
bool ullage_param_early_start(void);
unsigned int ullage_param_order(void);
unsigned int ullage_param_pass_delay_ms(void);
unsigned int ullage_param_settle_ms(void);
unsigned int ullage_param_churn_s(void);
unsigned int ullage_param_rate_mib_s(void);
unsigned int ullage_param_floor_mib(void);

/* counters.c */
extern const struct attribute_group *ullage_groups[];

#endif
