/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of wslctl: what its verbs share. One thread; everything may block.
 *
 * Data goes to standard output, everything said about it to standard error. A verb is a row of a
 * table: dispatch, help and suggestions come from it.
 */
#ifndef WSL_CLIENT_WSLCTL_WSLCTL_H
#define WSL_CLIENT_WSLCTL_WSLCTL_H

#include "base/args.h"
#include "base/buf.h"
#include "base/err.h"
#include "client/wslctl/format.h"
#include "client/wslctl/json.h"
#include "client/wslctl/table.h"
#include "proto/rpc/client.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Exit codes; wslctl --help says them too. */
enum {
    WSL_CTL_DONE = 0,        /* done; the job succeeded */
    WSL_CTL_FAILED = 1,      /* a failure; the job failed */
    WSL_CTL_USAGE = 2,       /* the command line or the job file is wrong */
    WSL_CTL_CANCELLED = 3,   /* the job was cancelled */
    WSL_CTL_UNREACHABLE = 5, /* no coordinator */
    WSL_CTL_TIMEOUT = 6,
    WSL_CTL_INTERRUPTED = 130,
};

/* What -o may be; a verb names those it can. */
enum {
    WSL_CTL_TABLE = 1 << 0,
    WSL_CTL_WIDE = 1 << 1,
    WSL_CTL_JSON = 1 << 2,
    WSL_CTL_NAME = 1 << 3,
    WSL_CTL_YAML = 1 << 4,
    WSL_CTL_NDJSON = 1 << 5, /* a JSON document a line for each job, node, ... */
};

struct wsl_ctl;

struct wsl_ctl_verb {
    const char *name, *alias; /* alias may be NULL */
    const char *words;        /* "JOB...", "" */
    int words_min, words_max; /* -1: any number */
    unsigned formats;         /* 0: no -o */
    const char *about;        /* one sentence */
    const char *more;         /* more for --help, a line per paragraph; may be NULL */
    const char *example;
    /* argv[0] is the verb. Returns the exit code. */
    int (*run)(struct wsl_ctl *ctl, int argc, char **argv);
};

struct wsl_ctl {
    const char *server;
    const char *output; /* the word after -o, NULL: none given */
    unsigned format;    /* one of WSL_CTL_TABLE ... */
    bool quiet;
    bool no_color;
    const char *prefix;              /* "wslctl", "wslctl data", "wslctl model" */
    const struct wsl_ctl_verb *verb; /* the one that runs */
    char **words;                    /* its plain words */
    int word_count;
    int exit_code;   /* when wsl_ctl_parse() says no */
    bool bad_server; /* ctl->server has no form of an address */
    bool completing; /* say what may come next instead of running anything: complete.h */
    struct wsl_client *client;
};

/* Finds argv[1] in the table and runs it; unknown: a suggestion and WSL_CTL_USAGE. */
int wsl_ctl_dispatch(struct wsl_ctl *ctl, const struct wsl_ctl_verb *verbs, size_t count, int argc,
                     char **argv);

/* The same for a verb that has verbs of its own (ctl->verb, "wslctl data"); argv[0] is that verb.
 * Its --help lists them. */
int wsl_ctl_group(struct wsl_ctl *ctl, const struct wsl_ctl_verb *verbs, size_t count, int argc,
                  char **argv);
/* Rows of a table of verbs for a help text, on standard output. */
void wsl_ctl_print_verbs(const struct wsl_ctl_verb *verbs, size_t count);

/* Parses a verb's command line: its own rows and those that all verbs have. false: leave with
 * ctl->exit_code (help was asked for, or something is wrong and was said). */
bool wsl_ctl_parse(struct wsl_ctl *ctl, const struct wsl_arg *rows, int count, int argc,
                   char **argv);
enum { WSL_CTL_COMMON_ROWS = 4 };
void wsl_ctl_common_rows(struct wsl_ctl *ctl, struct wsl_arg rows[WSL_CTL_COMMON_ROWS]);

/* "table" for WSL_CTL_TABLE and so on; NULL past the last bit. */
const char *wsl_ctl_format_word(unsigned bit);

/* A line on standard error, after "wslctl: "; note: left out when quiet. */
void wsl_ctl_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void wsl_ctl_note(const struct wsl_ctl *ctl, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for an error, with what to do about it; returns the exit code. */
int wsl_ctl_fail(const struct wsl_ctl *ctl, const struct wsl_err *err);
/* Does the error mean that no coordinator could be talked to? */
bool wsl_ctl_is_absent(const struct wsl_err *err);
int wsl_ctl_usage(const struct wsl_ctl *ctl, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* An input that an option names: a usage error where it is not there. NULL and "-" are fine. */
int wsl_ctl_check_input(const struct wsl_ctl *ctl, const char *option, const char *path);

/* A call on the coordinator, connecting first where needed. *ret: free with
 * protobuf_c_message_free_unpacked(). */
int wsl_ctl_call(struct wsl_ctl *ctl, const char *path, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret,
                 struct wsl_err *err);
int wsl_ctl_connect(struct wsl_ctl *ctl, struct wsl_err *err);
void wsl_ctl_disconnect(struct wsl_ctl *ctl);

/* Writes the buffer to standard output and frees it; returns `code`, or WSL_CTL_FAILED when the
 * output could not be made (`r` < 0) or written. */
int wsl_ctl_put(struct wsl_buf *out, int r, int code);
/* The same for what was printed with stdio. Says a failure once: what comes later is dropped. */
int wsl_ctl_flush(int code);
/* Prints and frees: a JSON document, a table. */
int wsl_ctl_put_json(json_t *document, int code);
/* {"version": 1, plural: list}, or with -o ndjson a line {"version": 1, singular: item} for each.
 */
int wsl_ctl_put_json_list(const struct wsl_ctl *ctl, const char *plural, const char *singular,
                          json_t *list, int code);
int wsl_ctl_put_table(struct wsl_ctl_table *table, int code);

/* May colours and live lines be used on this descriptor? */
bool wsl_ctl_color(const struct wsl_ctl *ctl);
int wsl_ctl_width(int fd); /* columns of the terminal there; 0: it is none */
/* Columns that a table on standard output has: of the terminal, else COLUMNS of the environment,
 * else 0: no limit, so that grep finds what is there. Neither has -o wide. */
int wsl_ctl_table_width(const struct wsl_ctl *ctl);

/* From then on Ctrl-C sets a flag (a second one kills): for what must end in order. */
void wsl_ctl_catch_interrupt(void);
bool wsl_ctl_interrupted(void);
const atomic_bool *wsl_ctl_interrupt_flag(void);
/* From then on SIGINT, SIGTERM and SIGHUP are only counted: for a verb that answers each. */
void wsl_ctl_count_interrupts(void);
int wsl_ctl_interrupt_count(void);

/* Exit code that tells of a job's end. */
int wsl_ctl_outcome(const Wsl__V1__Job *job);

const char *wsl_ctl_job_name(const Wsl__V1__Job *job); /* "": it has none */
/* "7 (clipart-tags)" */
void wsl_ctl_job_title(const Wsl__V1__Job *job, char *text, size_t size);

/* The jobs as table, names, JSON; as ctl->format says. */
int wsl_ctl_put_jobs(struct wsl_ctl *ctl, Wsl__V1__Job *const *jobs, size_t count);
/* One job by name or id; free with wsl__v1__get_job_response__free_unpacked(). */
int wsl_ctl_get_job(struct wsl_ctl *ctl, const char *word, Wsl__V1__GetJobResponse **ret,
                    struct wsl_err *err);

/* As wsl_ctl_fail(), for a question about this job: where there is none, with the nearest name. */
int wsl_ctl_fail_job(struct wsl_ctl *ctl, const char *word, const struct wsl_err *err);

/* A checked job file ("-": standard input) with absolute paths. Returns an exit code; mistakes have
 * been said. *ret: free with wsl__v1__job_spec__free_unpacked(). */
int wsl_ctl_load_job(const char *file, const struct wsl_arg_list *sets, Wsl__V1__JobSpec **ret);

int wsl_ctl_run(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_submit(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_list(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_get(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_describe(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_logs(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_watch(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_wait(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_cancel(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_nodes(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_import(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_show(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_verify(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_stats(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_sample(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_export(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_merge(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_data_split(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_tags(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_model(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_model_describe(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_model_check(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_model_export(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_explain(struct wsl_ctl *ctl, int argc, char **argv);
int wsl_ctl_version(struct wsl_ctl *ctl, int argc, char **argv);

/* ranks.c: the trainers of a job, one line each (`each`, or while they are few) or one a worker. */
int wsl_ctl_add_ranks(struct wsl_buf *out, const struct wsl_ctl *ctl, const Wsl__V1__Job *job);

#endif
