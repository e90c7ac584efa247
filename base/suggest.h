/* SPDX-License-Identifier: Apache-2.0
 *
 * "Did you mean ...?": the nearest of the known words to one that is not known. Pure; any thread.
 */
#ifndef WSL_BASE_SUGGEST_H
#define WSL_BASE_SUGGEST_H

#include <stddef.h>

/* Letters to insert, drop, change or swap with their neighbour to come from a to b (restricted
 * Damerau-Levenshtein distance), case and '-' against '_' not counted. Words over 63 bytes are as
 * far apart as the longer one is long. */
size_t wsl_suggest_distance(const char *a, const char *b);

/* Takes candidates one by one: start with *best = NULL and *distance = SIZE_MAX. Keeps the nearest
 * that is near enough to be meant (a third of its letters, at least one; or it begins with `word`
 * of three letters or more). */
void wsl_suggest_try(const char *word, const char *candidate, const char **best, size_t *distance);

#endif
