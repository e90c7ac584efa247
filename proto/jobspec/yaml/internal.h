/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of one parse, shared by the reader of YAML (parse.c) and the setter of values
 * (value.c). Not for other directories.
 */
#ifndef WSL_PROTO_JOBSPEC_YAML_INTERNAL_H
#define WSL_PROTO_JOBSPEC_YAML_INTERNAL_H

#include "base/resnext.h"
#include "proto/jobspec/table.h"
#include "proto/jobspec/yaml/load.h"

/* Where a value was written: a line of the file, or a --set. line 0: nowhere. */
struct wsl_spec_origin {
    int line;
    const char *set;
};

struct wsl_spec_parse {
    const struct wsl_jobspec_source *source;
    Wsl__V1__JobSpec *spec;
    struct wsl_spec_origin fields[SPEC_FIELDS_MAX];
    bool bad[SPEC_FIELDS_MAX]; /* has been reported; later checks keep quiet about it */
    struct wsl_spec_origin sections[SPEC_SECTIONS];
    const struct wsl_resnext *model; /* named by model.name */
    const char *set;                 /* the override being applied, NULL in the file */
    int faults;
    bool stop; /* enough, or nothing more can be read */
    struct wsl_err first;
};

/* Reports one mistake; `line` is that of the file and not looked at within a --set. */
void wsl_spec_fault(struct wsl_spec_parse *p, int line, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a field, which is then known to be bad. */
void wsl_spec_fault_field(struct wsl_spec_parse *p, int line, const struct wsl_spec_field *field,
                          const char *text);

/* Says something that is no mistake. */
void wsl_spec_note(const struct wsl_spec_parse *p, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Ends the parse: not the fault of the file. */
void wsl_spec_no_memory(struct wsl_spec_parse *p);

/* A copy for messages: control characters become '?', long ones are cut. */
const char *wsl_spec_shown(const char *text, char *shown, size_t size);

/* Gives a field the value of a scalar; `plain`: without quotes. Mistakes are reported. */
void wsl_spec_set_scalar(struct wsl_spec_parse *p, const struct wsl_spec_field *field, int line,
                         const char *text, bool plain);

/* Notes that a field is given here; false (and reported) when it was given before. */
bool wsl_spec_begin_field(struct wsl_spec_parse *p, const struct wsl_spec_field *field, int line);

/* Reads the whole file; puts "KEY=VALUE" in the place of what was read. */
void wsl_spec_read_file(struct wsl_spec_parse *p);
void wsl_spec_apply_set(struct wsl_spec_parse *p, const char *set);

#endif
