/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a trainer: its directory, its environment, its process in a session of its own.
 */
#include "daemon/worker/launch.h"

#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int wsl_launch_directory(const struct wsl_launch *launch, const struct wsl_trainer_key *key,
                         char ret[4096], struct wsl_err *err)
{
    char name[64];

    snprintf(name, sizeof name, "%" PRIu64 "-%u-%u", key->job, key->generation, key->rank);
    if (wsl_file_join(ret, 4096 - 64, launch->trainers, name) < 0) /* room for names within */
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", launch->trainers);
    return 0;
}

bool wsl_launch_key_of_name(const char *name, struct wsl_trainer_key *ret)
{
    struct wsl_trainer_key key;
    char again[64];

    if (sscanf(name, "%" SCNu64 "-%u-%u", &key.job, &key.generation, &key.rank) != 3)
        return false;
    snprintf(again, sizeof again, "%" PRIu64 "-%u-%u", key.job, key.generation, key.rank);
    if (strcmp(name, again) != 0)
        return false;
    *ret = key;
    return true;
}

/* A job's name is part of a path here: what the coordinator promised is checked. */
static bool fit_for_path(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n >= 1 && n <= 64 && name[n] == '\0';
}

static const char *uid_of(const Wsl__V1__Assignment *assignment)
{
    return assignment->identity ? assignment->identity->uid : "";
}

/* <job>-<name>-<the first 8 digits of its identity>: two clusters may share the place, and each has
 * its job 1. Jobs from before identities have none. */
static void checkpoint_name(const struct wsl_trainer_key *key,
                            const Wsl__V1__Assignment *assignment, char *ret, size_t size)
{
    const char *uid = uid_of(assignment);

    snprintf(ret, size, "%" PRIu64 "-%s%s%.8s", key->job, assignment->spec->name, uid[0] ? "-" : "",
             uid);
}

static int write_assignment(const struct wsl_launch *launch, const struct wsl_trainer_key *key,
                            const Wsl__V1__Assignment *assignment, const char *directory,
                            struct wsl_err *err)
{
    Wsl__V1__Assignment filled = *assignment; /* shares everything but the two directories */
    char name[160], checkpoints[4096], path[4096];
    uint8_t *bytes;
    size_t size;
    int r;

    checkpoint_name(key, assignment, name, sizeof name);
    if (wsl_file_join(checkpoints, sizeof checkpoints, launch->checkpoints, name) < 0 ||
        wsl_file_join(path, sizeof path, directory, "assignment.pb") < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", launch->checkpoints);
    filled.run_folder = (char *)directory;
    filled.checkpoint_folder = checkpoints;
    size = wsl__v1__assignment__get_packed_size(&filled);
    bytes = malloc(size + 1);
    if (!bytes)
        return wsl_fail(err, WSL_ENOMEM, "out of memory for the assignment");
    wsl__v1__assignment__pack(&filled, bytes);
    r = wsl_file_write_atomic(path, bytes, size, err);
    free(bytes);
    return r;
}

int wsl_launch_prepare(const struct wsl_launch *launch, const struct wsl_trainer_key *key,
                       const Wsl__V1__Assignment *assignment, const char *directory,
                       struct wsl_err *err)
{
    int r;

    if (!assignment || !assignment->spec)
        return wsl_fail(err, WSL_EINVAL, "the assignment is missing");
    if (assignment->job != key->job || assignment->generation != key->generation ||
        assignment->rank != key->rank || assignment->rank >= assignment->world)
        return wsl_fail(err, WSL_EINVAL, "the assignment is not of this job, generation and rank");
    if (!fit_for_path(assignment->spec->name))
        return wsl_fail(err, WSL_EINVAL, "the job's name cannot be part of a path");
    if (uid_of(assignment)[0] && !fit_for_path(uid_of(assignment)))
        return wsl_fail(err, WSL_EINVAL, "the job's identity cannot be part of a path");
    if (mkdir(directory, 0755) < 0)
        return wsl_fail_errno(err, "cannot make directory %s", directory);
    r = write_assignment(launch, key, assignment, directory, err);
    if (r == 0)
        r = wsl_file_sync_directory(launch->trainers, err);
    if (r < 0)
        wsl_file_remove_tree(directory, NULL);
    return r;
}

/* ---- the process ---- */

/* Names, or beginnings of names that end in '_'. Thread settings (OMP_...) are the trainer's. */
static const char *const kept[] = {"PATH", "LD_LIBRARY_PATH", "HOME",   "USER",    "LANG",  "LC_",
                                   "TZ",   "TMPDIR",          "CUDA_",  "NVIDIA_", "NCCL_", "GLOO_",
                                   "WSL_", "ASAN_",           "UBSAN_", "LSAN_",   "TSAN_"};

static bool is_kept(const char *variable)
{
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        size_t n = strlen(kept[i]);

        if (strncmp(variable, kept[i], n) == 0 && (kept[i][n - 1] == '_' || variable[n] == '='))
            return true;
    }
    return false;
}

#define VISIBLE       "CUDA_VISIBLE_DEVICES="
#define ARGUMENTS_MAX 16 /* beside those that the launch itself gives */

/* `visible`: "CUDA_VISIBLE_DEVICES=..." in the place of ours, or NULL. */
static char **small_environment(char *visible)
{
    size_t count = 0, used = 0;
    char **ret;

    while (environ && environ[count])
        count++;
    ret = calloc(count + 2, sizeof *ret);
    for (size_t i = 0; ret && i < count; i++)
        if (is_kept(environ[i]) &&
            !(visible && strncmp(environ[i], VISIBLE, sizeof VISIBLE - 1) == 0))
            ret[used++] = environ[i];
    if (ret && visible)
        ret[used] = visible;
    return ret;
}

static int set_actions(posix_spawn_file_actions_t *actions, const char *directory, const char *log)
{
    int r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);

    if (r == 0)
        r = posix_spawn_file_actions_addopen(actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, 1, 2);
    if (r == 0) /* ours are close-on-exec; this is for what we inherited ourselves */
        r = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    if (r == 0)
        r = posix_spawn_file_actions_addchdir_np(actions, directory);
    return r;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    int r;

    sigemptyset(&none);
    sigfillset(&all);
    r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                 POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attributes, &none);
    return r == 0 ? posix_spawnattr_setsigdefault(attributes, &all) : r;
}

static int spawn(const struct wsl_launch *launch, const char *directory, const char *log,
                 const char *gpu, pid_t *ret)
{
    char *arguments[ARGUMENTS_MAX + 4] = {(char *)launch->trainer, (char *)"--run-folder",
                                          (char *)directory};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char visible[sizeof VISIBLE + WSL_GPU_ID_SIZE];
    char **environment = small_environment(launch->assigns_gpus ? visible : NULL);
    int r;

    for (size_t i = 0; launch->arguments && launch->arguments[i]; i++) {
        assert(i < ARGUMENTS_MAX);
        arguments[3 + i] = (char *)launch->arguments[i];
    }
    snprintf(visible, sizeof visible, VISIBLE "%s", gpu);
    if (!environment)
        return ENOMEM;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    r = set_actions(&actions, directory, log);
    if (r == 0)
        r = set_attributes(&attributes);
    if (r == 0)
        r = posix_spawn(ret, launch->trainer, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    return r;
}

static int note(const char *directory, const struct wsl_process *process, struct wsl_err *err)
{
    char text[128], path[4096];
    int n = wsl_process_note_print(process, text);

    if (wsl_file_join(path, sizeof path, directory, "process") < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", directory);
    return wsl_file_write_atomic(path, text, (size_t)n, err);
}

int wsl_launch_spawn(const struct wsl_launch *launch, const char *directory, const char *gpu,
                     struct wsl_process *ret, int *ret_pidfd, struct wsl_err *err)
{
    struct wsl_process_stat stat = {0};
    char log[4096];
    pid_t pid;
    int fd, r;

    if (wsl_file_join(log, sizeof log, directory, "log") < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", directory);
    errno = spawn(launch, directory, log, gpu, &pid);
    if (errno != 0)
        return wsl_fail_errno(err, "cannot start %s", launch->trainer);
    /* Our child: its number stays its own until we wait for it. */
    fd = pidfd_open(pid, 0);
    if (fd < 0) {
        r = wsl_fail_errno(err, "cannot watch process %d", (int)pid);
    } else {
        r = wsl_process_stat_read(pid, &stat);
        if (r < 0)
            r = wsl_fail(err, r, "cannot read /proc/%d/stat", (int)pid);
    }
    if (r == 0) {
        *ret = (struct wsl_process){pid, stat.start_time};
        r = note(directory, ret, err);
    }
    if (r < 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        if (fd >= 0)
            close(fd);
        return r;
    }
    *ret_pidfd = fd;
    return 0;
}
