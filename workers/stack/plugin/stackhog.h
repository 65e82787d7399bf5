/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the plugin share. Built against the headers of gcc 11 to 14.
 *
 * The plugin only reads: it never changes a tree, a gimple statement or an instruction, so
 * the code that gcc makes is the same with and without it.
 */
#ifndef STACKHOG_H
#define STACKHOG_H

/* before gcc's system.h, which poisons what these headers use */
#include <map>
#include <set>
#include <string>
#include <vector>

#include "gcc-plugin.h"
#include "plugin-version.h"
#include "tree.h"
#include "tree-pass.h"
#include "context.h"
#include "basic-block.h"
#include "function.h"
#include "gimple.h"
#include "gimple-iterator.h"
#include "gimple-ssa.h"
#include "ssa.h"
#include "tree-cfg.h"
#include "cgraph.h"
#include "stringpool.h"
#include "attribs.h"
#include "diagnostic.h"
#include "options.h"
#include "toplev.h"

namespace stackhog {

typedef std::set<std::string> Names;

/* out.cc: the facts file */
void say(const std::string &line);		/* lines in order, kept as said */
void say_once(const std::string &line);		/* lines whose order and number mean nothing */
std::string place(location_t location);		/* "file number:line:column", "" where unknown */
std::string symbol(tree decl);			/* the assembler's name of a declaration */
std::string type_key(tree function_type);	/* a short name of a function type */
bool finish();					/* write the file; false if it cannot be written */

/* flow.cc: where function pointers come from and where they go */
bool is_function_pointer(tree type);
std::string memory(tree ref);			/* the node of a memory reference, "" if untracked */
Names sources(tree value);			/* nodes that a value may come from */
void flows_of(function *fn);			/* flows and indirect calls of one function */
void flows_of_initialisers();			/* flows of static data, aliases */

/* guard.cc: conditions under which a call is reached */
void guards_of(function *fn);

/* late.cc: what is left after all optimisation: frames and call instructions */
rtl_opt_pass *make_late_pass();

}

#endif
