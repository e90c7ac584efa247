/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of wslctl: how the model verbs name a net.
 */
#ifndef WSL_CLIENT_WSLCTL_MODEL_H
#define WSL_CLIENT_WSLCTL_MODEL_H

#include "client/wslctl/wslctl.h"
#include "kernels/model/net.h"

/* "resnext50_32x4d (blocks 3,4,6,3; groups 32; width 4)", without a name "blocks 1,1; ...". */
void wsl_ctl_model_title(const struct wsl_net_config *config, char *text, size_t size);

/* {"name": null when it has none, "depths", "groups", "width", "classes", "image_size"}; the last
 * two are null where they are 0. */
json_t *wsl_ctl_model_json(const struct wsl_net_config *config);

/* What the command line of model describe says; what was not given is NULL or NONE. */
#define WSL_CTL_MODEL_NONE UINT64_MAX
struct wsl_ctl_model_options {
    const char *depths, *backend;
    uint64_t groups, width, classes, image_size, batch, micro_batches, threads;
    bool inference, recompute;
    struct wsl_arg_list sets;
};

/* The net that the options and ctl's word mean; of a job, that of one trainer. Returns an exit code
 * after saying what is wrong. *ret_spec: the job, which ret->backend may point into; NULL for none;
 * free with wsl__v1__job_spec__free_unpacked() in any case. */
int wsl_ctl_model_choose(struct wsl_ctl *ctl, const struct wsl_ctl_model_options *options,
                         struct wsl_net_setup *ret, Wsl__V1__JobSpec **ret_spec);

#endif
