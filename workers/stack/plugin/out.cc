/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The facts file: text, one fact a line, fields separated by tabs. See docs/facts-file.md. */
#include "stackhog.h"

namespace stackhog {

static std::vector<std::string> lines;
static std::set<std::string> facts;
static std::map<std::string, unsigned> files;
static std::map<std::string, std::string> types;

void say(const std::string &line)
{
	lines.push_back(line);
}

void say_once(const std::string &line)
{
	facts.insert(line);
}

std::string place(location_t location)
{
	expanded_location at = expand_location(location);

	if (!at.file || !at.line)
		return "";
	auto known = files.insert({at.file, (unsigned)files.size()});
	return std::to_string(known.first->second) + ":" + std::to_string(at.line) + ":" +
	       std::to_string(at.column);
}

std::string symbol(tree decl)
{
	const char *name;

	if (!DECL_NAME(decl) && !HAS_DECL_ASSEMBLER_NAME_P(decl))
		return "";
	name = HAS_DECL_ASSEMBLER_NAME_P(decl)
		       ? IDENTIFIER_POINTER(DECL_ASSEMBLER_NAME(decl))
		       : IDENTIFIER_POINTER(DECL_NAME(decl));
	if (name[0] == '*')
		name++;
	/* what other objects cannot see is marked: its name means something only here */
	if ((TREE_CODE(decl) == FUNCTION_DECL || TREE_CODE(decl) == VAR_DECL) && !TREE_PUBLIC(decl))
		return std::string(name) + "~";
	return name;
}

/* Types that C lets stand for one another in a call get the same name. */
static std::string spell(tree type, int depth)
{
	switch (TREE_CODE(type)) {
	case VOID_TYPE:
		return "void";
	case BOOLEAN_TYPE:
		return "bool";
	case INTEGER_TYPE:
	case ENUMERAL_TYPE:
		return (TYPE_UNSIGNED(type) ? "u" : "s") + std::to_string(TYPE_PRECISION(type));
	case REAL_TYPE:
		return "f" + std::to_string(TYPE_PRECISION(type));
	case POINTER_TYPE: {
		tree to = TREE_TYPE(type);

		if (TREE_CODE(to) == FUNCTION_TYPE)
			return depth > 2 ? "fn*" : "(" + spell(to, depth + 1) + ")*";
		return spell(to, depth) + "*";
	}
	case ARRAY_TYPE:
		return spell(TREE_TYPE(type), depth) + "[]";
	case RECORD_TYPE:
	case UNION_TYPE: {
		tree name = TYPE_NAME(TYPE_MAIN_VARIANT(type));

		if (name && TREE_CODE(name) == TYPE_DECL)
			name = DECL_NAME(name);
		return name ? IDENTIFIER_POINTER(name) : "{}";
	}
	case FUNCTION_TYPE: {
		std::string text = spell(TREE_TYPE(type), depth) + "(";
		tree arg = TYPE_ARG_TYPES(type);

		if (!arg)
			return text + "...)";
		for (const char *comma = ""; arg; arg = TREE_CHAIN(arg), comma = ",") {
			if (arg == void_list_node)
				break;
			text += comma + spell(TREE_VALUE(arg), depth);
			if (!TREE_CHAIN(arg))
				text += ",...";
		}
		return text + ")";
	}
	default:
		return "?";
	}
}

std::string type_key(tree function_type)
{
	std::string text = spell(function_type, 0);
	unsigned long long hash = 14695981039346656037ull; /* FNV-1a, 64 bits */
	char key[17];

	for (unsigned char letter : text)
		hash = (hash ^ letter) * 1099511628211ull;
	snprintf(key, sizeof(key), "%012llx", (hash ^ hash >> 48) & 0xffffffffffffull);
	types[key] = text;
	return key;
}

bool finish()
{
	const char *base = aux_base_name ? aux_base_name : dump_base_name;
	std::string path, fresh;
	std::vector<const std::string *> names(files.size());
	FILE *out;
	bool good;

	if (!base)
		return true;
	path = std::string(base) + ".hog";
	fresh = path + ".tmp";
	out = fopen(fresh.c_str(), "w");
	if (!out)
		return false;
	fprintf(out, "stackhog\t1\t%s\t%d\t%s\n", gcc_version.basever,
		(int)(TYPE_PRECISION(ptr_type_node) / 8),
		main_input_filename ? main_input_filename : "");
	for (auto &file : files)
		names[file.second] = &file.first;
	for (auto name : names)
		fprintf(out, "N\t%s\n", name->c_str());
	for (auto &type : types)
		fprintf(out, "Y\t%s\t%s\n", type.first.c_str(), type.second.c_str());
	for (auto &line : lines)
		fprintf(out, "%s\n", line.c_str());
	for (auto &line : facts)
		fprintf(out, "%s\n", line.c_str());
	fprintf(out, "end\t%zu\n", lines.size() + facts.size());
	good = !ferror(out);
	good = !fclose(out) && good;
	if (good)
		good = !rename(fresh.c_str(), path.c_str());
	else
		remove(fresh.c_str());
	return good;
}

}
