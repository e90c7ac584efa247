/* SPDX-License-Identifier: Apache-2.0
 *
 * tags map, noise: views of a data set.
 */
#include "client/wslctl/tags.h"

#include <stdio.h>

static struct wsl_view_setup setup_of(struct wsl_ctl *ctl, struct wsl_dataset *ds, const char *into,
                                      const char *name)
{
    wsl_ctl_catch_interrupt();
    return (struct wsl_view_setup){ds, ctl->words[0], into, name, wsl_ctl_interrupt_flag()};
}

int wsl_ctl_tags_map(struct wsl_ctl *ctl, int argc, char **argv)
{
    const char *into = NULL, *name = NULL, *file = NULL;
    struct wsl_vocabulary vocabulary = {0};
    struct wsl_view_result result = {0};
    struct wsl_view_setup setup;
    struct wsl_dataset *ds;
    struct wsl_err err = {0};
    char note[80] = "";
    int code;
    const struct wsl_arg rows[] = {
        {"vocabulary", 0, WSL_ARG_TEXT, &file, 0, 0, "FILE",
         "vocabulary file, made by 'wslctl tags vocabulary'"},
        {"into", 0, WSL_ARG_TEXT, &into, 0, 0, "DIR",
         "directory of the new view; it appears only when complete"},
        {"name", 'n', WSL_ARG_TEXT, &name, 0, 0, "NAME",
         "name of the view (default: last part of --into)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 3, argc, argv))
        return ctl->exit_code;
    if (!file || !into)
        return wsl_ctl_usage(ctl, "needs --vocabulary FILE and --into DIR");
    code = wsl_ctl_check_input(ctl, "vocabulary", file);
    if (code != WSL_CTL_DONE)
        return code;
    if (wsl_vocabulary_load(&vocabulary, file, &err) < 0)
        return wsl_ctl_fail(ctl, &err);
    if (!wsl_ctl_open_data(ctl, &ds)) {
        wsl_vocabulary_free(&vocabulary);
        return ctl->exit_code;
    }
    setup = setup_of(ctl, ds, into, name);
    code = wsl_view_map(&setup, &vocabulary, &result, &err);
    wsl_vocabulary_free(&vocabulary);
    wsl_dataset_close(ds);
    code = wsl_ctl_made(ctl, code, into, &err);
    if (result.unmapped)
        snprintf(note, sizeof note, "; %llu tags are not in the vocabulary",
                 (unsigned long long)result.unmapped);
    return code == WSL_CTL_DONE ? wsl_ctl_put_view(ctl, into, &result, note) : code;
}

int wsl_ctl_tags_noise(struct wsl_ctl *ctl, int argc, char **argv)
{
    const char *into = NULL, *name = NULL;
    struct wsl_view_result result = {0};
    struct wsl_view_setup setup;
    struct wsl_dataset *ds;
    struct wsl_err err = {0};
    uint64_t seed = 0;
    double p = -1;
    char note[80];
    int code;
    const struct wsl_arg rows[] = {
        {"p", 'p', WSL_ARG_REAL, &p, 0, 1, "SHARE", "probability that a training tag is replaced"},
        {"seed", 0, WSL_ARG_UINT, &seed, 0, 0, "N", "seed of the draws (default: 0)"},
        {"into", 0, WSL_ARG_TEXT, &into, 0, 0, "DIR",
         "directory of the new view; it appears only when complete"},
        {"name", 'n', WSL_ARG_TEXT, &name, 0, 0, "NAME",
         "name of the view (default: last part of --into)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 4, argc, argv))
        return ctl->exit_code;
    if (p < 0 || !into)
        return wsl_ctl_usage(ctl, "needs --p SHARE and --into DIR");
    if (!wsl_ctl_open_data(ctl, &ds))
        return ctl->exit_code;
    setup = setup_of(ctl, ds, into, name);
    code = wsl_view_noise(&setup, p, seed, &result, &err);
    wsl_dataset_close(ds);
    code = wsl_ctl_made(ctl, code, into, &err);
    snprintf(note, sizeof note, "; %llu of %llu training tags replaced",
             (unsigned long long)result.replaced,
             (unsigned long long)(result.replaced + result.kept));
    return code == WSL_CTL_DONE ? wsl_ctl_put_view(ctl, into, &result, note) : code;
}
