/* SPDX-License-Identifier: Apache-2.0
 *
 * What may come next on a command line: for the shells' completion (client/completion) and for the
 * manual pages, from the tables that parse it.
 *
 * `wslctl __complete WORD... CURRENT` prints one word that says what else the shell should offer
 * ("commands", "words": nothing; "files", "directories"), then a line for each candidate that
 * begins with CURRENT: the text, a tab, a description. Whatever goes wrong, it offers less.
 */
#include "client/wslctl/complete.h"

#include "proto/jobspec/jobspec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ANSWER_MS = 500, JOBS_MAX = 200 }; /* nobody waits longer for a TAB */

/* The word at the cursor; `option` is its part before a value: "--into=" of "--into=a". */
struct current {
    const char *option, *begin;
    int option_length;
    bool first; /* of the verb's words */
};

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void offer(const struct current *at, const char *text, const char *about)
{
    if (has_prefix(text, at->begin))
        printf("%.*s%s\t%s\n", at->option_length, at->option, text, about);
}

int wsl_ctl_complete_verbs(const struct wsl_ctl_verb *verbs, size_t count, const char *word)
{
    const struct current at = {.option = "", .begin = word};

    puts("commands");
    for (size_t i = 0; i < count; i++)
        offer(&at, verbs[i].name, verbs[i].about);
    return WSL_CTL_DONE;
}

/* ---- what the coordinator and the tables know ---- */

static ProtobufCMessage *ask(struct wsl_ctl *ctl, const char *path, const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *response)
{
    ProtobufCMessage *answer = NULL;

    if (wsl_ctl_connect(ctl, NULL) < 0 ||
        wsl_client_call(ctl->client, &(struct wsl_client_method){path, response}, request,
                        ANSWER_MS, &answer, NULL) < 0)
        return NULL;
    return answer;
}

/* By name, and by id when a digit was typed. A name stands for its newest job: older ones are left
 * out. */
static void offer_jobs(struct wsl_ctl *ctl, const struct current *at)
{
    Wsl__V1__ListJobsRequest request = WSL__V1__LIST_JOBS_REQUEST__INIT;
    Wsl__V1__ListJobsResponse *list;

    request.limit = JOBS_MAX;
    list = (Wsl__V1__ListJobsResponse *)ask(ctl, "/wsl.v1.JobService/List", &request.base,
                                            &wsl__v1__list_jobs_response__descriptor);
    for (size_t i = 0; list && i < list->n_jobs; i++) {
        const Wsl__V1__Job *job = list->jobs[i];
        char state[WSL_CTL_TEXT], id[24], about[96];
        bool newer = false;

        if (!job->spec)
            continue;
        wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, state);
        snprintf(id, sizeof id, "%" PRIu64, job->id);
        snprintf(about, sizeof about, "job %s, %s", id, state);
        for (size_t j = 0; j < i; j++)
            newer = newer || (list->jobs[j]->spec &&
                              strcmp(list->jobs[j]->spec->name, job->spec->name) == 0);
        if (!newer)
            offer(at, job->spec->name, about);
        if (at->begin[0] >= '0' && at->begin[0] <= '9')
            offer(at, id, job->spec->name);
    }
    if (list)
        protobuf_c_message_free_unpacked(&list->base, NULL);
}

static void offer_nodes(struct wsl_ctl *ctl, const struct current *at)
{
    Wsl__V1__ListNodesRequest request = WSL__V1__LIST_NODES_REQUEST__INIT;
    Wsl__V1__ListNodesResponse *list = (Wsl__V1__ListNodesResponse *)ask(
        ctl, "/wsl.v1.NodeService/List", &request.base, &wsl__v1__list_nodes_response__descriptor);

    for (size_t i = 0; list && i < list->n_nodes; i++)
        offer(at, list->nodes[i]->name, "");
    if (list)
        protobuf_c_message_free_unpacked(&list->base, NULL);
}

static void offer_fields(const struct current *at, const char *ending)
{
    struct wsl_jobspec_field field;
    char text[96];

    for (size_t i = 0; i < wsl_jobspec_field_count(); i++) {
        wsl_jobspec_field(i, &field);
        snprintf(text, sizeof text, "%.64s%s", field.path, ending);
        offer(at, text, field.help);
    }
}

static void offer_states(const struct current *at)
{
    char word[WSL_CTL_TEXT];

    for (unsigned i = 0; i < wsl__v1__job_state__descriptor.n_values; i++) {
        wsl_ctl_word(&wsl__v1__job_state__descriptor,
                     wsl__v1__job_state__descriptor.values[i].value, word);
        if (strcmp(word, "-") != 0)
            offer(at, word, "");
    }
}

static void offer_formats(const struct wsl_ctl_verb *verb, const struct current *at)
{
    for (unsigned bit = 1; wsl_ctl_format_word(bit); bit <<= 1)
        if (verb->formats & bit)
            offer(at, wsl_ctl_format_word(bit), "");
}

/* ---- one place of the command line ---- */

/* `what` is how the help calls the thing: "JOB...", "[NODE]", "DIR", "FILE". */
static void complete_value(struct wsl_ctl *ctl, const struct current *at, const char *what)
{
    bool directory = strstr(what, "DIR") || strstr(what, "DATA") || strstr(what, "CHECKPOINT");

    if (strstr(what, "FILE") || strstr(what, "PATH"))
        puts("files");
    else
        puts(directory ? "directories" : "words");
    if (at->first && strstr(what, "remove"))
        offer(at, "remove", "lost ones from the list");
    if (strstr(what, "JOB"))
        offer_jobs(ctl, at);
    else if (strstr(what, "NODE"))
        offer_nodes(ctl, at);
    else if (strstr(what, "FIELD"))
        offer_fields(at, "");
    else if (strcmp(what, "KEY=VALUE") == 0)
        offer_fields(at, "=");
    else if (strcmp(what, "STATES") == 0)
        offer_states(at);
    else if (strcmp(what, "FORMAT") == 0)
        offer_formats(ctl->verb, at);
}

static void complete_options(const struct current *at, const struct wsl_arg *rows, int count)
{
    char text[64];

    puts("words");
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "--%s", rows[i].name);
        if (rows[i].help)
            offer(at, text, rows[i].help);
    }
    offer(at, "--help", "print this and exit");
}

/* The row of "--name" or "-n", of the first `length` bytes of a word; NULL: it is no option. */
static const struct wsl_arg *option_row(const struct wsl_arg *rows, int count, const char *word,
                                        size_t length)
{
    for (int i = 0; i < count; i++) {
        const struct wsl_arg *row = &rows[i];

        if (length > 2 && strncmp(word, "--", 2) == 0 && strlen(row->name) == length - 2 &&
            strncmp(word + 2, row->name, length - 2) == 0)
            return row;
        if (length == 2 && word[0] == '-' && row->letter && word[1] == row->letter)
            return row;
    }
    return NULL;
}

static bool takes_value(const struct wsl_arg *row)
{
    return row && row->type != WSL_ARG_FLAG;
}

int wsl_ctl_complete_words(struct wsl_ctl *ctl, const struct wsl_arg *rows, int count, int argc,
                           char **argv)
{
    const char *word = argv[argc - 1], *before = argc > 2 ? argv[argc - 2] : "";
    struct current at = {.option = "", .begin = word, .first = argc == 2};
    const struct wsl_arg *row;

    if (strcmp(before, "=") == 0 && argc > 3) { /* bash gives "--into=a" as three words */
        before = argv[argc - 3];
    } else if (strcmp(word, "=") == 0 && argc > 2) {
        at.begin = "";
    } else if (has_prefix(word, "--") && strchr(word, '=')) {
        at.option = word;
        at.option_length = (int)strcspn(word, "=") + 1;
        at.begin = word + at.option_length;
        row = option_row(rows, count, word, (size_t)at.option_length - 1);
        complete_value(ctl, &at, takes_value(row) ? row->value : "");
        return WSL_CTL_DONE;
    }
    row = option_row(rows, count, before, strlen(before));
    if (takes_value(row))
        complete_value(ctl, &at, row->value);
    else if (word[0] == '-')
        complete_options(&at, rows, count);
    else
        complete_value(ctl, &at, ctl->verb->words);
    return WSL_CTL_DONE;
}

int wsl_ctl_complete_globals(const char *word)
{
    static const char *const options[][2] = {{"--server", "the coordinator, HOST:PORT"},
                                             {"--no-color", "no colours"},
                                             {"--help", "print the help and exit"},
                                             {"--version", "print the version and exit"}};
    const struct current at = {.option = "", .begin = word};

    puts("words");
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        offer(&at, options[i][0], options[i][1]);
    return WSL_CTL_DONE;
}
