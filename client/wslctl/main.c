/* SPDX-License-Identifier: Apache-2.0
 *
 * wslctl: the command line of the system.
 */
#include "client/wslctl/complete.h"

#include "base/file.h"
#include "base/rlimit.h"
#include "base/stdfds.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LISTS = WSL_CTL_JSON | WSL_CTL_NDJSON | WSL_CTL_NAME,
    JOBS = WSL_CTL_TABLE | WSL_CTL_WIDE | WSL_CTL_YAML | LISTS,
    NODES = WSL_CTL_TABLE | WSL_CTL_WIDE | LISTS,
};

static const struct wsl_ctl_verb verbs[] = {
    {"run", NULL, "[FILE]", 0, 1, 0, "Run a job on this machine, to its end.",
     "Nothing has to be started first. Checkpoints go to runs/NAME/checkpoints in the current "
     "directory, and runs/NAME/final is a link to the last one of a job that succeeded. 'init: "
     "job:NAME' means the run of that name beside this one. Ctrl-C stops after a step and a "
     "checkpoint; the same command resumes there.",
     "  wslctl run job.yaml\n"
     "  wslctl run job.yaml --set name=wider --set model.width=8",
     wsl_ctl_run},
    {"submit", NULL, "FILE...", 0, -1, WSL_CTL_TABLE | WSL_CTL_YAML | LISTS,
     "Submit job files to the coordinator.",
     "FILE is a job file in YAML, '-' is standard input. Relative paths in it (data, init) start "
     "from the current directory. A job is refused when the workers do not have them "
     "(--no-data-check: not looked at).\n"
     "Once this command has printed a job's id, the job survives any crash. Of several files all "
     "are "
     "read first, and a mistake in one submits none; then each is accepted or refused by itself, "
     "and "
     "the exit code tells of the first that was refused.",
     "  wslctl submit job.yaml --set batch=128 --set optimizer.learning_rate=0.05\n"
     "  id=$(wslctl submit -q job.yaml) && wslctl watch $id",
     wsl_ctl_submit},
    {"list", "ls", "", 0, 0, JOBS, "List jobs, newest first.",
     "On a terminal, long texts are shortened and columns are left out where they do not fit: "
     "columns without a value, then HIT@1, KIND, LOSS, AGE, STEP and REASON. -o wide prints "
     "everything.",
     "  wslctl list --state queued,running\n  wslctl list -o json | jq '.jobs[].name'",
     wsl_ctl_list},
    {"get", NULL, "JOB...", 1, -1, JOBS, "Show jobs, one line each.",
     "JOB is an id or a name (then the newest job of that name). -o yaml prints the job file.",
     "  wslctl get clipart-tags -o json | jq '.jobs[0].state'", wsl_ctl_get},
    {"describe", "show", "JOB", 1, 1, WSL_CTL_TABLE | WSL_CTL_WIDE | WSL_CTL_JSON,
     "Show everything about a job: where it runs, its settings, what happened and why.",
     "On a terminal, long events are shortened, and more than 16 trainers are summed up by worker; "
     "-o wide prints everything.",
     "  wslctl describe 7", wsl_ctl_describe},
    {"logs", NULL, "JOB", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON | WSL_CTL_NDJSON,
     "Print the output of a job's trainers.",
     "Each line begins with the rank it is from. Of a job with more than 16 ranks only rank 0's "
     "output is printed unless --rank or --all-ranks is given. With -f, Ctrl-C stops following; "
     "the job "
     "continues.",
     "  wslctl logs -f --rank 0 --tail 20 clipart-tags", wsl_ctl_logs},
    {"watch", NULL, "JOB", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON | WSL_CTL_NDJSON,
     "Follow a job to its end: one live line on a terminal, plain lines elsewhere.",
     "The exit code is the job's outcome. Ctrl-C stops watching; the job continues. While the "
     "coordinator cannot be reached, from the start or later, watch retries (--retry).",
     "  wslctl watch clipart-tags && echo trained", wsl_ctl_watch},
    {"wait", NULL, "JOB...", 1, -1, 0,
     "Wait silently until jobs have ended; the exit code is the outcome.",
     "With several jobs, the exit code is that of the first that did not succeed.",
     "  wslctl wait --timeout 3600 clipart-tags", wsl_ctl_wait},
    {"cancel", NULL, "JOB...", 1, -1, WSL_CTL_TABLE | LISTS,
     "Stop jobs at their next step. Cancelling a job that has ended changes nothing.", NULL,
     "  wslctl cancel clipart-tags --reason 'wrong data set'", wsl_ctl_cancel},
    {"nodes", NULL, "[NODE | remove NODE...]", 0, -1, NODES,
     "List the worker machines, show one, or remove lost ones from the list.",
     "A lost worker stays in the list for a day (wsl-coordinator --worker-forget-ms) unless it is "
     "removed; one that is connected cannot be.\n"
     "On a terminal, columns that do not fit are left out: those without a value, then MEMORY, "
     "CPUS, GPUS, SEEN, JOBS and REASON. -o wide prints everything.",
     "  wslctl nodes -o wide\n  wslctl nodes remove gpu7", wsl_ctl_nodes},
    {"data", NULL, "import|show|stats|sample|export|merge|split|verify", 0, -1, 0,
     "Make and inspect data sets on this machine; needs no coordinator.", NULL,
     "  wslctl data import --directory photos/ --into /data/mine\n  wslctl data show /data/mine",
     wsl_ctl_data},
    {"tags", NULL, "count|vocabulary|segment|map|noise|curve|why|audit", 0, -1, 0,
     "Count a data set's tags, choose among them, and see how often they are sampled.", NULL,
     "  wslctl tags count /data/mine\n  wslctl tags curve /data/mine --threshold 1000",
     wsl_ctl_tags},
    {"model", NULL, "describe|check|export", 0, -1, 0,
     "Inspect models and weight files on this machine; needs no coordinator.", NULL,
     "  wslctl model describe resnext101_32x8d --batch 24\n"
     "  wslctl model check weights.safetensors",
     wsl_ctl_model},
    {"explain", NULL, "[FIELD...]", 0, -1, WSL_CTL_TABLE | LISTS,
     "Explain the fields of a job file.",
     "FIELD is a field, a section, a common name for one (lr, gpus) or any word: then the fields "
     "that have it in their name or explanation are listed.",
     "  wslctl explain\n  wslctl explain optimizer sampling.threshold\n  wslctl explain lr",
     wsl_ctl_explain},
    {"version", NULL, "", 0, 0, WSL_CTL_TABLE | WSL_CTL_JSON, "Print the version.", NULL,
     "  wslctl version", wsl_ctl_version},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void print_help(void)
{
    printf("Usage: wslctl [--server ADDR] COMMAND [options]\n\n"
           "Trains networks on weakly labelled images: jobs, machines, data sets.\n\n"
           "Commands:\n");
    wsl_ctl_print_verbs(verbs, VERBS);
    printf("\n'wslctl COMMAND --help' says more. A JOB is an id or a name.\n\n"
           "Options:\n"
           "  --server ADDR   the coordinator, HOST:PORT (default: WSL_SERVER, else\n"
           "                  127.0.0.1:7070)\n"
           "  --no-color      no colours, as with NO_COLOR in the environment\n"
           "  -h, --help      print this and exit\n"
           "  --version       print the version and exit\n\n"
           "Exit codes:\n"
           "  0  done; the job succeeded      3  the job was cancelled\n"
           "  1  failure; the job failed      5  the coordinator cannot be reached\n"
           "  2  wrong command line or        6  timeout\n"
           "     job file                   130  interrupted (Ctrl-C)\n");
}

static bool is_any(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* Is the option's value the next argument? */
static bool takes_next(const struct wsl_arg *rows, const char *option)
{
    for (int i = 0; i < WSL_CTL_COMMON_ROWS; i++) {
        bool named = strncmp(option, "--", 2) == 0 && strcmp(option + 2, rows[i].name) == 0;
        bool lettered = rows[i].letter && option[1] == rows[i].letter && option[2] == '\0';

        if (rows[i].type != WSL_ARG_FLAG && (named || lettered))
            return true;
    }
    return false;
}

/* The options before the command: those that every command has. The index of the command, or argc
 * when there is none; less than 0: leave with ctl->exit_code. */
static int parse_globals(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_arg rows[WSL_CTL_COMMON_ROWS];
    const struct wsl_args args = {.usage = "wslctl [--server ADDR] COMMAND [options]",
                                  .about = "",
                                  .rows = rows,
                                  .row_count = WSL_CTL_COMMON_ROWS};
    struct wsl_err err = {0};
    int first = 1, words;

    wsl_ctl_common_rows(ctl, rows);
    for (; first < argc && argv[first][0] == '-'; first++) {
        ctl->exit_code = WSL_CTL_DONE;
        if (is_any(argv[first], "-h", "--help")) {
            print_help();
            return -1;
        }
        if (is_any(argv[first], "--version", "-V")) {
            printf("wslctl %s\n", WSL_VERSION);
            return -1;
        }
        if (takes_next(rows, argv[first]) && first + 1 < argc)
            first++;
    }
    if (wsl_args_parse(&args, first, argv, &words, &err) == WSL_ARGS_RUN)
        return first;
    wsl_ctl_say("%s", err.text);
    ctl->exit_code = WSL_CTL_USAGE;
    return -1;
}

/* "wslctl help data import": as "wslctl data import --help". */
static int run_help(struct wsl_ctl *ctl, int argc, char **argv)
{
    char help[] = "--help";
    char *verb_argv[] = {argv[0], argc > 1 ? argv[1] : help, argc > 2 ? argv[2] : help, help, NULL};

    if (argc > 3)
        return wsl_ctl_usage(ctl, "unexpected argument '%s'", argv[3]);
    if (argc > 1)
        return wsl_ctl_dispatch(ctl, verbs, VERBS, argc > 2 ? 4 : 3, verb_argv);
    print_help();
    return WSL_CTL_DONE;
}

/* argv[0] is "__complete", then a command line up to the word at the cursor. */
static int complete(struct wsl_ctl *ctl, int argc, char **argv)
{
    int first = 1;

    ctl->completing = true;
    if (argc > 2)
        first = parse_globals(ctl, argc - 1, argv); /* the last word may be half an option */
    if (first < 0)
        return WSL_CTL_USAGE;
    if (first == argc - 1 && argv[first][0] == '-')
        return wsl_ctl_complete_globals(argv[first]);
    if (strcmp(argv[first], "help") == 0 && first < argc - 1)
        first++;
    return wsl_ctl_dispatch(ctl, verbs, VERBS, argc - first + 1, argv + first - 1);
}

static int run(struct wsl_ctl *ctl, int argc, char **argv)
{
    int first;

    if (argc > 2 && strcmp(argv[1], "__complete") == 0)
        return complete(ctl, argc - 1, argv + 1);
    first = parse_globals(ctl, argc, argv);
    if (first < 0)
        return ctl->exit_code;
    if (first == argc)
        return wsl_ctl_usage(ctl, "no command");
    if (strcmp(argv[first], "help") == 0)
        return run_help(ctl, argc - first, argv + first);
    return wsl_ctl_dispatch(ctl, verbs, VERBS, argc - first + 1, argv + first - 1);
}

int main(int argc, char **argv)
{
    const char *server = getenv("WSL_SERVER");
    struct wsl_ctl ctl = {.server = server && server[0] ? server : "127.0.0.1:7070",
                          .prefix = "wslctl"};
    int code;

    wsl_stdfds_open();
    signal(SIGPIPE, SIG_DFL); /* `wslctl logs | head` ends in silence */
    wsl_rlimit_file_size_is_an_error();
    code = wsl_ctl_flush(run(&ctl, argc, argv));
    wsl_ctl_disconnect(&ctl);
    return code;
}
