/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gcc plugin: writes beside each object what the stack analysis needs to know about it. */
#include "stackhog.h"

#include "pass_manager.h"

int plugin_is_GPL_compatible;

namespace stackhog {

static const pass_data early_data = {
	GIMPLE_PASS, "stackhog-early", OPTGROUP_NONE, TV_NONE, PROP_ssa, 0, 0, 0, 0,
};

class early_pass : public gimple_opt_pass
{
public:
	early_pass() : gimple_opt_pass(early_data, g) {}
	unsigned int execute(function *fn) final override
	{
		flows_of(fn);
		guards_of(fn);
		return 0;
	}
};

static void at_ipa(void *, void *)
{
	flows_of_initialisers();
}

static void at_end(void *, void *)
{
	/* a file that cannot be written must not look like one without functions */
	if (!seen_error() && !flag_syntax_only && !finish())
		error("stackhog: the facts file cannot be written: %m");
}

}

int plugin_init(struct plugin_name_args *args, struct plugin_gcc_version *version)
{
	const char *const me = args->base_name;
	register_pass_info early = {new stackhog::early_pass(), "ssa", 1, PASS_POS_INSERT_AFTER};
	register_pass_info late = {stackhog::make_late_pass(), "final", 1, PASS_POS_INSERT_BEFORE};
	static struct plugin_info info = {"1", "stack facts for stackhog; takes no arguments"};

	if (!plugin_default_version_check(version, &gcc_version)) {
		error("stackhog: the plugin was built for gcc %s", gcc_version.basever);
		return 1;
	}
	flag_stack_usage_info = true;	/* only counts; -fstack-usage is what prints */
	register_callback(me, PLUGIN_INFO, NULL, &info);
	register_callback(me, PLUGIN_PASS_MANAGER_SETUP, NULL, &early);
	register_callback(me, PLUGIN_PASS_MANAGER_SETUP, NULL, &late);
	register_callback(me, PLUGIN_ALL_IPA_PASSES_START, stackhog::at_ipa, NULL);
	register_callback(me, PLUGIN_FINISH_UNIT, stackhog::at_end, NULL);
	return 0;
}
