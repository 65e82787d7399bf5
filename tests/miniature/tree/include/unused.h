/* SPDX-License-Identifier: GPL-2.0-or-later */
#define NOBODY_INCLUDES_THIS 1
