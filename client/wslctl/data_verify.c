/* SPDX-License-Identifier: Apache-2.0
 *
 * data verify: whether a data set is intact, and which records are not.
 */
#include "client/wslctl/wslctl.h"

#include "storage/dataset/verify.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_WIDTH = 32, LISTED = 1000 };

struct verify {
    int percent;
    uint64_t listed;
    struct wsl_buf text; /* a line for each fault, up to LISTED */
    json_t *faults;
};

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct verify *v = context;
    int percent = total ? (int)(100 * (double)done / (double)total) : 100;
    char bar[64];

    if (percent == v->percent)
        return;
    v->percent = percent;
    wsl_ctl_bar((double)percent / 100, BAR_WIDTH, bar, sizeof bar);
    fprintf(stderr, "\r\033[Kverifying %s %3d %%", bar, percent);
    fflush(stderr);
}

static void on_fault(void *context, const struct wsl_verify_fault *fault)
{
    struct verify *v = context;
    bool whole_shard = fault->record == WSL_VERIFY_SHARD;
    json_t *object;

    if (v->listed++ >= LISTED)
        return;
    if (whole_shard)
        wsl_buf_add_format(&v->text, "%s: %s\n", fault->file, fault->reason);
    else
        wsl_buf_add_format(&v->text, "%s record %llu%s%s: %s\n", fault->file,
                           (unsigned long long)fault->record, *fault->source ? ", " : "",
                           fault->source, fault->reason);
    object = json_pack("{s:s, s:o, s:o}", "shard", fault->file, "source",
                       wsl_ctl_json_text(fault->source, strlen(fault->source)), "reason",
                       wsl_ctl_json_text(fault->reason, strlen(fault->reason)));
    if (!whole_shard)
        json_object_set_new(object, "record", json_integer((json_int_t)fault->record));
    json_array_append_new(v->faults, object);
}

static int put(struct wsl_ctl *ctl, struct verify *v, const struct wsl_verify_result *result)
{
    int code = result->bad ? WSL_CTL_FAILED : WSL_CTL_DONE;
    char count[WSL_CTL_TEXT], bad[WSL_CTL_TEXT];

    wsl_ctl_count(result->records, count);
    wsl_ctl_count(result->bad, bad);
    if (ctl->format == WSL_CTL_JSON) {
        json_t *faults = v->faults;

        v->faults = NULL;
        return wsl_ctl_put_json(
            wsl_ctl_json_document("whole", json_boolean(!result->bad), "images",
                                  json_integer((json_int_t)result->records), "bad_count",
                                  json_integer((json_int_t)result->bad), "bad", faults, NULL),
            code);
    }
    if (result->bad > LISTED)
        wsl_buf_add_format(&v->text, "... and %llu more\n",
                           (unsigned long long)(result->bad - LISTED));
    if (result->bad)
        wsl_ctl_say("%s is damaged: %s of its %s records and shards are bad; import it again, or "
                    "copy those shards from an intact copy",
                    ctl->words[0], bad, count);
    else if (!ctl->quiet)
        wsl_buf_add_format(&v->text, "%s: OK, %s records verified\n", ctl->words[0], count);
    return wsl_ctl_put(&v->text, 0, code);
}

int wsl_ctl_data_verify(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct verify v = {.percent = -1, .faults = json_array()};
    struct wsl_verify_setup setup = {.on_fault = on_fault, .context = &v};
    struct wsl_verify_result result;
    struct wsl_err err = {0};
    int r, code;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv)) {
        json_decref(v.faults);
        return ctl->exit_code;
    }
    if (!ctl->quiet && wsl_ctl_width(STDERR_FILENO) > 0)
        setup.progress = on_progress;
    r = wsl_dataset_verify_all(ctl->words[0], &setup, &result, &err);
    if (v.percent >= 0)
        fputc('\n', stderr);
    if (r < 0) {
        wsl_buf_free(&v.text);
        code = wsl_ctl_fail(ctl, &err);
    } else {
        code = put(ctl, &v, &result);
    }
    json_decref(v.faults);
    return code;
}
