/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the verbs of `tags` (and of `data` where they make data sets): what they share.
 */
#ifndef WSL_CLIENT_WSLCTL_TAGS_H
#define WSL_CLIENT_WSLCTL_TAGS_H

#include "client/wslctl/wslctl.h"

#include "storage/dataset/dataset.h"
#include "storage/derive/view.h"
#include "storage/sampling/sampling.h"

/* Opens the data set named by the verb's first word; on failure says so and sets ctl->exit_code. */
bool wsl_ctl_open_data(struct wsl_ctl *ctl, struct wsl_dataset **ret);

/* "natural", "square-root", "uniform" as in job files. False after saying that it is none. */
bool wsl_ctl_sampling(struct wsl_ctl *ctl, const char *word, enum wsl_sampling *ret);
const char *wsl_ctl_sampling_word(enum wsl_sampling sampling);

/* The first `shown` of all tags, those with the most training images first; the caller frees. NULL:
 * no memory. */
const uint32_t *wsl_ctl_rank_tags(const struct wsl_dataset *ds);

/* What became of a making: nothing, an interruption that left nothing, or a failure; said. */
int wsl_ctl_made(const struct wsl_ctl *ctl, int r, const char *output, const struct wsl_err *err);

/* The view that was made, as text or JSON. */
int wsl_ctl_put_view(const struct wsl_ctl *ctl, const char *output,
                     const struct wsl_view_result *result, const char *note);

int wsl_ctl_tags_count(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags_vocabulary(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags_segment(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags_map(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags_noise(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags_curve(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags_why(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags_audit(struct wsl_ctl *ctl, int argc, char **argv);

#endif
