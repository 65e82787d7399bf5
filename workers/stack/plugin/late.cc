/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is left after all optimisation, right before the assembler text is written: the frame
 * of each function and every call instruction, each with the functions inlined around it.
 *
 *   F name place frame kind flags type transient  one function; its calls follow
 *   c d callee place inlined                     call; t tail call
 *   c i  "      place inlined                    call through a pointer; j the same as tail call
 *   c a callee place inlined                     call named in inline assembly; b through a pointer
 */
#include "stackhog.h"

#include "rtl.h"
#include "tree-pass.h"
#include "tm.h"
#include "tm_p.h"
#include "memmodel.h"
#include "emit-rtl.h"
#include "rtl-iter.h"

namespace stackhog {

/* As output_stack_usage_1() of gcc/toplev.c adds it up for -fstack-usage. */
static std::string frame(const char **kind)
{
	HOST_WIDE_INT bytes, pushed;

	*kind = "s";
	if (!cfun->su)
		return "-1";
	bytes = current_function_static_stack_size;
	if (maybe_ne(current_function_pushed_stack_size, 0)) {
		if (current_function_pushed_stack_size.is_constant(&pushed)) {
			*kind = "b";
		} else {
			pushed = constant_lower_bound(current_function_pushed_stack_size);
			*kind = "d";
		}
		bytes += pushed;
	}
	if (current_function_allocates_dynamic_stack_space) {
		*kind = current_function_has_unbounded_dynamic_stack_size ? "d" : "b";
		bytes += current_function_dynamic_stack_size;
	}
	return std::to_string(bytes);
}

/*
 * The frame of a function that aligns its stack ("and $-16,%rsp"), at its largest. gcc counts
 * the padding that an aligned caller would need; the kernel's stack is aligned to a word.
 * Returns 0 where nothing is aligned.
 */
static HOST_WIDE_INT aligned_frame()
{
	HOST_WIDE_INT bytes = UNITS_PER_WORD, align = 0;	/* the return address */

	for (rtx_insn *insn = get_insns(); insn; insn = NEXT_INSN(insn)) {
		rtx all;

		if (NOTE_P(insn) && NOTE_KIND(insn) == NOTE_INSN_PROLOGUE_END)
			break;
		if (!NONJUMP_INSN_P(insn))
			continue;
		all = PATTERN(insn);
		for (int i = 0; i < (GET_CODE(all) == PARALLEL ? XVECLEN(all, 0) : 1); i++) {
			rtx set = GET_CODE(all) == PARALLEL ? XVECEXP(all, 0, i) : all;
			rtx from, to;

			if (GET_CODE(set) != SET)
				continue;
			from = SET_SRC(set);
			to = SET_DEST(set);
			if (MEM_P(to) && GET_CODE(XEXP(to, 0)) == PRE_DEC)
				bytes += UNITS_PER_WORD;
			else if (to != stack_pointer_rtx || !BINARY_P(from) || !CONST_INT_P(XEXP(from, 1)))
				continue;
			else if (GET_CODE(from) == PLUS && XEXP(from, 0) == stack_pointer_rtx)
				bytes -= INTVAL(XEXP(from, 1));
			else if (GET_CODE(from) == AND)
				align = -INTVAL(XEXP(from, 1));
		}
	}
	return align ? bytes + align - UNITS_PER_WORD : 0;
}

/* "name,place;name,place": the functions inlined around an instruction, outermost first;
 * the place is where the call stood that was inlined. */
static std::string inlined(location_t location)
{
	std::vector<std::string> found;
	std::string text;
	tree block = LOCATION_BLOCK(location);

	for (; block && TREE_CODE(block) == BLOCK; block = BLOCK_SUPERCONTEXT(block)) {
		tree origin;

		if (!inlined_function_outer_scope_p(block))
			continue;
		origin = block_ultimate_origin(block);
		if (origin && TREE_CODE(origin) == FUNCTION_DECL)
			found.push_back(symbol(origin) + "," + place(BLOCK_SOURCE_LOCATION(block)));
	}
	for (auto one = found.rbegin(); one != found.rend(); one++)
		text += (text.empty() ? "" : ";") + *one;
	return text;
}

static void say_call(const char *kind, const std::string &callee, rtx_insn *insn)
{
	location_t at = INSN_LOCATION(insn);

	say(std::string("c\t") + kind + "\t" + callee + "\t" + place(at) + "\t" + inlined(at));
}

static rtx_insn *current;	/* the asm that is being read */

static std::string named(rtx symbol_ref)
{
	const char *name = XSTR(symbol_ref, 0);
	tree decl = SYMBOL_REF_DECL(symbol_ref);

	if (decl && TREE_CODE(decl) == FUNCTION_DECL)
		return symbol(decl);
	return name[0] == '*' ? name + 1 : name;
}

static void call(rtx_insn *insn)
{
	rtx target = get_call_rtx_from(insn);
	bool tail = SIBLING_CALL_P(insn);

	if (!target)
		return;
	target = XEXP(XEXP(target, 0), 0);
	if (GET_CODE(target) == SYMBOL_REF)
		say_call(tail ? "t" : "d", named(target), insn);
	else
		say_call(tail ? "j" : "i", "", insn);
}

/* What the text of an asm pushes at most before it pops, in words: local_irq_save() is
 * "pushf ; pop %0", which gcc does not count. */
static int pushed(const char *text)
{
	int now = 0, most = 0;

	for (const char *at = text; *at; at++) {
		bool word = at == text || !(ISALNUM(at[-1]) || at[-1] == '_' || at[-1] == '.');

		if (word && !strncmp(at, "push", 4)) {
			now++;
			most = MAX(most, now);
		}
		if (word && !strncmp(at, "pop", 3) && strncmp(at, "popcnt", 6))
			now--;
		if (word && !strncmp(at, "iret", 4))
			now = 0;
	}
	return most;
}

static const char *template_of(rtx_insn *insn)
{
	rtx body = extract_asm_operands(PATTERN(insn));

	rtx all = PATTERN(insn);

	if (body)
		return ASM_OPERANDS_TEMPLATE(body);
	/* without operands: alone, or first among its clobbers */
	if (GET_CODE(all) == PARALLEL)
		all = XVECEXP(all, 0, 0);
	return GET_CODE(all) == ASM_INPUT ? XSTR(all, 0) : NULL;
}

/* The number that "%4" or "%P4" stands for; *text is moved behind it where it is one. */
static bool constant_operand(const char **text, rtx body, std::string &number)
{
	const char *at = *text + 1;
	int outputs = 0, n = 0;
	rtx input;

	while (ISALPHA(*at))
		at++;
	if (!body || !ISDIGIT(*at))
		return false;
	while (ISDIGIT(*at))
		n = n * 10 + *at++ - '0';
	/* operands count the outputs first; each output has an ASM_OPERANDS of its own */
	outputs = asm_noperands(PATTERN(current)) - ASM_OPERANDS_INPUT_LENGTH(body) -
		  ASM_OPERANDS_LABEL_LENGTH(body);
	if (n < outputs || n - outputs >= (int)ASM_OPERANDS_INPUT_LENGTH(body))
		return false;
	input = ASM_OPERANDS_INPUT(body, n - outputs);
	if (!CONST_INT_P(input))
		return false;
	number = std::to_string(INTVAL(input));
	*text = at;
	return true;
}

/* A symbol in the text of an asm, with numbers among its operands put in:
 * "__get_user_%P4" (arch/x86/include/asm/uaccess.h). */
static std::string spelled(const char **text, rtx body)
{
	std::string name, number;

	for (;;) {
		if (ISALNUM(**text) || **text == '_' || **text == '.')
			name += *(*text)++;
		else if (**text == '%' && !name.empty() && constant_operand(text, body, number))
			name += number;
		else
			return name;
	}
}

/* Names behind "call" in the text of an asm, and the symbols among its operands. */
static void assembly(rtx_insn *insn)
{
	rtx body = extract_asm_operands(PATTERN(insn));
	const char *text = template_of(insn), *at;
	bool any = false;

	if (!text)
		return;
	current = insn;
	for (at = text; (at = strstr(at, "call")); at++) {
		const char *name = at + 4;
		std::string callee;

		if (at != text && (ISALNUM(at[-1]) || at[-1] == '_' || at[-1] == '.'))
			continue;
		if (*name == 'q' || *name == 'l')
			name++;
		if (*name != ' ' && *name != '\t')
			continue;
		while (*name == ' ' || *name == '\t')
			name++;
		callee = spelled(&name, body);
		any = true;
		if (!callee.empty() && *name != '%')
			say_call("a", callee, insn);
		else if (*name == '*')
			say_call("b", "", insn);
	}
	for (int i = 0; any && body && i < (int)ASM_OPERANDS_INPUT_LENGTH(body); i++) {
		rtx input = ASM_OPERANDS_INPUT(body, i);

		if (GET_CODE(input) == SYMBOL_REF && SYMBOL_REF_FUNCTION_P(input))
			say_call("a", named(input), insn);
	}
}

/* Bytes that inline assembly puts below the frame and takes away again. */
static int transient()
{
	int most = 0;

	for (rtx_insn *insn = get_insns(); insn; insn = NEXT_INSN(insn)) {
		const char *text = NONJUMP_INSN_P(insn) || JUMP_P(insn) ? template_of(insn) : NULL;

		if (text)
			most = MAX(most, pushed(text));
	}
	return most * UNITS_PER_WORD;
}

static void late(function *fn)
{
	const char *kind;
	std::string bytes = frame(&kind);
	std::string flags;
	cgraph_node *node = cgraph_node::get(fn->decl);
	HOST_WIDE_INT aligned = aligned_frame();

	if (TREE_PUBLIC(fn->decl))
		flags += "g";
	if (DECL_WEAK(fn->decl))
		flags += "w";
	if (TREE_THIS_VOLATILE(fn->decl))
		flags += "n";
	if (node && node->address_taken)
		flags += "a";
	if (aligned)
		flags += "r";
	if (aligned > atol(bytes.c_str()))
		bytes = std::to_string(aligned);
	say("F\t" + symbol(fn->decl) + "\t" + place(DECL_SOURCE_LOCATION(fn->decl)) + "\t" + bytes +
	    "\t" + kind + "\t" + flags + "\t" + type_key(TREE_TYPE(fn->decl)) + "\t" +
	    std::to_string(transient()));
	for (rtx_insn *insn = get_insns(); insn; insn = NEXT_INSN(insn)) {
		if (CALL_P(insn))
			call(insn);
		else if (NONJUMP_INSN_P(insn) || JUMP_P(insn))
			assembly(insn);
	}
}

static const pass_data late_data = {
	RTL_PASS, "stackhog-late", OPTGROUP_NONE, TV_NONE, 0, 0, 0, 0, 0,
};

class late_pass : public rtl_opt_pass
{
public:
	late_pass() : rtl_opt_pass(late_data, g) {}
	unsigned int execute(function *fn) final override
	{
		late(fn);
		return 0;
	}
};

rtl_opt_pass *make_late_pass()
{
	return new late_pass();
}

}
