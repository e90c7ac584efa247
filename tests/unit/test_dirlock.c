/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks of directories and files, also where locking fails: flock(2) is a fake here that fails when
 * told to.
 */
#include "base/dirlock.h"
#include "base/file.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/dataset/staging_dir.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

static int fail_with; /* errno of the next calls; 0: the real one */

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);

int __wrap_flock(int fd, int operation)
{
    if (fail_with == 0)
        return __real_flock(fd, operation);
    errno = fail_with;
    return -1;
}

static char directory[64];

static int make(void **state)
{
    (void)state;
    fail_with = 0;
    strcpy(directory, "/tmp/wsl-test-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int clear(void **state)
{
    (void)state;
    fail_with = 0;
    return wsl_file_remove_tree(directory, NULL);
}

static const char *in(const char *name)
{
    static char path[160];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static void a_lock_is_held_until_it_is_closed(void **state)
{
    struct wsl_err err;
    int one, other;

    (void)state;
    assert_int_equal(wsl_dirlock_take(directory, &one, &err), 0);
    assert_int_equal(wsl_dirlock_take(directory, &other, &err), WSL_EEXIST);
    assert_non_null(strstr(err.text, "locked by another process"));
    close(one);
    assert_int_equal(wsl_dirlock_take(directory, &other, &err), 0);
    close(other);
    assert_int_equal(wsl_dirlock_take(in("none"), &one, &err), WSL_ENOENT);
}

/* The reason is the system's, and never that somebody else is there. */
static void a_lock_that_cannot_be_had_says_why(void **state)
{
    static const struct {
        int number, code;
    } rows[] = {{ENOLCK, WSL_EUNSUPPORTED},
                {EBADF, WSL_EUNSUPPORTED},
                {EOPNOTSUPP, WSL_EUNSUPPORTED},
                {EIO, WSL_EIO}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wsl_staging_dir staging;
        struct wsl_err err;
        int fd = -1;

        fail_with = rows[i].number;
        assert_int_equal(wsl_dirlock_take(directory, &fd, &err), rows[i].code);
        assert_non_null(strstr(err.text, strerror(rows[i].number)));
        assert_non_null(strstr(err.text, directory));
        assert_int_equal(wsl_file_lock(in("file"), &fd, &err), rows[i].code);
        assert_non_null(strstr(err.text, strerror(rows[i].number)));
        assert_int_equal(wsl_staging_dir_set(&staging, in("output"), &err), 0);
        assert_int_equal(wsl_staging_dir_open(&staging, "export", &err), rows[i].code);
        assert_non_null(strstr(err.text, strerror(rows[i].number)));
        assert_null(strstr(err.text, "another"));
        assert_int_equal(fd, -1);
        wsl_staging_dir_discard(&staging); /* not open: what is there is not ours */
        assert_true(wsl_file_exists(in("output.partial")));
    }
}

static int write_checkpoint(struct wsl_err *err)
{
    float values[4] = {1, 2, 3, 4};
    struct wsl_named_tensor tensor = {"fc.bias", 1, {4}, values};
    struct wsl_checkpoint_info info = {.job = 1,
                                       .job_name = "job",
                                       .step = 5,
                                       .batch = 1,
                                       .fingerprint = "00000000000000000000000000000000",
                                       .stages = 1,
                                       .depths = {1},
                                       .groups = 1,
                                       .width = 8,
                                       .image_size = 32,
                                       .classes = 4};
    const struct wsl_checkpoint_contents contents = {&info, &tensor, NULL, 1, 0};
    char where[4096];
    uint64_t bytes;

    return wsl_checkpoint_write(in("checkpoints"), &contents, 2, where, &bytes, err);
}

/* Where there are no locks checkpoints are written all the same: a job must not die of that. */
static void checkpoints_do_without_locks_where_there_are_none(void **state)
{
    struct wsl_err err = {0};
    int fd;

    (void)state;
    fail_with = ENOLCK;
    if (write_checkpoint(&err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(count_entries(in("checkpoints")), 1);
    fail_with = EIO;
    assert_int_equal(write_checkpoint(&err), WSL_EIO);
    assert_non_null(strstr(err.text, strerror(EIO)));
    fail_with = 0;
    assert_int_equal(wsl_dirlock_take(in("checkpoints"), &fd, &err), 0);
    assert_int_equal(write_checkpoint(&err), WSL_EAGAIN);
    assert_non_null(strstr(err.text, "another process writes checkpoints"));
    close(fd);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(a_lock_is_held_until_it_is_closed),
        CASE(a_lock_that_cannot_be_had_says_why),
        CASE(checkpoints_do_without_locks_where_there_are_none),
    };

    return cmocka_run_group_tests_name("dirlock", tests, NULL, NULL);
}
