#include <linux/module.h>
#include <linux/preempt.h>

static noinline void spin(void)
{
	while (1)
		cpu_relax();
}

static int __init spin_init(void)
{
	preempt_disable();
	spin();
	return 0;
}

module_init(spin_init);
MODULE_DESCRIPTION("Never ends");
MODULE_LICENSE("GPL");
