#include <linux/module.h>

static int __init oops_init(void)
{
	*(volatile int *)NULL = 0;
	return 0;
}

module_init(oops_init);
MODULE_DESCRIPTION("Writes to address 0");
MODULE_LICENSE("GPL");
