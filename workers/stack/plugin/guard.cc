/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The conditions under which a call is reached.
 *
 * The way from the function's entry to a call leads through the blocks that dominate it. What
 * lies between one of them and the next is a *clause*: the ways through, each a conjunction of
 * the tests on it, of which one must have been true. All clauses of a call hold together:
 *
 *   G place callee  !folio_is_file_lru()|current_is_kswapd()&folio_test_reclaim()
 *
 * says that whoever makes this call has an anonymous folio, or is kswapd and so on. Only
 * clauses with a test that concerns reclaim are facts: flags of the task, allocation flags,
 * the scan control and the functions named below.
 */
#include "stackhog.h"

namespace stackhog {

static const unsigned MAX_WAYS = 16;	/* through one clause; more are not a guard anybody reads */
static const unsigned MAX_TESTS = 12;	/* on one way */

typedef std::set<std::string> Way;

static bool concerns_reclaim(const std::string &test)
{
	static const char *const marks[] = {
		"task_struct.flags", "scan_control.", "gfp", "current_is_kswapd()", "may_enter_fs()",
		"current_is_kcompactd()", "writeback_control.for_reclaim", "bio_list",
	};

	for (const char *mark : marks)
		if (test.find(mark) != std::string::npos)
			return true;
	return false;
}

static std::string plain(tree fn)
{
	std::string name = symbol(fn);

	if (!name.empty() && name.back() == '~')
		name.pop_back();
	/* include/linux/bitops.h: test_bit() is one of these, by whether its bit is constant */
	if (name == "_test_bit" || name == "const_test_bit" || name == "arch_test_bit")
		return "test_bit";
	return name;
}

static std::string hex(tree value)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)TREE_INT_CST_LOW(value));
	return text;
}

static bool is_gfp(tree type)
{
	tree name = TYPE_NAME(type);

	if (name && TREE_CODE(name) == TYPE_DECL)
		name = DECL_NAME(name);
	return name && TREE_CODE(name) == IDENTIFIER_NODE && !strcmp(IDENTIFIER_POINTER(name), "gfp_t");
}

/* gcc compares bit fields as masked bytes of the record: which field is it? */
static std::string bit_field(tree ref, tree mask)
{
	tree type = TREE_TYPE(TREE_OPERAND(ref, 0));
	unsigned HOST_WIDE_INT bits = TREE_INT_CST_LOW(mask);
	HOST_WIDE_INT at = TREE_INT_CST_LOW(TREE_OPERAND(ref, 2)) + ctz_hwi(bits);

	if (TREE_CODE(type) != RECORD_TYPE)
		return "";
	for (tree field = TYPE_FIELDS(type); field; field = DECL_CHAIN(field))
		if (TREE_CODE(field) == FIELD_DECL && DECL_BIT_FIELD(field) && DECL_NAME(field) &&
		    int_bit_position(field) == at) {
			tree name = TYPE_NAME(TYPE_MAIN_VARIANT(type));

			if (name && TREE_CODE(name) == TYPE_DECL)
				name = DECL_NAME(name);
			return (name ? std::string(IDENTIFIER_POINTER(name)) : "{}") + "." +
			       IDENTIFIER_POINTER(DECL_NAME(field));
		}
	return "";
}

static std::string test_of(enum tree_code code, tree left, tree right, int depth);

static std::string negated(const std::string &test)
{
	if (test.empty())
		return "";
	return test[0] == '!' ? test.substr(1) : "!" + test;
}

/* A value as text, "" where it has no name that means anything to a reader. */
static std::string describe(tree value, int depth)
{
	gimple *def;

	STRIP_NOPS(value);
	if (depth > 8)
		return "";
	if (TREE_CODE(value) == PARM_DECL)
		return is_gfp(TREE_TYPE(value)) ? "gfp" : "";
	if (TREE_CODE(value) == VAR_DECL && !TREE_STATIC(value) && !DECL_EXTERNAL(value))
		return is_gfp(TREE_TYPE(value)) ? "gfp" : "";
	if (TREE_CODE(value) == COMPONENT_REF || TREE_CODE(value) == VAR_DECL) {
		std::string node = memory(value);

		return node.size() > 2 ? node.substr(2) : "";
	}
	if (TREE_CODE(value) != SSA_NAME)
		return "";
	def = SSA_NAME_DEF_STMT(value);
	if (SSA_NAME_IS_DEFAULT_DEF(value))
		return SSA_NAME_VAR(value) ? describe(SSA_NAME_VAR(value), depth + 1) : "";
	if (gcall *call = dyn_cast<gcall *>(def)) {
		tree fn = gimple_call_fndecl(call);

		if (fn && fndecl_built_in_p(fn) && gimple_call_num_args(call))
			return describe(gimple_call_arg(call, 0), depth + 1);
		return fn ? plain(fn) + "()" : "";
	}
	if (!is_gimple_assign(def)) {
		/* a gfp_t put together in several ways is still one */
		return is_gfp(TREE_TYPE(value)) ? "gfp" : "";
	}

	enum tree_code code = gimple_assign_rhs_code(def);
	tree one = gimple_assign_rhs1(def);

	if (code == BIT_AND_EXPR && TREE_CODE(gimple_assign_rhs2(def)) == INTEGER_CST) {
		tree mask = gimple_assign_rhs2(def);
		std::string name;

		if (TREE_CODE(one) == SSA_NAME) {
			gimple *load = SSA_NAME_DEF_STMT(one);

			if (is_gimple_assign(load) && gimple_assign_rhs_code(load) == BIT_FIELD_REF)
				return bit_field(gimple_assign_rhs1(load), mask);
		}
		name = describe(one, depth + 1);
		/* parts of a way are joined by "&" */
		return name.empty() ? "" : name + "/" + hex(mask);
	}
	if (TREE_CODE_CLASS(code) == tcc_comparison)
		return test_of(code, one, gimple_assign_rhs2(def), depth + 1);
	if (code == BIT_NOT_EXPR && TREE_CODE(TREE_TYPE(value)) == BOOLEAN_TYPE)
		return negated(describe(one, depth + 1));
	if (CONVERT_EXPR_CODE_P(code) || gimple_assign_single_p(def))
		return describe(one, depth + 1);
	return is_gfp(TREE_TYPE(value)) ? "gfp" : "";
}

/* The test "left code right", with != and >= spelled as the negation of == and <. */
static std::string test_of(enum tree_code code, tree left, tree right, int depth)
{
	std::string name = describe(left, depth);
	bool zero = integer_zerop(right);

	if (name.empty())
		return "";
	if (zero && (code == NE_EXPR || code == EQ_EXPR))
		return code == NE_EXPR ? name : negated(name);
	if (TREE_CODE(right) != INTEGER_CST)
		return "";
	switch (code) {
	case EQ_EXPR:
		return name + "==" + hex(right);
	case NE_EXPR:
		return "!" + name + "==" + hex(right);
	case LT_EXPR:
		return name + "<" + hex(right);
	case GE_EXPR:
		return "!" + name + "<" + hex(right);
	case GT_EXPR:
		return name + ">" + hex(right);
	case LE_EXPR:
		return "!" + name + ">" + hex(right);
	default:
		return "";
	}
}

/* What an edge says: a test, "" for nothing, "?" for something without a name. */
static std::string test_on(edge way)
{
	gimple_stmt_iterator end = gsi_last_nondebug_bb(way->src);
	gimple *last = gsi_end_p(end) ? NULL : gsi_stmt(end);
	gcond *cond = last ? dyn_cast<gcond *>(last) : NULL;
	std::string test;

	if (EDGE_COUNT(way->src->succs) < 2)
		return "";
	if (!cond)
		return "?";
	test = test_of(gimple_cond_code(cond), gimple_cond_lhs(cond), gimple_cond_rhs(cond), 0);
	if (test.empty())
		return "?";
	return way->flags & EDGE_TRUE_VALUE ? test : negated(test);
}

/* Adds every way from ``top`` down to ``block``; false where there are too many. */
static bool ways_between(basic_block top, basic_block block, Way here, std::vector<Way> &out,
			 unsigned steps)
{
	edge way;
	edge_iterator at;

	if (block == top) {
		out.push_back(here);
		return out.size() <= MAX_WAYS;
	}
	if (steps > MAX_TESTS)
		return false;
	FOR_EACH_EDGE(way, at, block->preds) {
		Way longer = here;
		std::string test;

		/* the way back of a loop passes the block itself first */
		if (dominated_by_p(CDI_DOMINATORS, way->src, block))
			continue;
		test = test_on(way);
		if (!test.empty())
			longer.insert(test);
		if (!ways_between(top, way->src, longer, out, steps + 1))
			return false;
	}
	return true;
}

static bool within(const Way &small, const Way &large)
{
	for (const std::string &test : small)
		if (!large.count(test))
			return false;
	return true;
}

/* Removes from ``way`` a test whose opposite is all that sets another way apart:
 * "a & b or not a" is "b or not a". */
static bool shorten(Way &way, const std::vector<Way> &ways)
{
	for (const std::string &test : way) {
		Way rest = way;

		rest.erase(test);
		for (const Way &other : ways) {
			Way without = other;

			if (without.erase(negated(test)) && within(without, rest)) {
				way = rest;
				return true;
			}
		}
	}
	return false;
}

/* Leaves the shortest ways that together say the same. */
static void simplify(std::vector<Way> &ways)
{
	bool again = true;

	while (again) {
		again = false;
		for (Way &way : ways)
			while (shorten(way, ways))
				again = true;
	}
	for (size_t i = 0; i < ways.size();) {
		bool needless = false;

		for (size_t j = 0; j < ways.size() && !needless; j++)
			needless = j != i && within(ways[j], ways[i]) &&
				   (ways[j].size() < ways[i].size() || j < i);
		if (needless)
			ways.erase(ways.begin() + i);
		else
			i++;
	}
}

/* One clause as text, "" where it says nothing about reclaim. */
static std::string clause(basic_block top, basic_block block)
{
	std::vector<Way> ways;
	std::set<std::string> texts;
	bool concerned = false;
	std::string text;

	if (!ways_between(top, block, Way(), ways, 0))
		return "";
	for (Way &way : ways)
		way.erase("?");
	simplify(ways);
	for (const Way &way : ways) {
		std::string one;

		if (way.empty())
			return "";
		for (const std::string &test : way) {
			concerned = concerned || concerns_reclaim(test);
			one += (one.empty() ? "" : "&") + test;
		}
		texts.insert(one);
	}
	if (!concerned)
		return "";
	for (const std::string &one : texts)
		text += (text.empty() ? "" : "|") + one;
	return text;
}

static Names clauses_of(basic_block block, function *fn)
{
	Names found;

	while (block && block != ENTRY_BLOCK_PTR_FOR_FN(fn)) {
		basic_block top = get_immediate_dominator(CDI_DOMINATORS, block);

		if (!top || top == ENTRY_BLOCK_PTR_FOR_FN(fn))
			break;
		std::string text = clause(top, block);
		if (!text.empty())
			found.insert(text);
		block = top;
	}
	return found;
}

static bool tests_reclaim(function *fn)
{
	basic_block block;
	edge way;
	edge_iterator at;

	FOR_EACH_BB_FN(block, fn)
		FOR_EACH_EDGE(way, at, block->succs)
			if (concerns_reclaim(test_on(way)))
				return true;
	return false;
}

void guards_of(function *fn)
{
	bool had = dom_info_available_p(fn, CDI_DOMINATORS);
	basic_block block;

	if (!tests_reclaim(fn))
		return;
	if (!had)
		calculate_dominance_info(CDI_DOMINATORS);
	FOR_EACH_BB_FN(block, fn) {
		Names clauses;
		bool known = false;

		for (auto at = gsi_start_bb(block); !gsi_end_p(at); gsi_next(&at)) {
			gcall *call = dyn_cast<gcall *>(gsi_stmt(at));
			tree callee;

			if (!call || gimple_call_internal_p(call))
				continue;
			callee = gimple_call_fndecl(call);
			if (callee && fndecl_built_in_p(callee))
				continue;
			if (!known)
				clauses = clauses_of(block, fn);
			known = true;
			for (const std::string &one : clauses)
				say_once("G\t" + symbol(fn->decl) + "\t" + place(gimple_location(call)) +
					 "\t" + (callee ? symbol(callee) : "*") + "\t" + one);
		}
	}
	if (!had)
		free_dominance_info(CDI_DOMINATORS);
}

}
