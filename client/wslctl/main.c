/* SPDX-License-Identifier: Apache-2.0
 *
 * wslctl: the command line of the system.
 */
#include "base/file.h"
#include "client/wslctl/complete.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = WSL_CTL_TABLE | WSL_CTL_WIDE | WSL_CTL_JSON | WSL_CTL_NAME };

static const struct wsl_ctl_verb verbs[] = {
    {"run", NULL, "[FILE]", 0, 1, 0, "Run a job on this machine, to its end.",
     "Nothing has to be started first. Checkpoints go to runs/NAME/checkpoints below the current\n"
     "directory, a link runs/NAME/final to the last one of a job that succeeded; 'init: job:NAME'\n"
     "means the run of that name beside this one. Ctrl-C stops after a step and a checkpoint, and\n"
     "the same command resumes there.",
     "  wslctl run job.yaml\n"
     "  wslctl run job.yaml --set name=wider --set model.width=8",
     wsl_ctl_run},
    {"submit", NULL, "", 0, 0, WSL_CTL_TABLE | WSL_CTL_JSON | WSL_CTL_NAME | WSL_CTL_YAML,
     "Give a job file to the coordinator.",
     "Relative paths in the file (data, init) are taken from the current folder. Once this "
     "command\n"
     "has printed the job's id, the job survives any crash.",
     "  wslctl submit -f job.yaml --set batch=128 --set optimizer.learning_rate=0.05\n"
     "  id=$(wslctl submit -q -f job.yaml) && wslctl watch $id",
     wsl_ctl_submit},
    {"list", "ls", "", 0, 0, JOBS, "List jobs, newest first.", NULL,
     "  wslctl list --state queued,running\n  wslctl list -o json | jq '.jobs[].name'",
     wsl_ctl_list},
    {"get", NULL, "JOB...", 1, -1, JOBS | WSL_CTL_YAML, "Show jobs, one line each.",
     "JOB is an id or a name (then the newest job of that name). -o yaml prints the job file.",
     "  wslctl get clipart-tags -o json", wsl_ctl_get},
    {"describe", "show", "JOB", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Show everything about a job: where it runs, its settings, what happened and why.", NULL,
     "  wslctl describe 7", wsl_ctl_describe},
    {"logs", NULL, "JOB", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON, "Print what a job's trainers wrote.",
     "Ctrl-C ends the following, not the job.", "  wslctl logs -f --rank 0 --tail 20 clipart-tags",
     wsl_ctl_logs},
    {"watch", NULL, "JOB", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Follow a job to its end: one live line on a terminal, plain lines elsewhere.",
     "The exit code tells the outcome. Ctrl-C ends the watching, not the job. When the "
     "coordinator\n"
     "goes away, watch waits for it to come back (--retry).",
     "  wslctl watch clipart-tags && echo trained", wsl_ctl_watch},
    {"wait", NULL, "JOB...", 1, -1, 0,
     "Wait silently until jobs have ended; the exit code tells the outcome.",
     "With several jobs, the exit code is that of the first that did not succeed.",
     "  wslctl wait --timeout 3600 clipart-tags", wsl_ctl_wait},
    {"cancel", NULL, "JOB...", 1, -1, WSL_CTL_TABLE | WSL_CTL_JSON | WSL_CTL_NAME,
     "Stop jobs at their next step. Cancelling a job that has ended changes nothing.", NULL,
     "  wslctl cancel clipart-tags --reason 'wrong data set'", wsl_ctl_cancel},
    {"nodes", NULL, "[NODE]", 0, 1, JOBS, "List the worker machines, or show one.", NULL,
     "  wslctl nodes -o wide", wsl_ctl_nodes},
    {"data", NULL, "import|show|stats|sample|export|merge|split|verify", 0, -1, 0,
     "Make and look at data sets on this machine; needs no coordinator.", NULL,
     "  wslctl data import --folder pictures/ --into /data/mine\n  wslctl data show /data/mine",
     wsl_ctl_data},
    {"tags", NULL, "count|vocabulary|segment|map|noise|curve|why|audit", 0, -1, 0,
     "Look at a data set's tags, choose among them, and see how often they are drawn.", NULL,
     "  wslctl tags count /data/mine\n  wslctl tags curve /data/mine --threshold 1000",
     wsl_ctl_tags},
    {"model", NULL, "describe|check|export", 0, -1, 0,
     "Look at models and files of weights on this machine; needs no coordinator.", NULL,
     "  wslctl model describe resnext101_32x8d --batch 24\n  wslctl model check "
     "weights.safetensors",
     wsl_ctl_model},
    {"explain", NULL, "[FIELD...]", 0, -1, WSL_CTL_TABLE | WSL_CTL_JSON | WSL_CTL_NAME,
     "Say what the fields of a job file mean.", NULL,
     "  wslctl explain\n  wslctl explain optimizer sampling.threshold", wsl_ctl_explain},
    {"version", NULL, "", 0, 0, WSL_CTL_TABLE | WSL_CTL_JSON, "Print the version.", NULL,
     "  wslctl version", wsl_ctl_version},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static atomic_bool interrupted; /* set by the signal handler, which can reach nothing else */

static void on_interrupt(int number)
{
    (void)number;
    atomic_store(&interrupted, true);
}

void wsl_ctl_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool wsl_ctl_interrupted(void)
{
    return atomic_load(&interrupted);
}

const atomic_bool *wsl_ctl_interrupt_flag(void)
{
    return &interrupted;
}

static atomic_int interrupts;

static void on_counted(int number)
{
    (void)number;
    atomic_fetch_add(&interrupts, 1);
}

void wsl_ctl_count_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_counted}, hangup;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup's wish */
        sigaction(SIGHUP, &action, NULL);
}

int wsl_ctl_interrupt_count(void)
{
    return atomic_load(&interrupts);
}

static void print_help(void)
{
    printf("Usage: wslctl [--server ADDR] COMMAND [options]\n\n"
           "Trains networks on weakly labelled images: jobs, machines, data sets.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < VERBS; i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].about);
    printf(
        "\n'wslctl COMMAND --help' says more. A JOB is an id or a name.\n\n"
        "Options:\n"
        "  --server ADDR   the coordinator, HOST:PORT (default: WSL_SERVER, else 127.0.0.1:7070)\n"
        "  --no-color      no colours; so does NO_COLOR\n"
        "  -h, --help      print this and exit\n"
        "  --version       print the version and exit\n\n"
        "Exit codes:\n"
        "  0  done; the job succeeded      3  the job was cancelled\n"
        "  1  failure; the job failed      5  the coordinator cannot be reached\n"
        "  2  wrong command line or        6  timeout\n"
        "     job file                   130  interrupted (Ctrl-C)\n");
}

/* The options before the command: only those of the whole program. Returns the index of the
 * command, argc when there is none, or -1 after saying what is wrong. */
static int parse_globals(struct wsl_ctl *ctl, int argc, char **argv)
{
    int i = 1;

    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--server") == 0 && i + 1 < argc) {
            ctl->server = argv[++i];
        } else if (strncmp(argv[i], "--server=", 9) == 0) {
            ctl->server = argv[i] + 9;
        } else if (strcmp(argv[i], "--no-color") == 0) {
            ctl->no_color = true;
        } else if ((strcmp(argv[i], "-o") == 0 || strcmp(argv[i], "--output") == 0) &&
                   i + 1 < argc) {
            ctl->output = argv[++i];
        } else if (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--quiet") == 0) {
            ctl->quiet = true;
        } else {
            wsl_ctl_usage(ctl, "unknown option %s before the command", argv[i]);
            return -1;
        }
    }
    return i;
}

static int run_help(struct wsl_ctl *ctl, int argc, char **argv)
{
    char help[] = "--help";
    char *verb_argv[] = {argv[0], argc > 1 ? argv[1] : NULL, help, NULL};

    if (argc > 1)
        return wsl_ctl_dispatch(ctl, verbs, VERBS, 3, verb_argv);
    print_help();
    return WSL_CTL_DONE;
}

static bool is_any(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* argv[0] is "__complete", then a command line up to the word at the cursor. */
static int complete(struct wsl_ctl *ctl, int argc, char **argv)
{
    int first = 1, code;

    ctl->completing = true;
    if (argc > 2)
        first = parse_globals(ctl, argc - 1, argv); /* the last word may be half an option */
    if (first < 0)
        return WSL_CTL_USAGE;
    if (first == argc - 1 && argv[first][0] == '-')
        return wsl_ctl_complete_globals(argv[first]);
    if (strcmp(argv[first], "help") == 0 && first < argc - 1)
        first++;
    code = wsl_ctl_dispatch(ctl, verbs, VERBS, argc - first + 1, argv + first - 1);
    wsl_ctl_disconnect(ctl);
    return code;
}

int main(int argc, char **argv)
{
    const char *server = getenv("WSL_SERVER");
    struct wsl_ctl ctl = {.server = server && server[0] ? server : "127.0.0.1:7070",
                          .prefix = "wslctl"};
    int first, code;

    signal(SIGPIPE, SIG_DFL); /* `wslctl logs | head` ends in silence */
    wsl_file_limit_is_an_error();
    if (argc > 1 && is_any(argv[1], "-h", "--help")) {
        print_help();
        return WSL_CTL_DONE;
    }
    if (argc > 1 && is_any(argv[1], "--version", "-V")) {
        printf("wslctl %s\n", WSL_VERSION);
        return WSL_CTL_DONE;
    }
    if (argc > 2 && strcmp(argv[1], "__complete") == 0)
        return complete(&ctl, argc - 1, argv + 1);
    first = parse_globals(&ctl, argc, argv);
    if (first < 0)
        return WSL_CTL_USAGE;
    if (first == argc)
        return wsl_ctl_usage(&ctl, "no command");
    if (strcmp(argv[first], "help") == 0)
        code = run_help(&ctl, argc - first, argv + first);
    else
        code = wsl_ctl_dispatch(&ctl, verbs, VERBS, argc - first + 1, argv + first - 1);
    wsl_ctl_disconnect(&ctl);
    return code;
}
