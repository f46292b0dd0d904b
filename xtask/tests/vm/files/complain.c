#include <linux/bottom_half.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/sched.h>

static char *what = "";
module_param(what, charp, 0);

static refcount_t count = REFCOUNT_INIT(0);

static int __init complain_init(void)
{
	if (!strcmp(what, "warning"))
		WARN(1, "the module complains of %d\n", 42);
	if (!strcmp(what, "refcount"))
		refcount_inc(&count);
	/* The kernel sets the count of preemption right itself. */
	if (!strcmp(what, "atomic")) {
		local_bh_disable();
		schedule_timeout_interruptible(1);
	}
	if (!strcmp(what, "words"))
		pr_info("complain: WARNING: at the middle of a line, BUG: KASAN: nothing\n");
	return 0;
}

static void __exit complain_exit(void)
{
}

module_init(complain_init);
module_exit(complain_exit);
MODULE_DESCRIPTION("Makes the kernel complain");
MODULE_LICENSE("GPL");
