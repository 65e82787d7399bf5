// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a page of a file holds: which page it is, how often it was written, and words that
 * follow from both, so that a page that was lost, torn or put elsewhere tells itself.
 */
#include "guest.h"

#include <string.h>

#define WORDS (PAGE / sizeof(uint64_t))

static uint64_t mix(uint64_t value)	/* splitmix64, by Sebastiano Vigna, public domain */
{
	value += 0x9e3779b97f4a7c15;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

void pattern(void *page, unsigned file, unsigned number, unsigned generation)
{
	uint64_t *words = page;
	uint64_t start = mix(((uint64_t)file << 56) ^ ((uint64_t)number << 24) ^ generation);

	words[0] = ((uint64_t)number << 32) | generation;
	for (size_t i = 1; i < WORDS; i++)
		words[i] = start + i * 0x9e3779b97f4a7c15;
}

/* Returns the generation of a whole page, -1: no such page was ever written. */
int pattern_generation(const void *page, unsigned file, unsigned number)
{
	static uint64_t wanted[WORDS];
	uint32_t generation = *(const uint64_t *)page;

	pattern(wanted, file, number, generation);
	return memcmp(page, wanted, PAGE) ? -1 : (int)(generation & 0x7fffffff);
}
