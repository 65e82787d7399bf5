/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where function pointers come from and where they go, before anything is inlined.
 *
 * Values live in nodes, named by a letter and a name:
 *   f:FUNCTION   the address of a function
 *   R:REC.FIELD  a field of every object of a record type (field-based: objects are one)
 *   V:VARIABLE   a variable that is not a record, or all elements of an array
 *   P:FN#N       parameter N of a function, from 0
 *   S:PLACE#N    argument N of the indirect call at a place
 *   r:FUNCTION   what a function returns
 *   M:           memory that is not followed: nothing reads it but T:
 *   T:TYPE       any function of a type whose address is taken: all that is known
 */
#include "stackhog.h"

namespace stackhog {

static const int MAX_DEPTH = 40;	/* of definitions followed from one value */

bool is_function_pointer(tree type)
{
	return POINTER_TYPE_P(type) && (TREE_CODE(TREE_TYPE(type)) == FUNCTION_TYPE);
}

/* void * and integers of its size also carry functions through the kernel. */
static bool may_carry(tree type)
{
	if (is_function_pointer(type))
		return true;
	if (POINTER_TYPE_P(type))
		return VOID_TYPE_P(TREE_TYPE(type)) ||
		       is_function_pointer(TREE_TYPE(type));
	return TREE_CODE(type) == INTEGER_TYPE &&
	       TYPE_PRECISION(type) == TYPE_PRECISION(ptr_type_node);
}

static std::string record(tree type)
{
	tree main = TYPE_MAIN_VARIANT(type);
	tree name = TYPE_NAME(main);
	tree field;

	if (name && TREE_CODE(name) == TYPE_DECL)
		name = DECL_NAME(name);
	if (name)
		return IDENTIFIER_POINTER(name);
	/* without a name: the place of its first field is the same in every object */
	for (field = TYPE_FIELDS(main); field; field = DECL_CHAIN(field)) {
		expanded_location at = expand_location(DECL_SOURCE_LOCATION(field));
		const char *base;

		if (!at.file)
			continue;
		base = strrchr(at.file, '/');
		return std::string("<") + (base ? base + 1 : at.file) + ":" +
		       std::to_string(at.line) + ">";
	}
	return "<>";
}

static std::string field_node(tree field)
{
	tree context = DECL_CONTEXT(field);

	/* members of a union are the same place */
	if (TREE_CODE(context) == UNION_TYPE)
		return "R:" + record(context) + ".*";
	if (!DECL_NAME(field))
		return "";
	return "R:" + record(context) + "." + IDENTIFIER_POINTER(DECL_NAME(field));
}

static std::string variable(tree decl)
{
	if (TREE_CODE(decl) == VAR_DECL && !TREE_STATIC(decl) && !DECL_EXTERNAL(decl)) {
		char number[32];

		snprintf(number, sizeof(number), ".%u", DECL_UID(decl));
		return "V:" + symbol(current_function_decl) + number + "~";
	}
	return "V:" + symbol(decl);
}

std::string memory(tree ref)
{
	for (int depth = 0; depth < MAX_DEPTH && ref; depth++) {
		switch (TREE_CODE(ref)) {
		case COMPONENT_REF:
			return field_node(TREE_OPERAND(ref, 1));
		case ARRAY_REF:
		case VIEW_CONVERT_EXPR:
		case REALPART_EXPR:
		case IMAGPART_EXPR:
		case BIT_FIELD_REF:
		case WITH_SIZE_EXPR:
			ref = TREE_OPERAND(ref, 0);
			break;
		case VAR_DECL:
		case RESULT_DECL:
			return variable(ref);
		case PARM_DECL:
			return variable(ref);
		case MEM_REF: {
			tree base = TREE_OPERAND(ref, 0);
			gimple *def;

			if (!integer_zerop(TREE_OPERAND(ref, 1)))
				return "";
			/* *(T *)&x.field, as READ_ONCE() and rcu_dereference() have it */
			while (TREE_CODE(base) == SSA_NAME) {
				def = SSA_NAME_DEF_STMT(base);
				if (!def || !is_gimple_assign(def) || ++depth > MAX_DEPTH)
					return "";
				if (!gimple_assign_single_p(def) &&
				    !CONVERT_EXPR_CODE_P(gimple_assign_rhs_code(def)))
					return "";
				base = gimple_assign_rhs1(def);
				if (TREE_CODE(base) != SSA_NAME && TREE_CODE(base) != ADDR_EXPR)
					return "";
			}
			if (TREE_CODE(base) != ADDR_EXPR)
				return "";
			ref = TREE_OPERAND(base, 0);
			break;
		}
		default:
			return "";
		}
	}
	return "";
}

static int parameter_number(tree parm)
{
	int number = 0;

	for (tree one = DECL_ARGUMENTS(current_function_decl); one; one = DECL_CHAIN(one), number++)
		if (one == parm)
			return number;
	return -1;
}

static std::string parameter(tree parm)
{
	return "P:" + symbol(current_function_decl) + "#" + std::to_string(parameter_number(parm));
}

static bool collect(tree value, Names &out, std::set<tree> &seen, int depth);

static bool collect_load(tree ref, Names &out)
{
	std::string node = memory(ref);

	if (!node.empty())
		out.insert(node);
	else if (is_function_pointer(TREE_TYPE(ref)))
		out.insert("T:" + type_key(TREE_TYPE(TREE_TYPE(ref))));
	return true;
}

static void collect_asm(gasm *stmt, Names &out, std::set<tree> &seen, int depth)
{
	for (unsigned i = 0; i < gimple_asm_ninputs(stmt); i++)
		collect(TREE_VALUE(gimple_asm_input_op(stmt, i)), out, seen, depth + 1);
	/* "+m": the place that is read is an output */
	for (unsigned i = 0; i < gimple_asm_noutputs(stmt); i++) {
		tree place = TREE_VALUE(gimple_asm_output_op(stmt, i));

		if (TREE_CODE(place) != SSA_NAME && !memory(place).empty())
			out.insert(memory(place));
	}
}

static void collect_call(gcall *call, Names &out, std::set<tree> &seen, int depth)
{
	tree fn = gimple_call_fndecl(call);

	if (fn && fndecl_built_in_p(fn)) {
		for (unsigned i = 0; i < gimple_call_num_args(call); i++)
			collect(gimple_call_arg(call, i), out, seen, depth + 1);
	} else if (fn) {
		out.insert("r:" + symbol(fn));
	} else if (gimple_call_lhs(call) && is_function_pointer(TREE_TYPE(gimple_call_lhs(call)))) {
		out.insert("T:" + type_key(TREE_TYPE(TREE_TYPE(gimple_call_lhs(call)))));
	}
}

/* Adds the nodes that a value may come from. */
static bool collect(tree value, Names &out, std::set<tree> &seen, int depth)
{
	gimple *def;

	if (!value || depth > MAX_DEPTH || !seen.insert(value).second)
		return false;
	STRIP_NOPS(value);
	switch (TREE_CODE(value)) {
	case FUNCTION_DECL:
		out.insert("f:" + symbol(value));
		return true;
	case ADDR_EXPR:
	case OBJ_TYPE_REF:
		if (TREE_CODE(TREE_OPERAND(value, 0)) == FUNCTION_DECL)
			out.insert("f:" + symbol(TREE_OPERAND(value, 0)));
		return true;
	case COMPONENT_REF:
	case ARRAY_REF:
	case MEM_REF:
	case VAR_DECL:
	case VIEW_CONVERT_EXPR:
		return collect_load(value, out);
	case PARM_DECL:
		out.insert(parameter(value));
		return true;
	case SSA_NAME:
		break;
	default:
		return false;
	}
	def = SSA_NAME_DEF_STMT(value);
	if (SSA_NAME_IS_DEFAULT_DEF(value)) {
		tree var = SSA_NAME_VAR(value);

		if (var && TREE_CODE(var) == PARM_DECL)
			out.insert(parameter(var));
		return true;
	}
	if (gphi *phi = dyn_cast<gphi *>(def)) {
		for (unsigned i = 0; i < gimple_phi_num_args(phi); i++)
			collect(gimple_phi_arg_def(phi, i), out, seen, depth + 1);
	} else if (gcall *call = dyn_cast<gcall *>(def)) {
		collect_call(call, out, seen, depth);
	} else if (gasm *stmt = dyn_cast<gasm *>(def)) {
		collect_asm(stmt, out, seen, depth);
	} else if (is_gimple_assign(def)) {
		/* conversions, masks of tag bits, offsets, choices: all operands */
		for (unsigned i = 1; i < gimple_num_ops(def); i++)
			collect(gimple_op(def, i), out, seen, depth + 1);
	}
	return true;
}

Names sources(tree value)
{
	Names out;
	std::set<tree> seen;

	collect(value, out, seen, 0);
	return out;
}

/* What is not a function pointer by type is followed only where a function or a
 * parameter or field of such a type comes in: else every void * would be a fact. */
static void flow(const std::string &to, tree value, tree to_type)
{
	bool typed = is_function_pointer(to_type);

	if (!typed && !may_carry(to_type))
		return;
	for (const std::string &from : sources(value)) {
		/* into memory that is not followed: its address is taken all the same */
		if (to.empty()) {
			if (from[0] == 'f')
				say_once("X\tM:\t" + from);
			continue;
		}
		if (from == to)
			continue;
		if (typed || from[0] == 'f' ||
		    (POINTER_TYPE_P(to_type) && VOID_TYPE_P(TREE_TYPE(to_type)) &&
		     (from[0] == 'P' || from[0] == 'R' || from[0] == 'r')))
			say_once("X\t" + to + "\t" + from);
	}
}

static void arguments(gcall *call)
{
	tree fn = gimple_call_fndecl(call);
	std::string at, head;

	if (gimple_call_internal_p(call))
		return;
	if (fn && fndecl_built_in_p(fn))
		return;
	if (fn && DECL_NAME(fn) && !strcmp(IDENTIFIER_POINTER(DECL_NAME(fn)), "__static_call_update") &&
	    gimple_call_num_args(call) == 3 && TREE_CODE(gimple_call_arg(call, 0)) == ADDR_EXPR) {
		for (const std::string &from : sources(gimple_call_arg(call, 2)))
			say_once("X\t" + memory(TREE_OPERAND(gimple_call_arg(call, 0), 0)) + "\t" +
				 from);
		return;
	}
	at = place(gimple_location(call));
	head = fn ? "P:" + symbol(fn) : "S:" + at;
	if (!fn && at.empty())
		return;
	for (unsigned i = 0; i < gimple_call_num_args(call); i++) {
		tree arg = gimple_call_arg(call, i);

		flow(head + "#" + std::to_string(i), arg, TREE_TYPE(arg));
	}
}

static void indirect(gcall *call)
{
	std::string at = place(gimple_location(call));
	tree type = gimple_call_fntype(call);
	std::string line = "I\t" + at + "\t" + (type ? type_key(type) : "");
	Names from = sources(gimple_call_fn(call));

	if (at.empty())
		return;
	if (from.empty())
		from.insert("?");
	for (const std::string &one : from)
		say_once(line + "\t" + one);
}

/* A call inside inline assembly: the function is text, a symbol or a loaded pointer. */
static void assembly(gasm *stmt)
{
	const char *text = gimple_asm_string(stmt);
	std::string at = place(gimple_location(stmt));
	Names from;
	std::set<tree> seen;

	if (at.empty() || !strstr(text, "call"))
		return;
	collect_asm(stmt, from, seen, 0);
	for (const std::string &one : from)
		if (one[0] != 'T')
			say_once("I\t" + at + "\tasm\t" + one);
}

static void construct(tree to, tree constructor, const std::string &owner);

static void construct_one(tree field, const std::string &to, tree value, const std::string &owner)
{
	STRIP_NOPS(value);
	if (TREE_CODE(value) == CONSTRUCTOR) {
		construct(field, value, owner);
		return;
	}
	if (to.empty())
		return;
	if (TREE_CODE(value) == ADDR_EXPR || TREE_CODE(value) == FUNCTION_DECL) {
		tree fn = TREE_CODE(value) == ADDR_EXPR ? TREE_OPERAND(value, 0) : value;

		if (TREE_CODE(fn) == FUNCTION_DECL)
			say_once("D\t" + to + "\t" + symbol(fn) + "\t" + owner);
	} else if (current_function_decl && TREE_CODE(value) == SSA_NAME) {
		flow(to, value, TREE_TYPE(value));
	}
}

/* Walks { .field = function, [n] = { … } }; ``to`` is what is initialised. */
static void construct(tree to, tree constructor, const std::string &owner)
{
	unsigned HOST_WIDE_INT number;
	tree index, value;
	bool is_record = TREE_CODE(TREE_TYPE(constructor)) == RECORD_TYPE ||
			 TREE_CODE(TREE_TYPE(constructor)) == UNION_TYPE;

	FOR_EACH_CONSTRUCTOR_ELT(CONSTRUCTOR_ELTS(constructor), number, index, value) {
		if (is_record && index && TREE_CODE(index) == FIELD_DECL)
			construct_one(index, field_node(index), value, owner);
		else if (to && TREE_CODE(to) == FIELD_DECL)
			construct_one(to, field_node(to), value, owner);
		else
			construct_one(to, owner.empty() ? "" : "V:" + owner, value, owner);
	}
}

static void assignment(gimple *stmt)
{
	tree to = gimple_assign_lhs(stmt);
	tree value = gimple_assign_rhs1(stmt);

	if (TREE_CODE(to) == SSA_NAME)
		return;
	if (TREE_CODE(value) == CONSTRUCTOR)
		construct(NULL_TREE, value, "");
	else if (may_carry(TREE_TYPE(to)))
		flow(memory(to), value, TREE_TYPE(to));
}

void flows_of(function *fn)
{
	basic_block block;

	FOR_EACH_BB_FN(block, fn) {
		for (auto at = gsi_start_bb(block); !gsi_end_p(at); gsi_next(&at)) {
			gimple *stmt = gsi_stmt(at);

			if (gcall *call = dyn_cast<gcall *>(stmt)) {
				if (!gimple_call_internal_p(call) && !gimple_call_fndecl(call))
					indirect(call);
				arguments(call);
				if (gimple_call_lhs(call) && TREE_CODE(gimple_call_lhs(call)) != SSA_NAME &&
				    is_function_pointer(TREE_TYPE(gimple_call_lhs(call))) &&
				    gimple_call_fndecl(call)) {
					std::string to = memory(gimple_call_lhs(call));

					if (!to.empty())
						say_once("X\t" + to + "\tr:" +
							 symbol(gimple_call_fndecl(call)));
				}
			} else if (gasm *text = dyn_cast<gasm *>(stmt)) {
				assembly(text);
				for (unsigned i = 0; i < gimple_asm_noutputs(text); i++) {
					tree to = TREE_VALUE(gimple_asm_output_op(text, i));
					Names from;
					std::set<tree> seen;

					/* xchg() and its like store an input */
					if (TREE_CODE(to) == SSA_NAME || !is_function_pointer(TREE_TYPE(to)))
						continue;
					collect_asm(text, from, seen, 0);
					for (const std::string &one : from)
						if (!memory(to).empty() && one != memory(to))
							say_once("X\t" + memory(to) + "\t" + one);
				}
			} else if (is_gimple_assign(stmt)) {
				assignment(stmt);
			} else if (greturn *back = dyn_cast<greturn *>(stmt)) {
				tree value = gimple_return_retval(back);

				if (value)
					flow("r:" + symbol(fn->decl), value, TREE_TYPE(value));
			}
		}
	}
}

void flows_of_initialisers()
{
	varpool_node *variable;
	symtab_node *node;

	FOR_EACH_VARIABLE(variable) {
		tree init = DECL_INITIAL(variable->decl);
		std::string name = symbol(variable->decl);

		if (!init || init == error_mark_node || variable->alias)
			continue;
		if (TREE_CODE(init) != CONSTRUCTOR) {
			construct_one(NULL_TREE, "V:" + name, init, name);
			continue;
		}
		construct(NULL_TREE, init, name);
		/* struct static_call_key: the field is no place that all of them share */
		if (TREE_CODE(TREE_TYPE(init)) == RECORD_TYPE && record(TREE_TYPE(init)) == "static_call_key") {
			unsigned HOST_WIDE_INT number;
			tree value;

			FOR_EACH_CONSTRUCTOR_VALUE(CONSTRUCTOR_ELTS(init), number, value)
				construct_one(NULL_TREE, "V:" + name, value, name);
		}
	}
	FOR_EACH_SYMBOL(node) {
		if (!node->alias || TREE_CODE(node->decl) != FUNCTION_DECL)
			continue;
		symtab_node *target = node->analyzed ? node->get_alias_target() : NULL;
		std::string to = target ? symbol(target->decl) :
				 node->alias_target && TREE_CODE(node->alias_target) == IDENTIFIER_NODE ?
				 IDENTIFIER_POINTER(node->alias_target) : "";
		if (!to.empty())
			say_once("A\t" + symbol(node->decl) + "\t" + to);
	}
}

}
