/* SPDX-License-Identifier: Apache-2.0
 *
 * Shell completion: see complete.c for what is printed. All return an exit code. When
 * ctl->completing is set, wsl_ctl_dispatch() and wsl_ctl_parse() come here and run nothing.
 */
#ifndef WSL_CLIENT_WSLCTL_COMPLETE_H
#define WSL_CLIENT_WSLCTL_COMPLETE_H

#include "client/wslctl/wslctl.h"

/* A command, beginning with `word`. */
int wsl_ctl_complete_verbs(const struct wsl_ctl_verb *verbs, size_t count, const char *word);

/* The last word of a verb's command line (argv[0] is the verb, argc >= 2), with the verb's options
 * and those all verbs have. May ask the coordinator, for half a second. */
int wsl_ctl_complete_words(struct wsl_ctl *ctl, const struct wsl_arg *rows, int count, int argc,
                           char **argv);

/* An option before the command. */
int wsl_ctl_complete_globals(const char *word);

#endif
