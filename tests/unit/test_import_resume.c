/* SPDX-License-Identifier: Apache-2.0
 *
 * Imports that are killed and gone on with: what comes out is, byte for byte, what an undisturbed
 * one makes.
 */
#include "import_world.h"
#include "tar_world.h"

#include "base/file.h"
#include "base/rng.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 10, FILES = 160, SHARDS_MAX = 32 };

/* Pictures of all ways through an import: kept, made anew, damaged, missing, equal. */
static void put_world(struct fixture *f)
{
    char name[32];

    for (int i = 0; i < FILES; i++) {
        bool png = i % 4 == 3;

        snprintf(name, sizeof name, "n%03d.%s", i, png ? "png" : "jpg");
        if (png)
            put_png(f, name, draw(100, 100, (uint64_t)i, true));
        else
            put_jpeg(f, name, draw(150, 120, (uint64_t)i, true));
        add_line(f, name, i % 3 ? "dog" : "cat,bird");
    }
    put_bytes(f, "bad.jpg", "no picture", 10);
    add_line(f, "bad.jpg", "dog");
    add_line(f, "gone.jpg", "dog");
    add_line(f, "n000.jpg", "twice");
    put_bytes(f, "list.tsv", f->lines.data, f->lines.size);
    f->setup.shard_bytes = 1 << 20;
}

static off_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* The import in a process of its own, killed once its journal has `limit` bytes. Returns whether it
 * was. */
static bool run_and_kill(struct fixture *f, off_t limit)
{
    char journal[160];
    int status = 0;
    pid_t child;

    snprintf(journal, sizeof journal, "%s.partial/journal", f->output);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(wsl_import_run(&f->setup, &f->result, &f->err) == 0 ? 0 : 1);
    while (size_of(journal) < limit) {
        if (waitpid(child, &status, WNOHANG) == child) {
            assert_int_equal(status, 0);
            return false;
        }
        sched_yield();
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status);
}

/* ---- comparing ---- */

static void read_made(const char *folder, const char *name, struct wsl_buf *ret)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    wsl_buf_clear(ret);
    assert_int_equal(wsl_file_read(path, 64 << 20, ret, NULL), 0);
}

/* The moment it was made is no part of what was made. */
static void blank_time(struct wsl_buf *b)
{
    char *at = strstr((char *)b->data, "\"created\": \"");

    assert_non_null(at);
    for (at += 12; *at && *at != '"'; at++)
        *at = 'x';
}

static void must_be_equal(const char *one, const char *other)
{
    struct wsl_buf a = {0}, b = {0};
    struct dirent *entry;
    DIR *dir = opendir(one);
    int files = 0, others = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        files++;
        read_made(one, entry->d_name, &a);
        read_made(other, entry->d_name, &b);
        if (strcmp(entry->d_name, "dataset.json") == 0) {
            blank_time(&a);
            blank_time(&b);
        }
        if (a.size != b.size || memcmp(a.data, b.data, a.size) != 0)
            fail_msg("%s/%s and that of %s differ", one, entry->d_name, other);
    }
    closedir(dir);
    dir = opendir(other);
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        others += entry->d_name[0] != '.';
    closedir(dir);
    assert_int_equal(files, others);
    wsl_buf_free(&a);
    wsl_buf_free(&b);
}

/* ---- finished shards ---- */

struct shards {
    ino_t inode[SHARDS_MAX];
    struct timespec time[SHARDS_MAX];
};

static void look_at_shards(const char *folder, struct shards *ret)
{
    char path[512];
    struct stat st;

    memset(ret, 0, sizeof *ret);
    for (int i = 0; i < SHARDS_MAX; i++) {
        snprintf(path, sizeof path, "%s/shard-%05d.lmdb", folder, i);
        if (stat(path, &st) < 0)
            continue;
        ret->inode[i] = st.st_ino;
        ret->time[i] = st.st_mtim;
    }
}

/* Those of `before` that were made again: at most the one that each thread was writing. */
static int count_changed(const struct shards *before, const struct shards *after)
{
    int changed = 0;

    for (int i = 0; i < SHARDS_MAX; i++)
        changed += before->inode[i] != 0 && (before->inode[i] != after->inode[i] ||
                                             before->time[i].tv_sec != after->time[i].tv_sec ||
                                             before->time[i].tv_nsec != after->time[i].tv_nsec);
    return changed;
}

/* ---- the tests ---- */

static void killed_at_any_point(void **state)
{
    struct fixture *f = *state;
    char undisturbed[128], set[160];
    struct shards before, after;
    struct wsl_rng rng;
    uint64_t resumed = 0;
    int killed = 0, shards;
    off_t whole;

    put_world(f);
    import_well(f);
    shards = (int)f->result.shards;
    assert_in_range(shards, 4, SHARDS_MAX);
    snprintf(undisturbed, sizeof undisturbed, "%s/undisturbed", f->folder);
    assert_int_equal(rename(f->output, undisturbed), 0);
    snprintf(set, sizeof set, "%s.partial/set", f->output);
    whole = FILES * 88 + shards * 140;
    for (uint64_t seed = 0; seed < KILLS; seed++) {
        bool dead;

        wsl_rng_start(&rng, 5, seed);
        f->setup.threads = 1 + (int)(seed % 3);
        /* Twice; the second time later. */
        dead = run_and_kill(f, (off_t)(wsl_rng_u32(&rng) % (uint32_t)whole));
        if (dead)
            dead = run_and_kill(f, whole / 2 + (off_t)(wsl_rng_u32(&rng) % (uint32_t)whole) / 2);
        killed += dead;
        if (dead) {
            look_at_shards(set, &before);
            import_well(f);
            look_at_shards(f->output, &after);
            assert_in_range(count_changed(&before, &after), 0, f->setup.threads);
            resumed += f->result.resumed;
        }
        must_be_equal(undisturbed, f->output);
        assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
        nothing_is_left(f);
    }
    assert_true(killed > 0);
    assert_true(resumed > FILES / 2);
}

static void a_stream_is_gone_on_with(void **state)
{
    struct fixture *f = *state;
    char undisturbed[128], command[256];
    int input = dup(STDIN_FILENO), file;

    for (int i = 0; i < 60; i++) {
        char name[32];

        snprintf(name, sizeof name, "s%03d.jpg", i);
        put_jpeg(f, name, draw(150, 120, (uint64_t)i, true));
        snprintf(name, sizeof name, "s%03d.cls", i);
        put_bytes(f, name, i % 2 ? "1" : "0", 1);
    }
    snprintf(command, sizeof command, "cd %s && tar --sort=name -czf all.tgz s*", f->folder);
    assert_int_equal(system(command), 0);
    f->setup.kind = WSL_IMPORT_TAR;
    f->setup.source = "-";
    file = open(path_in(f, "all.tgz"), O_RDONLY);
    dup2(file, STDIN_FILENO);
    import_well(f);
    snprintf(undisturbed, sizeof undisturbed, "%s/undisturbed", f->folder);
    assert_int_equal(rename(f->output, undisturbed), 0);
    lseek(file, 0, SEEK_SET);
    if (run_and_kill(f, 40 * 88)) {
        lseek(file, 0, SEEK_SET);
        import_well(f);
        assert_in_range(f->result.resumed, 30, 62);
    }
    must_be_equal(undisturbed, f->output);
    dup2(input, STDIN_FILENO);
    close(input);
    close(file);
}

/* Members that are read at once, as those of a stream, among others that are not. */
static void sparse_members_are_gone_on_with(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, jpeg = {0};
    static const uint8_t hole[8192];
    char undisturbed[128], name[32];

    for (int i = 0; i < 60; i++) {
        struct wsl_image image = draw(150, 120, (uint64_t)i, true);
        struct tar_part parts[2] = {0};

        wsl_buf_clear(&jpeg);
        assert_int_equal(wsl_image_encode_jpeg(&image, 95, &jpeg, NULL), 0);
        wsl_image_free(&image);
        parts[0].size = jpeg.size;
        wsl_buf_add(&jpeg, hole, sizeof hole);
        parts[1].offset = jpeg.size;
        snprintf(name, sizeof name, "s%03d.jpg", i);
        if (i % 2)
            tar_sparse(&tar, (enum tar_sparse)(i / 2 % TAR_SPARSES), name, &jpeg, parts, 2);
        else
            tar_member(&tar, name, jpeg.data, jpeg.size);
        snprintf(name, sizeof name, "s%03d.cls", i);
        tar_text(&tar, name, i % 3 ? "1" : "0");
    }
    tar_text(&tar, "passed.over", "");
    tar_end(&tar);
    put_bytes(f, "t.tar", tar.data, tar.size);
    f->setup.kind = WSL_IMPORT_TAR;
    f->setup.source = strcpy(f->manifest, path_in(f, "t.tar"));
    import_well(f);
    snprintf(undisturbed, sizeof undisturbed, "%s/undisturbed", f->folder);
    assert_int_equal(rename(f->output, undisturbed), 0);
    if (run_and_kill(f, 40 * 88)) {
        import_well(f);
        assert_in_range(f->result.resumed, 30, 62);
    }
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_NOT_IMAGE], 1);
    must_be_equal(undisturbed, f->output);
    wsl_buf_free(&tar);
    wsl_buf_free(&jpeg);
}

static void other_settings_are_refused(void **state)
{
    struct fixture *f = *state;
    char partial[128];

    put_world(f);
    assert_true(run_and_kill(f, 20 * 88));
    /* As a kill leaves it in the middle of writing dataset.json. */
    snprintf(partial, sizeof partial, "%s.partial/set/dataset.json.tmp", f->output);
    assert_int_equal(wsl_file_write_atomic(partial, "{", 1, NULL), 0);
    f->setup.seed = 1;
    assert_int_equal(import(f), WSL_EEXIST);
    assert_non_null(strstr(f->err.text, "had 'seed 0', not 'seed 1'"));
    snprintf(partial, sizeof partial, "%s.partial/journal", f->output);
    assert_true(wsl_file_exists(partial)); /* not lost by that */
    f->setup.seed = 0;
    import_well(f);
    assert_in_range(f->result.resumed, 10, FILES + SHARDS_MAX);
    snprintf(partial, sizeof partial, "%s/dataset.json.tmp", f->output);
    assert_false(wsl_file_exists(partial));
}

/* What changed in the source since is read again; a journal cut anywhere is used as far as it goes.
 */
static void changes_are_seen(void **state)
{
    struct fixture *f = *state;
    char undisturbed[128], journal[160];
    uint64_t before;

    put_world(f);
    assert_true(run_and_kill(f, FILES * 40));
    put_jpeg(f, "n001.jpg", draw(150, 120, 5000, true));
    put_jpeg(f, "gone.jpg", draw(150, 120, 5001, true));
    snprintf(journal, sizeof journal, "%s.partial/journal", f->output);
    assert_int_equal(truncate(journal, size_of(journal) - 11), 0);
    import_well(f);
    before = f->result.resumed;
    assert_in_range(before, FILES / 4, FILES + SHARDS_MAX);
    snprintf(undisturbed, sizeof undisturbed, "%s/undisturbed", f->folder);
    assert_int_equal(rename(f->output, undisturbed), 0);
    import_well(f);
    assert_int_equal(f->result.resumed, 0);
    must_be_equal(undisturbed, f->output);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_MISSING], 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(killed_at_any_point),
        CASE(a_stream_is_gone_on_with),
        CASE(sparse_members_are_gone_on_with),
        CASE(other_settings_are_refused),
        CASE(changes_are_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
