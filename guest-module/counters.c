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

#define X(_name, _id)							\
	static struct counter_attr counter_##_name = {			\
		.attr = __ATTR(_name, 0444, counter_show, NULL),	\
		.counter = ULLAGE_C_##_id,				\
	};
ULLAGE_COUNTERS(X)
#undef X

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
#define X(_name, _id)	&counter_##_name.attr.attr,
	ULLAGE_COUNTERS(X)
#undef X
	NULL
};

static const struct attribute_group ullage_group = {
	.name = "ullage",
	.attrs = ullage_attrs,
};

const struct attribute_group *ullage_groups[] = { &ullage_group, NULL };
