/* SPDX-License-Identifier: Apache-2.0 */
#include "import_world.h"

#include "base/file.h"
#include "base/rng.h"
#include "tests/unit/checked_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <png.h>

const char *path_in(const struct fixture *f, const char *name)
{
    static char path[4][256];
    static int next;

    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", f->folder, name);
    return path[next];
}

int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    /* In memory where that is possible: each import waits for its disk several times. */
    strcpy(f->folder,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/wsl-test-XXXXXX" : "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->manifest, sizeof f->manifest, "%s/list.tsv", f->folder);
    snprintf(f->output, sizeof f->output, "%s/made/set", f->folder);
    wsl_import_defaults(&f->setup);
    f->setup.source = f->manifest;
    f->setup.output = f->output;
    f->setup.threads = 2;
    *state = f;
    return 0;
}

int clear(void **state)
{
    struct fixture *f = *state;

    wsl_file_remove_tree(f->folder, NULL);
    wsl_buf_free(&f->lines);
    free(f);
    return 0;
}

/* ---- pictures ---- */

struct wsl_image draw(int width, int height, uint64_t number, bool noisy)
{
    struct wsl_image image = {malloc((size_t)width * (size_t)height * 3), width, height};
    struct wsl_rng rng;

    wsl_rng_start(&rng, 99, number);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                uint64_t block =
                    wsl_mix64(number, (uint64_t)(y / 8 * 1000 + x / 8) * 3 + (uint64_t)c);

                image.pixels[(y * width + x) * 3 + c] =
                    noisy ? (uint8_t)wsl_rng_u32(&rng) : (uint8_t)block;
            }
    return image;
}

void put_bytes(const struct fixture *f, const char *name, const void *bytes, size_t size)
{
    assert_int_equal(wsl_file_write_atomic(path_in(f, name), bytes, size, NULL), 0);
}

void put_jpeg(const struct fixture *f, const char *name, struct wsl_image image)
{
    struct wsl_buf jpeg = {0};

    assert_int_equal(wsl_image_encode_jpeg(&image, 95, &jpeg, NULL), 0);
    put_bytes(f, name, jpeg.data, jpeg.size);
    wsl_buf_free(&jpeg);
    wsl_image_free(&image);
}

void put_png(const struct fixture *f, const char *name, struct wsl_image image)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image.width,
                     .height = (png_uint_32)image.height,
                     .format = PNG_FORMAT_RGBA};
    size_t pixels = (size_t)image.width * (size_t)image.height;
    uint8_t *rgba = calloc(pixels, 4);

    for (size_t i = 0; i < pixels; i++) {
        if (i % (size_t)image.width >= (size_t)image.width / 2)
            continue;
        memcpy(rgba + 4 * i, image.pixels + 3 * i, 3);
        rgba[4 * i + 3] = 255;
    }
    assert_int_equal(png_image_write_to_file(&png, path_in(f, name), 0, rgba, 0, NULL), 1);
    free(rgba);
    wsl_image_free(&image);
}

void add_line(struct fixture *f, const char *path, const char *tags)
{
    assert_int_equal(wsl_buf_add_format(&f->lines, "%s\t%s\n", path, tags), 0);
}

void put_set(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++) {
        char name[32];

        snprintf(name, sizeof name, "p%03d.jpg", i);
        put_jpeg(f, name, draw(40, 30, (uint64_t)i, false));
        add_line(f, name, i % 5 == 0 ? "dog,cat" : i % 2 ? "dog" : "cat");
    }
}

/* ---- the import and what it made ---- */

int import(struct fixture *f)
{
    if (f->lines.size > 0)
        put_bytes(f, "list.tsv", f->lines.data, f->lines.size);
    memset(&f->err, 0, sizeof f->err);
    return wsl_import_run(&f->setup, &f->result, &f->err);
}

uint64_t bad_count(const struct wsl_import_result *n)
{
    uint64_t sum = 0;

    for (int i = 0; i < WSL_QUARANTINE_REASONS; i++)
        sum += n->quarantined[i];
    return sum;
}

void import_well(struct fixture *f)
{
    const struct wsl_import_result *n = &f->result;

    if (import(f) < 0)
        fail_msg("%s", f->err.text);
    assert_int_equal(n->seen, n->excluded + bad_count(n) + n->duplicates + n->untagged + n->train +
                                  n->heldout);
}

void nothing_is_left(const struct fixture *f)
{
    char partial[128];

    snprintf(partial, sizeof partial, "%s.partial", f->output);
    assert_false(wsl_file_exists(f->output));
    assert_false(wsl_file_exists(partial));
}

static void must_end(struct fixture *f, int code, const char *word)
{
    int r = import(f);

    if (r != code || !strstr(f->err.text, word))
        fail_msg("%d, not %d with \"%s\": %s", r, code, word, f->err.text);
    assert_false(wsl_file_exists(f->output));
}

void must_fail(struct fixture *f, int code, const char *word)
{
    must_end(f, code, word);
    nothing_is_left(f);
}

void must_pause(struct fixture *f, int code, const char *word)
{
    char journal[128];

    must_end(f, code, word);
    snprintf(journal, sizeof journal, "%s.partial/journal", f->output);
    assert_true(wsl_file_exists(journal));
}

struct wsl_dataset *open_made(const struct fixture *f)
{
    struct wsl_dataset *ds = NULL;
    struct checked_set set;
    struct wsl_err err;

    if (wsl_dataset_open(&ds, f->output, &err) < 0)
        fail_msg("%s", err.text);
    set = check_set(f->output);
    if (set.bad > 0)
        fail_msg("%s", set.first);
    return ds;
}

bool find_record(struct wsl_dataset *ds, const char *source, struct wsl_record *ret)
{
    for (int s = 0; s < 2; s++)
        for (uint64_t i = 0; i < wsl_dataset_count(ds, (enum wsl_split)s); i++) {
            assert_int_equal(wsl_dataset_read(ds, (enum wsl_split)s, i, ret, NULL), 0);
            if (strcmp(ret->source, source) == 0)
                return true;
        }
    return false;
}

bool has_tag(struct wsl_dataset *ds, const struct wsl_record *record, const char *name)
{
    for (int i = 0; i < record->tag_count; i++)
        if (strcmp(wsl_dataset_tag(ds, record->tags[i])->name, name) == 0)
            return true;
    return false;
}

void must_have_text(const struct fixture *f, const char *file, const char *text)
{
    struct wsl_buf b = {0};
    char path[160];

    snprintf(path, sizeof path, "%s/%s", f->output, file);
    assert_int_equal(wsl_file_read(path, 1 << 20, &b, NULL), 0);
    if (b.size == 0 || !strstr((char *)b.data, text))
        fail_msg("no \"%s\" in %s:\n%s", text, file, b.size ? (char *)b.data : "");
    wsl_buf_free(&b);
}

/* ---- sources ---- */

void put_text(const struct fixture *f, const char *name, const char *text)
{
    put_bytes(f, name, text, strlen(text));
}

void make_folder(const struct fixture *f, const char *name)
{
    assert_int_equal(wsl_file_make_directories(path_in(f, name), NULL), 0);
}

void import_from(struct fixture *f, enum wsl_import_kind kind, const char *source)
{
    f->setup.kind = kind;
    f->setup.source = source;
}

void again(struct fixture *f)
{
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    import_well(f);
}

void must_be_in(const struct fixture *f, const char *source, enum wsl_split split,
                const char *label)
{
    struct wsl_dataset *ds = open_made(f);
    struct wsl_record record;

    for (uint64_t i = 0; i < wsl_dataset_count(ds, split); i++) {
        assert_int_equal(wsl_dataset_read(ds, split, i, &record, NULL), 0);
        if (strcmp(record.source, source) != 0)
            continue;
        assert_int_equal(record.tag_count, 1);
        assert_string_equal(wsl_dataset_tag(ds, record.tags[0])->name, label);
        wsl_dataset_close(ds);
        return;
    }
    fail_msg("%s is not in split %d", source, split);
}

void put_labelled(const struct fixture *f, const char *format, int from, int count)
{
    char name[128];

    for (int i = from; i < from + count; i++) {
        snprintf(name, sizeof name, format, i);
        put_jpeg(f, name, draw(32, 32, (uint64_t)i, false));
    }
}
