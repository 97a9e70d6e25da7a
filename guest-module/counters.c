// SPDX-License-Identifier: GPL-2.0
/*
 * Counters and states, one number each: as files in
 * /sys/bus/virtio/devices/virtioN/ullage/, and all of them as lines in
 * /sys/module/ullage_balloon/summary, which takes one read to get.
 */

#include <linux/device.h>
#include <linux/module.h>
#include <linux/sysfs.h>

#include "ullage.h"

/* What is true now: X(sysfs name, value). Each is one line here and one in the README. */
#define STATES(X)						\
	X(reporting, READ_ONCE(ub->reporting))			\
	X(balloon_pages, ullage_balloon_size(ub))		\
	X(reserve_pages, READ_ONCE(ub->reserve_pages))		\
	X(hint_pages, READ_ONCE(ub->hint_pages))		\
	X(in_flight_pages, atomic_long_read(&ub->in_flight))	\
	X(report_order, READ_ONCE(ub->prdev.order))		\
	X(budget_left_us, ullage_budget_left_us(ub))		\
	X(backoff_ms, ullage_pressure_ms(ub))			\
	X(reuse_ms, ullage_reuse_ms(ub))

struct number_attr {
	struct device_attribute attr;
	s64 (*read)(struct ullage_balloon *ub);
};

static ssize_t number_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct ullage_balloon *ub = dev_to_virtio(dev)->priv;

	return sysfs_emit(buf, "%lld\n",
			  container_of(attr, struct number_attr, attr)->read(ub));
}

#define NUMBER(_name, _value)						\
	static s64 read_##_name(struct ullage_balloon *ub)		\
	{								\
		return _value;						\
	}								\
	static struct number_attr number_##_name = {			\
		.attr = __ATTR(_name, 0444, number_show, NULL),		\
		.read = read_##_name,					\
	};
STATES(NUMBER)

#define X(_name, _id)	NUMBER(_name, atomic64_read(&ub->counters[ULLAGE_C_##_id]))
ULLAGE_COUNTERS(X)
#undef X

static struct attribute *ullage_attrs[] = {
#define X(_name, _)	&number_##_name.attr.attr,
	STATES(X)
	ULLAGE_COUNTERS(X)
#undef X
	NULL
};

static const struct attribute_group ullage_group = {
	.name = "ullage",
	.attrs = ullage_attrs,
};

const struct attribute_group *ullage_groups[] = { &ullage_group, NULL };

/* "name value" a line, of the device that was bound first; nothing where none is bound. */
static ssize_t summary_show(struct module_attribute *attr, struct module_kobject *mk, char *buf)
{
	struct ullage_balloon *ub;
	struct attribute **a;
	int len = 0;

	/* Held for as long as the host takes where reporting is being switched off. */
	if (mutex_lock_killable(&ullage_devices_lock))
		return -EINTR;
	ub = list_first_entry_or_null(&ullage_devices, struct ullage_balloon, node);
	for (a = ullage_attrs; ub && *a; a++)
		len += sysfs_emit_at(buf, len, "%s %lld\n", (*a)->name,
				     container_of(*a, struct number_attr, attr.attr)->read(ub));
	mutex_unlock(&ullage_devices_lock);
	return len;
}

static struct module_attribute summary = __ATTR(summary, 0444, summary_show, NULL);

int ullage_summary_add(void)
{
	return sysfs_create_file(&THIS_MODULE->mkobj.kobj, &summary.attr);
}

void ullage_summary_remove(void)
{
	sysfs_remove_file(&THIS_MODULE->mkobj.kobj, &summary.attr);
}
