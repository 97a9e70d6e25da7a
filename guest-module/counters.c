// SPDX-License-Identifier: GPL-2.0
/* Counters and states: /sys/bus/virtio/devices/virtioN/ullage/. */

#include <linux/device.h>
#include <linux/sysfs.h>

#include "ullage.h"

struct counter_attr {
	struct device_attribute attr;
	enum ullage_counter counter;
};

static ssize_t counter_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct ullage_balloon *ub = dev_to_virtio(dev)->priv;
	struct counter_attr *c = container_of(attr, struct counter_attr, attr);

	return sysfs_emit(buf, "%lld\n", (s64)atomic64_read(&ub->counters[c->counter]));
}

#define COUNTER(_name, _counter)					\
	static struct counter_attr counter_##_name = {			\
		.attr = __ATTR(_name, 0444, counter_show, NULL),	\
		.counter = _counter,					\
	}

COUNTER(passes, ULLAGE_C_PASSES);
COUNTER(reports, ULLAGE_C_REPORTS);
COUNTER(reported_pages, ULLAGE_C_REPORTED_PAGES);
COUNTER(reported_bytes, ULLAGE_C_REPORTED_BYTES);
COUNTER(report_errors, ULLAGE_C_REPORT_ERRORS);
COUNTER(report_host_ns, ULLAGE_C_REPORT_HOST_NS);
COUNTER(paced_waits, ULLAGE_C_PACED_WAITS);
COUNTER(floor_skips, ULLAGE_C_FLOOR_SKIPS);
COUNTER(churn_waits, ULLAGE_C_CHURN_WAITS);
COUNTER(early_starts, ULLAGE_C_EARLY_STARTS);
COUNTER(inflated_pages, ULLAGE_C_INFLATED_PAGES);
COUNTER(deflated_pages, ULLAGE_C_DEFLATED_PAGES);
COUNTER(oom_deflated_pages, ULLAGE_C_OOM_DEFLATED_PAGES);
COUNTER(migrated_pages, ULLAGE_C_MIGRATED_PAGES);
COUNTER(inflate_failures, ULLAGE_C_INFLATE_FAILURES);
COUNTER(stats_updates, ULLAGE_C_STATS_UPDATES);
COUNTER(host_timeouts, ULLAGE_C_HOST_TIMEOUTS);

static ssize_t balloon_pages_show(struct device *dev, struct device_attribute *attr,
				  char *buf)
{
	struct ullage_balloon *ub = dev_to_virtio(dev)->priv;

	return sysfs_emit(buf, "%u\n", READ_ONCE(ub->num_pfns));
}
static DEVICE_ATTR_RO(balloon_pages);

static ssize_t reporting_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct ullage_balloon *ub = dev_to_virtio(dev)->priv;

	return sysfs_emit(buf, "%d\n", READ_ONCE(ub->reporting));
}
static DEVICE_ATTR_RO(reporting);

static struct attribute *ullage_attrs[] = {
	&dev_attr_reporting.attr,
	&dev_attr_balloon_pages.attr,
	&counter_passes.attr.attr,
	&counter_reports.attr.attr,
	&counter_reported_pages.attr.attr,
	&counter_reported_bytes.attr.attr,
	&counter_report_errors.attr.attr,
	&counter_report_host_ns.attr.attr,
	&counter_paced_waits.attr.attr,
	&counter_floor_skips.attr.attr,
	&counter_churn_waits.attr.attr,
	&counter_early_starts.attr.attr,
	&counter_inflated_pages.attr.attr,
	&counter_deflated_pages.attr.attr,
	&counter_oom_deflated_pages.attr.attr,
	&counter_migrated_pages.attr.attr,
	&counter_inflate_failures.attr.attr,
	&counter_stats_updates.attr.attr,
	&counter_host_timeouts.attr.attr,
	NULL
};

static const struct attribute_group ullage_group = {
	.name = "ullage",
	.attrs = ullage_attrs,
};

const struct attribute_group *ullage_groups[] = { &ullage_group, NULL };
