/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of jobspec: the table that drives parse, check, fill, print and explain, and how to reach
 * a field's value in a JobSpec by its row. Not for other directories.
 */
#ifndef WSL_PROTO_JOBSPEC_TABLE_H
#define WSL_PROTO_JOBSPEC_TABLE_H

#include "proto/jobspec/jobspec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wsl_spec_type {
    SPEC_TEXT,
    SPEC_WORD,   /* an enum; `words` separated by blanks, the first is number 1 */
    SPEC_CHOICE, /* a text out of `words` */
    SPEC_UINT32,
    SPEC_UINT64,
    SPEC_REAL,
    SPEC_BOOL,
    SPEC_BOOL_NOT, /* stored inverted */
    SPEC_DEPTHS,
    SPEC_INIT,
    SPEC_MODEL_NAME, /* of the job file only: it stands for depths, groups and width */
};

enum wsl_spec_section {
    SPEC_TOP,
    SPEC_MODEL,
    SPEC_OPTIMIZER,
    SPEC_SCHEDULE,
    SPEC_SAMPLING,
    SPEC_AUGMENTATION,
    SPEC_CHECKPOINT,
    SPEC_RESTART,
    SPEC_SECTIONS
};

enum {
    SPEC_REQUIRED = 1 << 0,
    SPEC_TRANSFER_ONLY = 1 << 1,
    SPEC_ZERO = 1 << 2,      /* 0 may be written though it is below `min` */
    SPEC_MIN_OPEN = 1 << 3,  /* the value is more than `min` */
    SPEC_MAX_OPEN = 1 << 4,  /* the value is less than `max` */
    SPEC_KEEP_ZERO = 1 << 5, /* 0 in a present message is a value, not "left out" */
    SPEC_FILE_ONLY = 1 << 6, /* has no place of its own in a JobSpec */
};

struct wsl_spec_field {
    const char *path; /* "optimizer.learning_rate"; the key is what follows the dot */
    enum wsl_spec_type type;
    enum wsl_spec_section section;
    size_t offset; /* in the section's message */
    unsigned flags;
    double min, max;      /* of numbers */
    double fallback;      /* what fill puts for 0; 0: nothing, or a rule of its own */
    const char *words;    /* of WORD and CHOICE */
    const char *standard; /* the default, for people; "" when there is none */
    const char *help;
};

enum { SPEC_FIELDS_MAX = 48 };
extern const struct wsl_spec_field wsl_spec_fields[];
extern const size_t wsl_spec_field_count;

/* Row of a path, or NULL. */
const struct wsl_spec_field *wsl_spec_find(const char *path);
/* Row of a path that the release before had: still read, with a note, and documented nowhere. */
const struct wsl_spec_field *wsl_spec_find_former(const char *path);
const char *wsl_spec_key(const struct wsl_spec_field *field);
const char *wsl_spec_section_name(enum wsl_spec_section section); /* "" for the top */

/* The message that holds a section's fields; NULL when it is absent. */
void *wsl_spec_section_of(const Wsl__V1__JobSpec *spec, enum wsl_spec_section section);
/* The same, made when absent, with the defaults of fields whose zero has a meaning. NULL: no
 * memory. */
void *wsl_spec_section_make(Wsl__V1__JobSpec *spec, enum wsl_spec_section section);

/* Value of a UINT, REAL, WORD or BOOL field as a number; `message` may be NULL (then 0). */
double wsl_spec_number(const struct wsl_spec_field *field, const void *message);
void wsl_spec_set_number(const struct wsl_spec_field *field, void *message, double value);
void wsl_spec_set_u64(const struct wsl_spec_field *field, void *message, uint64_t value);
uint64_t wsl_spec_u64(const struct wsl_spec_field *field, const void *message);
const char *wsl_spec_text(const struct wsl_spec_field *field, const void *message);
/* Replaces a text with a copy. */
int wsl_spec_set_text(char **target, const char *text);

/* "a whole number from 1 to 4096", "one of pretrain, transfer": what may stand there. */
void wsl_spec_allowed(const struct wsl_spec_field *field, char *text, size_t size);
/* Number of a word in `words` from 1, 0 when it is none; and the word of a number, NULL. */
int wsl_spec_word_number(const char *words, const char *word);
bool wsl_spec_word_of(const char *words, int number, char *word, size_t size);

/* Is a value inside the row's limits? Not for NaN. */
bool wsl_spec_in_limits(const struct wsl_spec_field *field, double value);

/* Every mistake of a specification, each with its row; wsl_jobspec_check takes the first. */
typedef void (*wsl_spec_fault_fn)(void *context, const struct wsl_spec_field *field,
                                  const char *text);
void wsl_spec_check_all(const Wsl__V1__JobSpec *spec, wsl_spec_fault_fn fault, void *context);

#endif
