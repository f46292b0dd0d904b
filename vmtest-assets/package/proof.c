#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/slab.h>

static void *proof_memory;

static int __init proof_init(void)
{
	proof_memory = kmalloc(64, GFP_KERNEL);
	return proof_memory ? 0 : -ENOMEM;
}

static void __exit proof_exit(void)
{
	kfree(proof_memory);
}

module_init(proof_init);
module_exit(proof_exit);

MODULE_DESCRIPTION("Shows that modules can be built against this package");
MODULE_LICENSE("GPL");
