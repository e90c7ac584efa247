/* SPDX-License-Identifier: Apache-2.0
 *
 * Job files: YAML into a checked specification. For programs that read them, which daemons do not:
 * theirs come as messages. Pure; any thread.
 */
#ifndef WSL_PROTO_JOBSPEC_YAML_LOAD_H
#define WSL_PROTO_JOBSPEC_YAML_LOAD_H

#include "proto/jobspec/jobspec.h"

#define WSL_JOBSPEC_FILE_MAX 65536 /* bytes of a job file */

struct wsl_jobspec_source {
    const char *file, *text; /* its name for messages */
    size_t size;             /* more than WSL_JOBSPEC_FILE_MAX is a mistake */
    const char *const *sets; /* "optimizer.learning_rate=0.1": each takes the place of what the file
                                says, in this order; lists and maps in YAML's [..] and {..} form.
                                Their mistakes begin with "--set KEY=VALUE: " */
    size_t set_count;
    void (*report)(void *context, const char *line); /* may be NULL */
    void (*note)(void *context, const char *line);   /* of what works but will not; may be NULL */
    void *context;
};

/* Every mistake is one line "FILE:LINE: FIELD: what is wrong, what is allowed"; the first one ends
 * the parse unless `report` is given, which is called for each (at most 20). Explicit zeros where
 * zero is not allowed are mistakes. *ret is freed with wsl__v1__job_spec__free_unpacked(spec,
 * NULL). */
int wsl_jobspec_load(const struct wsl_jobspec_source *source, Wsl__V1__JobSpec **ret,
                     struct wsl_err *err);

#endif
