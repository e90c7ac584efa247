/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines: verbs and their groups, the options that all of them have, help, completion.
 */
#include "client/wslctl/wslctl.h"

#include "base/suggest.h"
#include "client/wslctl/complete.h"

#include <stdio.h>
#include <string.h>

enum { OWN_ROWS_MAX = 32 };

static const struct {
    const char *word;
    unsigned format;
} outputs[] = {{"table", WSL_CTL_TABLE},   {"wide", WSL_CTL_WIDE}, {"json", WSL_CTL_JSON},
               {"ndjson", WSL_CTL_NDJSON}, {"name", WSL_CTL_NAME}, {"yaml", WSL_CTL_YAML}};
enum { OUTPUTS = sizeof outputs / sizeof outputs[0] };

const char *wsl_ctl_format_word(unsigned bit)
{
    for (int i = 0; i < OUTPUTS; i++)
        if (outputs[i].format == bit)
            return outputs[i].word;
    return NULL;
}

void wsl_ctl_common_rows(struct wsl_ctl *ctl, struct wsl_arg rows[WSL_CTL_COMMON_ROWS])
{
    rows[0] = (struct wsl_arg){.name = "server",
                               .type = WSL_ARG_TEXT,
                               .target = &ctl->server,
                               .value = "ADDR",
                               .help = "the coordinator, HOST:PORT (default: WSL_SERVER, else "
                                       "127.0.0.1:7070)"};
    rows[1] = (struct wsl_arg){.name = "quiet",
                               .letter = 'q',
                               .type = WSL_ARG_FLAG,
                               .target = &ctl->quiet,
                               .help = "print only what was asked for: ids, no notes"};
    rows[2] = (struct wsl_arg){.name = "no-color",
                               .type = WSL_ARG_FLAG,
                               .target = &ctl->no_color,
                               .help = "no colours, as with NO_COLOR in the environment"};
    rows[3] = (struct wsl_arg){.name = "output",
                               .letter = 'o',
                               .type = WSL_ARG_TEXT,
                               .target = &ctl->output,
                               .value = "FORMAT",
                               .help = "output format"};
}

static int choose_format(struct wsl_ctl *ctl)
{
    char known[64] = "";

    ctl->format = WSL_CTL_TABLE;
    if (!ctl->output)
        return 0;
    for (int i = 0; i < OUTPUTS; i++) {
        if (!(ctl->verb->formats & outputs[i].format))
            continue;
        if (strcmp(ctl->output, outputs[i].word) == 0) {
            ctl->format = outputs[i].format;
            return 0;
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", known[0] ? ", " : "",
                 outputs[i].word);
    }
    if (!known[0])
        return wsl_ctl_usage(ctl, "%s has no -o", ctl->verb->name);
    return wsl_ctl_usage(ctl, "-o %s: must be one of %s", ctl->output, known);
}

/* What was meant by an argument that is one too many, when it is the name of an option. */
static const char *meant_option(const struct wsl_args *args, const char *word)
{
    for (int i = 0; i < args->row_count; i++)
        if (wsl_suggest_distance(word, args->rows[i].name) <= (strlen(word) > 4))
            return args->rows[i].name;
    return NULL;
}

static int check_words(struct wsl_ctl *ctl, const struct wsl_args *args)
{
    const struct wsl_ctl_verb *verb = ctl->verb;
    const char *unexpected, *option;

    if (ctl->word_count < verb->words_min)
        return wsl_ctl_usage(ctl, "%s needs %s", verb->name, verb->words);
    if (verb->words_max < 0 || ctl->word_count <= verb->words_max)
        return 0;
    unexpected = ctl->words[verb->words_max];
    option = meant_option(args, unexpected);
    if (option)
        return wsl_ctl_usage(ctl, "unexpected argument '%s' (did you mean '--%s'?)", unexpected,
                             option);
    if (verb->words_max == 0)
        return wsl_ctl_usage(ctl, "unexpected argument '%s': %s takes none", unexpected,
                             verb->name);
    return wsl_ctl_usage(ctl, "unexpected argument '%s': %s takes only %.*s", unexpected,
                         verb->name, (int)strcspn(verb->words + (verb->words[0] == '['), "]"),
                         verb->words + (verb->words[0] == '['));
}

/* What a verb's table row and formats become in its help. */
struct help {
    char usage[160], about[3000], formats[80];
};

static void fill_help(const struct wsl_ctl *ctl, struct help *help)
{
    const struct wsl_ctl_verb *verb = ctl->verb;
    size_t used = (size_t)snprintf(help->formats, sizeof help->formats, "output format:");

    snprintf(help->usage, sizeof help->usage, "%s %s%s%s [options]", ctl->prefix, verb->name,
             verb->words[0] ? " " : "", verb->words);
    snprintf(help->about, sizeof help->about, "%s%s%s\n\nExample:\n%s", verb->about,
             verb->more ? "\n\n" : "", verb->more ? verb->more : "", verb->example);
    for (int i = 0; i < OUTPUTS; i++)
        if ((verb->formats & outputs[i].format) && used < sizeof help->formats)
            used += (size_t)snprintf(help->formats + used, sizeof help->formats - used, "%s %s",
                                     help->formats[used - 1] == ':' ? "" : ",", outputs[i].word);
}

bool wsl_ctl_parse(struct wsl_ctl *ctl, const struct wsl_arg *rows, int count, int argc,
                   char **argv)
{
    struct wsl_arg all[OWN_ROWS_MAX + WSL_CTL_COMMON_ROWS];
    struct help help;
    struct wsl_args args = {.usage = help.usage, .about = help.about, .rows = all};
    struct wsl_err err = {0};
    int r;

    if (count > 0)
        memcpy(all, rows, (size_t)count * sizeof *rows);
    wsl_ctl_common_rows(ctl, all + count);
    fill_help(ctl, &help);
    all[count + 3].help = help.formats;
    args.row_count = count + WSL_CTL_COMMON_ROWS - (ctl->verb->formats ? 0 : 1);
    if (ctl->completing) {
        ctl->exit_code = wsl_ctl_complete_words(ctl, all, args.row_count, argc, argv);
        return false;
    }
    r = wsl_args_parse(&args, argc, argv, &ctl->word_count, &err);
    if (r == WSL_ARGS_RUN) {
        ctl->words = argv + argc - ctl->word_count;
        r = check_words(ctl, &args);
        if (r == 0)
            r = choose_format(ctl);
        ctl->exit_code = r;
        return r == 0;
    }
    ctl->exit_code = WSL_CTL_DONE;
    if (r < 0) {
        wsl_ctl_say("%s: %s", ctl->verb->name, err.text);
        ctl->exit_code = WSL_CTL_USAGE;
    }
    return false;
}

int wsl_ctl_dispatch(struct wsl_ctl *ctl, const struct wsl_ctl_verb *verbs, size_t count, int argc,
                     char **argv)
{
    const char *best = NULL;
    size_t distance = SIZE_MAX;

    if (ctl->completing && argc == 2)
        return wsl_ctl_complete_verbs(verbs, count, argv[1]);
    for (size_t i = 0; i < count; i++) {
        const struct wsl_ctl_verb *verb = &verbs[i];

        if (strcmp(verb->name, argv[1]) == 0 ||
            (verb->alias && strcmp(verb->alias, argv[1]) == 0)) {
            ctl->verb = verb;
            return verb->run(ctl, argc - 1, argv + 1);
        }
        wsl_suggest_try(argv[1], verb->name, &best, &distance);
        if (verb->alias)
            wsl_suggest_try(argv[1], verb->alias, &best, &distance);
    }
    ctl->verb = NULL;
    if (argv[1][0] == '-')
        return wsl_ctl_usage(ctl, "unexpected option '%s': a command comes first", argv[1]);
    if (best)
        return wsl_ctl_usage(ctl, "unknown command '%s' (did you mean '%s'?)", argv[1], best);
    return wsl_ctl_usage(ctl, "unknown command '%s'", argv[1]);
}

void wsl_ctl_print_verbs(const struct wsl_ctl_verb *verbs, size_t count)
{
    int width = 0;

    for (size_t i = 0; i < count; i++)
        if ((int)strlen(verbs[i].name) > width)
            width = (int)strlen(verbs[i].name);
    for (size_t i = 0; i < count; i++)
        wsl_args_print_row(verbs[i].name, width, verbs[i].about);
}

int wsl_ctl_group(struct wsl_ctl *ctl, const struct wsl_ctl_verb *verbs, size_t count, int argc,
                  char **argv)
{
    const struct wsl_ctl_verb *group = ctl->verb;
    char prefix[32], names[200] = "";

    snprintf(prefix, sizeof prefix, "wslctl %s", group->name);
    ctl->prefix = prefix;
    if (argc > 1 && strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "-h") != 0)
        return wsl_ctl_dispatch(ctl, verbs, count, argc, argv);
    if (argc < 2) {
        for (size_t i = 0; i < count; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                     i == 0           ? ""
                     : i + 1 == count ? " or "
                                      : ", ",
                     verbs[i].name);
        ctl->verb = NULL;
        return wsl_ctl_usage(ctl, "%s needs a command: %s", group->name, names);
    }
    printf("Usage: %s COMMAND [options]\n\n", prefix);
    wsl_args_print_text(group->about);
    printf("\nCommands:\n");
    wsl_ctl_print_verbs(verbs, count);
    printf("\nExample:\n%s\n\n'%s COMMAND --help' says more.\n", group->example, prefix);
    return WSL_CTL_DONE;
}
