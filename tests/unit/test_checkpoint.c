/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/rng.h"
#include "storage/checkpoint/checkpoint.h"
#include "tests/unit/tensor_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/wsl-test-checkpoint-XXXXXX";
static float conv[2 * 3 * 3 * 3], bias[5], scalar[1];
static const struct wsl_named_tensor tensors[] = {
    {"layer1.0.conv1.weight", 4, {2, 3, 3, 3}, conv},
    {"fc.bias", 1, {5}, bias},
    {"a \"quoted\" name", 0, {0}, scalar},
};
enum { TENSORS = 3 };

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < 54; i++)
        conv[i] = (float)i * 0.25f - 3.0f;
    for (int i = 0; i < 5; i++)
        bias[i] = 1.0f / (float)(i + 1);
    scalar[0] = -0.0f;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return wsl_file_remove_tree(folder, NULL);
}

static const char *in_folder(const char *name)
{
    static char path[4][4096];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void write_bytes(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

/* A safetensors file of this header and `data_size` bytes of data; what opening it says. */
static int open_made(const char *header, size_t data_size, struct wsl_err *err)
{
    struct wsl_safetensors *file;
    struct wsl_buf b = {0};
    uint64_t size = strlen(header);
    int r;

    wsl_buf_add(&b, &size, 8);
    wsl_buf_add_text(&b, header);
    for (size_t i = 0; i < data_size; i++)
        wsl_buf_add(&b, "\0", 1);
    write_bytes(in_folder("made"), b.data, b.size);
    wsl_buf_free(&b);
    r = wsl_safetensors_open(&file, in_folder("made"), err);
    if (r == 0)
        wsl_safetensors_close(file);
    return r;
}

static void file_round_trip(void **state)
{
    struct wsl_safetensors *file;
    struct wsl_err err;
    float back[54];
    int64_t shape[4];
    int dims;

    (void)state;
    assert_int_equal(write_tensors(in_folder("a"), tensors, TENSORS, &err), 0);
    assert_int_equal(wsl_safetensors_open(&file, in_folder("a"), &err), 0);
    assert_int_equal(wsl_safetensors_count(file), TENSORS);
    assert_string_equal(wsl_safetensors_name(file, 0), "a \"quoted\" name");
    assert_null(wsl_safetensors_name(file, TENSORS));
    for (int i = 0; i < TENSORS; i++) {
        struct wsl_named_tensor want = tensors[i];
        size_t bytes = i == 0 ? sizeof conv : i == 1 ? sizeof bias : sizeof scalar;

        want.values = back;
        memset(back, 0xff, sizeof back);
        assert_int_equal(wsl_safetensors_read(file, &want, &err), 0);
        assert_memory_equal(back, tensors[i].values, bytes);
    }
    assert_int_equal(wsl_safetensors_shape(file, "layer1.0.conv1.weight", &dims, shape, &err), 0);
    assert_int_equal(dims, 4);
    assert_int_equal(shape[0], 2);
    assert_int_equal(shape[3], 3);
    wsl_safetensors_close(file);
}

static void missing_and_misshapen_tensors_are_named(void **state)
{
    struct wsl_named_tensor want = {"layer9.weight", 1, {5}, bias};
    struct wsl_safetensors *file;
    struct wsl_err err;

    (void)state;
    assert_int_equal(write_tensors(in_folder("a"), tensors, TENSORS, &err), 0);
    assert_int_equal(wsl_safetensors_open(&file, in_folder("a"), &err), 0);
    assert_int_equal(wsl_safetensors_read(file, &want, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "has no tensor layer9.weight"));
    want = (struct wsl_named_tensor){"fc.bias", 2, {5, 7}, conv};
    assert_int_equal(wsl_safetensors_read(file, &want, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "tensor fc.bias is [5], the model needs [5, 7]"));
    wsl_safetensors_close(file);
    want.name = "__metadata__";
    assert_int_equal(write_tensors(in_folder("b"), &want, 1, &err), WSL_EINVAL);
    assert_false(wsl_file_exists(in_folder("b")));
    want.name = "\xff\xfe";
    assert_int_equal(write_tensors(in_folder("b"), &want, 1, &err), WSL_EINVAL);
    struct wsl_named_tensor twice[] = {tensors[1], tensors[1]};
    assert_int_equal(write_tensors(in_folder("b"), twice, 2, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "'fc.bias' is there twice"));
}

static void truncated_files_are_refused(void **state)
{
    struct wsl_buf whole = {0};
    struct wsl_safetensors *file;
    struct wsl_err err;

    (void)state;
    assert_int_equal(write_tensors(in_folder("a"), tensors, TENSORS, &err), 0);
    assert_int_equal(wsl_file_read(in_folder("a"), 1 << 20, &whole, &err), 0);
    for (size_t n = 0; n < whole.size; n++) {
        write_bytes(in_folder("cut"), whole.data, n);
        assert_int_equal(wsl_safetensors_open(&file, in_folder("cut"), &err), WSL_ECORRUPT);
        assert_non_null(strstr(err.text, "/cut"));
    }
    wsl_buf_add(&whole, "x", 1);
    write_bytes(in_folder("cut"), whole.data, whole.size);
    assert_int_equal(wsl_safetensors_open(&file, in_folder("cut"), &err), WSL_ECORRUPT);
    wsl_buf_free(&whole);
}

static void bad_headers_are_refused(void **state)
{
#define T(shape, offsets) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header;
        size_t data;
        int code;
    } cases[] = {
        {"{}", 0, 0},
        {"{}   ", 0, 0},
        {"{\"a\":" T("[2]", "[0,8]") ",\"b\":" T("[1]", "[8,12]") "}", 12, 0},
        {"{\"a\":" T("[0,5]", "[0,0]") "}", 0, 0},
        {"{\"__metadata__\":{\"x\":\"y\"}}", 0, 0},
        {"", 0, WSL_ECORRUPT},
        {"[]", 0, WSL_ECORRUPT},
        {"{} x", 0, WSL_ECORRUPT},
        {"{\"a\":3}", 0, WSL_ECORRUPT},
        {"{\"a\":{}}", 0, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[0,8]") "}", 12, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[0,8]") ",\"b\":" T("[2]", "[4,12]") "}", 12, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[0,8]") ",\"b\":" T("[2]", "[0,8]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[0,8]") ",\"b\":" T("[1]", "[9,13]") "}", 13, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[0,8]") ",\"a\":" T("[1]", "[8,12]") "}", 12, WSL_ECORRUPT},
        {"{\"a\":" T("[3]", "[0,8]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("[-2]", "[0,8]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("[2.0]", "[0,8]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("2", "[0,8]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[8,0]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[-8,0]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[0]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":" T("[4611686018427387904,4]", "[0,0]") "}", 0, WSL_ECORRUPT},
        {"{\"a\":" T("[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, WSL_ECORRUPT},
        {"{\"a\":" T("[2]", "[99999999999,99999999999]") "}", 8, WSL_ECORRUPT},
        {"{\"a\":{\"dtype\":\"Q7\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, WSL_EUNSUPPORTED},
    };
#undef T
    struct wsl_err err;
    struct wsl_safetensors *file;
    uint64_t huge[] = {8, 9, 1000, 1ull << 40, UINT64_MAX, UINT64_MAX - 7};
    struct wsl_buf many = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (open_made(cases[i].header, cases[i].data, &err) != cases[i].code)
            fail_msg("header %s: not the expected result", cases[i].header);
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        write_bytes(in_folder("huge"), &huge[i], 8);
        assert_int_equal(wsl_safetensors_open(&file, in_folder("huge"), &err), WSL_ECORRUPT);
    }
    wsl_buf_add_text(&many, "{\"a\":[");
    for (int i = 0; i < 100010; i++)
        wsl_buf_add_text(&many, "{},");
    wsl_buf_add_text(&many, "{}]}");
    assert_int_equal(open_made((char *)many.data, 0, &err), WSL_ELIMIT);
    wsl_buf_free(&many);
    assert_int_equal(wsl_safetensors_open(&file, folder, &err), WSL_EINVAL);
    assert_int_equal(wsl_safetensors_open(&file, in_folder("absent"), &err), WSL_ENOENT);
}

static void half_precision_is_read(void **state)
{
    static const char header[] =
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[0,16]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[16,22]},"
        "\"i\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[22,30]}} ";
    /* binary16: 1, -2, 65504 (largest), 2^-24 (smallest), 2^-14, -0, infinity, a NaN */
    const uint16_t half[8] = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0x8000, 0x7c00, 0x7e01};
    const float should[7] = {1, -2, 65504, 0x1p-24f, 0x1p-14f, -0.0f, INFINITY};
    const uint16_t brain[3] = {0x3f80, 0xc049, 0x0001}; /* 1, -3.140625, a subnormal */
    struct wsl_named_tensor h = {"h", 1, {8}, NULL}, b = {"b", 1, {3}, NULL},
                            n = {"i", 0, {0}, NULL};
    float values[8];
    struct wsl_safetensors *file;
    struct wsl_buf bytes = {0};
    struct wsl_err err;
    uint64_t size = strlen(header);

    (void)state;
    wsl_buf_add(&bytes, &size, 8);
    wsl_buf_add_text(&bytes, header);
    wsl_buf_add(&bytes, half, 16);
    wsl_buf_add(&bytes, brain, 6);
    wsl_buf_add(&bytes, "\0\0\0\0\0\0\0\0", 8);
    write_bytes(in_folder("half"), bytes.data, bytes.size);
    wsl_buf_free(&bytes);
    h.values = b.values = n.values = values;
    assert_int_equal(wsl_safetensors_open(&file, in_folder("half"), &err), 0);
    assert_int_equal(wsl_safetensors_read(file, &h, &err), 0);
    assert_memory_equal(values, should, sizeof should);
    assert_true(isnan(values[7]));
    assert_int_equal(wsl_safetensors_read(file, &b, &err), 0);
    assert_true(values[0] == 1.0f && values[1] == -3.140625f && values[2] == 0x1p-133f);
    assert_int_equal(wsl_safetensors_read(file, &n, &err), WSL_EUNSUPPORTED);
    wsl_safetensors_close(file);
}

/* Whatever the bytes: refused with a line, or opened and every tensor readable. */
static void mutated_headers_never_crash(void **state)
{
    struct wsl_buf whole = {0};
    struct wsl_rng rng;
    struct wsl_err err;
    uint8_t *copy;
    size_t header_end;
    int opened = 0;

    (void)state;
    assert_int_equal(write_tensors(in_folder("a"), tensors, TENSORS, &err), 0);
    assert_int_equal(wsl_file_read(in_folder("a"), 1 << 20, &whole, &err), 0);
    header_end = 8 + (size_t)whole.data[0] + ((size_t)whole.data[1] << 8);
    copy = malloc(whole.size);
    assert_non_null(copy);
    wsl_rng_start(&rng, 20180502, 1);
    for (int round = 0; round < 6000; round++) {
        struct wsl_safetensors *file;

        memcpy(copy, whole.data, whole.size);
        for (uint64_t n = 1 + wsl_rng_below(&rng, 3); n > 0; n--) {
            size_t at = (size_t)wsl_rng_below(&rng, header_end);

            if (wsl_rng_below(&rng, 2))
                copy[at] = (uint8_t) "0123456789[]{},:\"F-e"[wsl_rng_below(&rng, 20)];
            else
                copy[at] = (uint8_t)wsl_rng_u32(&rng);
        }
        write_bytes(in_folder("mutant"), copy, whole.size);
        err.text[0] = '\0';
        if (wsl_safetensors_open(&file, in_folder("mutant"), &err) < 0) {
            assert_true(err.text[0] != '\0');
            continue;
        }
        opened++;
        for (size_t i = 0; i < wsl_safetensors_count(file); i++) {
            float values[200];
            struct wsl_named_tensor want = {wsl_safetensors_name(file, i), 0, {0}, values};

            if (wsl_safetensors_shape(file, want.name, &want.dims, want.shape, &err) == 0)
                wsl_safetensors_read(file, &want, &err);
        }
        wsl_safetensors_close(file);
    }
    assert_true(opened > 0 && opened < 6000);
    free(copy);
    wsl_buf_free(&whole);
}

/* ---- checkpoint folders ---- */

static char dog[] = "dog", coffee[] = "caf\xc3\xa9", recipe[] = "kind: pretrain\n";
static char *names[] = {dog, coffee};

static struct wsl_checkpoint_info info_at(uint64_t step)
{
    return (struct wsl_checkpoint_info){
        .job = 7,
        .job_name = "tags",
        .step = step,
        .seed = UINT64_MAX,
        .batch = 32,
        .fingerprint = "00112233445566778899aabbccddeeff",
        .stages = 2,
        .depths = {1, 3},
        .groups = 32,
        .width = 4,
        .image_size = 64,
        .classes = 2,
        .class_names = names,
        .recipe = recipe,
        .written_ms = 1525255812345,
    };
}

static int write_info(const char *root, const struct wsl_checkpoint_info *info, int keep,
                      struct wsl_err *err)
{
    const struct wsl_checkpoint_contents contents = {info, tensors, tensors, TENSORS, 2};
    char where[4096];
    uint64_t bytes;

    return wsl_checkpoint_write(root, &contents, keep, where, &bytes, err);
}

static int write_at(const char *root, uint64_t step, int keep, struct wsl_err *err)
{
    struct wsl_checkpoint_info info = info_at(step);

    return write_info(root, &info, keep, err);
}

static void expect_newest(const char *root, const char *name)
{
    struct wsl_err err = {0};
    char where[4096], should[4096];

    assert_int_equal(wsl_checkpoint_newest(root, NULL, where, NULL, &err), 0);
    snprintf(should, sizeof should, "%s/%s", root, name);
    assert_string_equal(where, should);
}

static void checkpoint_round_trip(void **state)
{
    struct wsl_checkpoint_info info = info_at(1234), back;
    char where[4096], file[8192];
    struct wsl_safetensors *model;
    struct wsl_err err = {0};
    uint64_t bytes = 0;

    (void)state;
    assert_int_equal(
        wsl_checkpoint_write(in_folder("job/run"),
                             &(struct wsl_checkpoint_contents){&info, tensors, tensors, TENSORS, 2},
                             2, where, &bytes, &err),
        0);
    assert_string_equal(where, in_folder("job/run/step-000000001234"));
    assert_true(bytes > sizeof conv * 2);
    assert_int_equal(count_entries(where), 3);
    assert_int_equal(count_entries(in_folder("job/run")), 1);
    assert_int_equal(wsl_checkpoint_verify(where, &err), 0);
    assert_int_equal(wsl_checkpoint_read_info(where, &back, &err), 0);
    assert_int_equal(back.job, 7);
    assert_string_equal(back.job_name, "tags");
    assert_int_equal(back.step, 1234);
    assert_true(back.seed == UINT64_MAX);
    assert_int_equal(back.batch, 32);
    assert_string_equal(back.fingerprint, info.fingerprint);
    assert_int_equal(back.stages, 2);
    assert_int_equal(back.depths[1], 3);
    assert_int_equal(back.groups, 32);
    assert_int_equal(back.width, 4);
    assert_int_equal(back.image_size, 64);
    assert_int_equal(back.classes, 2);
    assert_string_equal(back.class_names[1], names[1]);
    assert_string_equal(back.recipe, info.recipe);
    assert_true(back.written_ms == info.written_ms);
    wsl_checkpoint_info_free(&back);
    snprintf(file, sizeof file, "%s/model.safetensors", where);
    assert_int_equal(wsl_safetensors_open(&model, file, &err), 0);
    assert_int_equal(wsl_safetensors_count(model), TENSORS);
    wsl_safetensors_close(model);
    /* nothing optional, and again over the same step: replaced, no litter */
    info.class_names = NULL;
    info.recipe = NULL;
    assert_int_equal(
        wsl_checkpoint_write(in_folder("job/run"),
                             &(struct wsl_checkpoint_contents){&info, tensors, NULL, 1, 0}, 2,
                             where, &bytes, &err),
        0);
    assert_int_equal(count_entries(in_folder("job/run")), 1);
    assert_int_equal(wsl_checkpoint_read_info(where, &back, &err), 0);
    assert_null(back.class_names);
    assert_null(back.recipe);
    wsl_checkpoint_info_free(&back);
}

static void bad_infos_are_refused(void **state)
{
    struct wsl_checkpoint_info info;
    char bad[] = "\xff";
    struct wsl_err err;

    (void)state;
    for (int i = 0; i < 4; i++) {
        info = info_at(5);
        if (i == 0)
            info.step = 1000000000000ull;
        else if (i == 1)
            info.stages = 5;
        else if (i == 2)
            info.recipe = bad;
        else
            info.classes = 0;
        assert_int_equal(write_info(in_folder("bad"), &info, 2, &err), WSL_EINVAL);
        assert_int_equal(wsl_file_exists(in_folder("bad")) ? count_entries(in_folder("bad")) : 0,
                         0);
    }
}

/* Each bit of each file counts. */
static void every_flipped_byte_is_found(void **state)
{
    const char *files[] = {"model.safetensors", "optimizer.safetensors", "manifest.json"};
    const char *root = strdup(in_folder("flip"));
    char path[4096], note[400], where[4096];
    struct wsl_err err;

    (void)state;
    assert_int_equal(write_at(root, 10, 5, &err), 0);
    assert_int_equal(write_at(root, 20, 5, &err), 0);
    for (int f = 0; f < 3; f++) {
        struct wsl_buf bytes = {0};

        snprintf(path, sizeof path, "%s/step-000000000020/%s", root, files[f]);
        assert_int_equal(wsl_file_read(path, 1 << 20, &bytes, &err), 0);
        for (size_t at = 0; at < bytes.size; at += 3) {
            bytes.data[at] ^= 0x20;
            write_bytes(path, bytes.data, bytes.size);
            bytes.data[at] ^= 0x20;
            assert_int_equal(wsl_checkpoint_newest(root, NULL, where, note, &err), 0);
            /* a blank between two members of the manifest is nothing to miss */
            if (f == 2 && strstr(where, "step-000000000020"))
                assert_true(bytes.data[at] == ' ' || bytes.data[at] == '\n');
            else
                assert_non_null(strstr(where, "step-000000000010"));
        }
        for (size_t n = 0; n + 1 < bytes.size; n += 7) { /* the last byte is a newline */
            write_bytes(path, bytes.data, n);
            assert_int_equal(wsl_checkpoint_newest(root, NULL, where, note, &err), 0);
            assert_non_null(strstr(where, "step-000000000010"));
            assert_non_null(strstr(note, files[f]));
        }
        unlink(path);
        if (f < 2) {
            assert_int_equal(wsl_checkpoint_newest(root, NULL, where, note, &err), 0);
            assert_non_null(strstr(where, "step-000000000010"));
            assert_non_null(strstr(note, files[f]));
        }
        write_bytes(path, bytes.data, bytes.size);
        wsl_buf_free(&bytes);
    }
    assert_int_equal(wsl_checkpoint_newest(root, NULL, where, note, &err), 0);
    assert_non_null(strstr(where, "step-000000000020"));
    assert_string_equal(note, "");
    free((char *)root);
}

static void keep_removes_the_oldest_only(void **state)
{
    const char *root = strdup(in_folder("keep"));
    struct wsl_err err = {0};
    char path[4096];

    (void)state;
    assert_int_equal(wsl_checkpoint_newest(root, NULL, path, NULL, &err), WSL_ENOENT);
    for (uint64_t step = 1; step <= 4; step++)
        assert_int_equal(write_at(root, step, 2, &err), 0);
    assert_int_equal(count_entries(root), 2);
    expect_newest(root, "step-000000000004");
    /* what is not a checkpoint stays, whatever its name */
    snprintf(path, sizeof path, "%s/step-000000000000", root);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/notes", root);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/.writing-000000000009", root);
    assert_int_equal(mkdir(path, 0755), 0);
    strcat(path, "/model.safetensors");
    write_bytes(path, "half", 4);
    expect_newest(root, "step-000000000004");
    assert_int_equal(write_at(root, 5, 1, &err), 0);
    assert_int_equal(count_entries(root), 3); /* the leftover is gone */
    expect_newest(root, "step-000000000005");
    /* keep 0 and below: still the one just written; also when its step is not the highest */
    assert_int_equal(write_at(root, 3, 0, &err), 0);
    expect_newest(root, "step-000000000003");
    assert_int_equal(write_at(root, 6, -1, &err), 0);
    expect_newest(root, "step-000000000006");
    assert_int_equal(count_entries(root), 3);
    free((char *)root);
}

static int write_as(const char *root, const char *uid, uint64_t step, int keep, struct wsl_err *err)
{
    struct wsl_checkpoint_info info = info_at(step);

    snprintf(info.job_uid, sizeof info.job_uid, "%s", uid);
    return write_info(root, &info, keep, err);
}

#define UID_A "aaaaaaaa000000000000000000000001"
#define UID_B "bbbbbbbb000000000000000000000002"

/* Two clusters over one folder, each with its job 7 'tags': neither writes, removes nor reads what
 * is the other's, and is told whose it is. */
static void another_jobs_checkpoints_are_left_alone(void **state)
{
    const char *root = strdup(in_folder("shared"));
    struct wsl_checkpoint_info back;
    struct wsl_err err = {0};
    char path[4096], note[400];

    (void)state;
    assert_int_equal(write_as(root, UID_A, 10, 2, &err), 0);
    assert_int_equal(wsl_checkpoint_newest(root, UID_A, path, note, &err), 0);
    assert_int_equal(wsl_checkpoint_read_info(path, &back, &err), 0);
    assert_string_equal(back.job_uid, UID_A);
    wsl_checkpoint_info_free(&back);
    for (uint64_t step = 10; step <= 11; step++) {
        assert_int_equal(write_as(root, UID_B, step, 1, &err), WSL_EEXIST);
        assert_non_null(strstr(err.text,
                               "step-000000000010 is of another job: 7 'tags', identity " UID_A
                               ", not " UID_B));
    }
    assert_int_equal(wsl_checkpoint_try(root, UID_B, 100, 100, &err), WSL_EEXIST);
    assert_int_equal(wsl_checkpoint_check_job(path, UID_B, &err), WSL_EEXIST);
    assert_int_equal(wsl_checkpoint_check_job(path, "", &err), WSL_EEXIST);
    assert_int_equal(wsl_checkpoint_check_job(path, UID_A, &err), 0);
    assert_int_equal(wsl_checkpoint_newest(root, UID_B, path, note, &err), WSL_ENOENT);
    assert_non_null(strstr(note, UID_A));
    assert_int_equal(wsl_checkpoint_newest(root, NULL, path, note, &err), 0);
    assert_int_equal(count_entries(root), 1);
    free((char *)root);
}

/* Checkpoints from before identities: read, and never removed by a job that has one. */
static void checkpoints_without_an_identity(void **state)
{
    const char *root = strdup(in_folder("old"));
    struct wsl_err err = {0};
    char path[4096];

    (void)state;
    for (uint64_t step = 1; step <= 3; step++)
        assert_int_equal(write_as(root, "", step, 2, &err), 0);
    assert_int_equal(count_entries(root), 2);
    assert_int_equal(wsl_checkpoint_newest(root, UID_A, path, NULL, &err), 0);
    assert_int_equal(wsl_checkpoint_check_job(path, UID_A, &err), 0);
    for (uint64_t step = 4; step <= 7; step++)
        assert_int_equal(write_as(root, UID_A, step, 1, &err), 0);
    assert_int_equal(count_entries(root), 3);
    expect_newest(root, "step-000000000007");
    free((char *)root);
}

static void a_trial_leaves_nothing(void **state)
{
    const char *root = strdup(in_folder("trial/below"));
    struct wsl_err err = {0};
    struct statvfs fs;

    (void)state;
    assert_int_equal(wsl_checkpoint_try(root, UID_A, 1 << 20, 1 << 20, &err), 0);
    assert_int_equal(count_entries(root), 0);
    assert_int_equal(statvfs(root, &fs), 0);
    assert_int_equal(
        wsl_checkpoint_try(root, UID_A, 4096, (uint64_t)(fs.f_blocks + 9) * fs.f_frsize, &err),
        WSL_ENOSPC);
    assert_non_null(strstr(err.text, root));
    assert_non_null(strstr(err.text, " MB are free"));
    assert_int_equal(count_entries(root), 0);
    write_bytes(in_folder("a-file"), "x", 1);
    assert_true(wsl_checkpoint_try(in_folder("a-file"), UID_A, 1, 1, &err) < 0);
    assert_non_null(strstr(err.text, "a-file exists and is not a directory"));
    free((char *)root);
}

static void a_second_writer_is_told(void **state)
{
    const char *root = strdup(in_folder("twice"));
    struct wsl_err err = {0};
    int fd;

    (void)state;
    assert_int_equal(write_at(root, 1, 2, &err), 0);
    fd = open(root, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(write_at(root, 2, 2, &err), WSL_EAGAIN);
    assert_non_null(strstr(err.text, "another process"));
    close(fd);
    assert_int_equal(write_at(root, 2, 2, &err), 0);
    free((char *)root);
}

/* Some larger tensors than the disk takes: the older checkpoint stays and nothing lies about. */
static int expect_no_room(const char *root, size_t count, int code)
{
    float *values = calloc(count, sizeof *values);
    struct wsl_named_tensor big = {"big", 1, {(int64_t)count}, values};
    struct wsl_checkpoint_info info = info_at(2);
    struct wsl_err err = {0};
    char where[4096];
    uint64_t bytes;
    int r = wsl_checkpoint_write(root, &(struct wsl_checkpoint_contents){&info, &big, &big, 1, 1},
                                 2, where, &bytes, &err);

    free(values);
    if (r >= 0 || (code && r != code) ||
        !strstr(err.text, "step-") == !strstr(err.text, ".writing"))
        return 1;
    if (wsl_checkpoint_newest(root, NULL, where, NULL, &err) < 0 || !strstr(where, "000001"))
        return 2;
    return count_entries(root) == 1 ? 0 : 3;
}

static int full_disk_child(const char *root)
{
    struct wsl_err err;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", root, "tmpfs", 0, "size=256k") < 0) {
        /* not allowed to mount: a limit on the size of files does as well */
        const struct rlimit limit = {64 << 10, 64 << 10};

        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || write_at(root, 1, 2, &err) < 0)
            return 10;
        return expect_no_room(root, 32 << 10, 0);
    }
    if (write_at(root, 1, 2, &err) < 0)
        return 11;
    /* the first file has no room, or the second */
    return expect_no_room(root, 128 << 10, WSL_ENOSPC) ||
           expect_no_room(root, 40 << 10, WSL_ENOSPC);
}

static void a_full_disk_leaves_the_older_checkpoint(void **state)
{
    const char *root = strdup(in_folder("full"));
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(wsl_file_make_directories(root, NULL), 0);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(full_disk_child(root));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free((char *)root);
}

/* No room for a third one: the job's older ones make room, but for the newest. A limit on file
 * sizes cannot show that, so it is skipped where nothing may be mounted. */
static int crowded_disk_child(const char *root)
{
    float values[16 << 10] = {0};
    struct wsl_named_tensor big = {"big", 1, {16 << 10}, values};
    struct wsl_err err = {0};
    char where[4096];
    uint64_t bytes;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", root, "tmpfs", 0, "size=400k") < 0)
        return 77;
    for (uint64_t step = 1; step <= 4; step++) { /* 128 KiB each */
        struct wsl_checkpoint_info info = info_at(step);

        if (wsl_checkpoint_write(root, &(struct wsl_checkpoint_contents){&info, &big, &big, 1, 1},
                                 3, where, &bytes, &err) < 0)
            return (int)step;
    }
    return count_entries(root) == 2 && strstr(where, "000000000004") ? 0 : 9;
}

static void a_full_disk_takes_the_place_of_older_ones(void **state)
{
    const char *root = strdup(in_folder("crowded"));
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(wsl_file_make_directories(root, NULL), 0);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(crowded_disk_child(root));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    free((char *)root);
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Another reader: Python's safetensors where it is installed, the format's rules by hand elsewhere.
 */
static void python_reads_it(void **state)
{
    static const char script[] =
        "import sys, json, struct, array\n"
        "path = sys.argv[1]\n"
        "try:\n"
        "    from safetensors.numpy import load_file\n"
        "    t = {k: (list(v.shape), v.ravel().tolist()) for k, v in load_file(path).items()}\n"
        "except ImportError:\n"
        "    b = open(path, 'rb').read()\n"
        "    n, = struct.unpack('<Q', b[:8])\n"
        "    h = json.loads(b[8:8 + n]); d = b[8 + n:]; assert (8 + n) % 8 == 0\n"
        "    h.pop('__metadata__')\n"
        "    t = {k: (v['shape'], array.array('f', d[slice(*v['data_offsets'])]).tolist())\n"
        "         for k, v in h.items() if v['dtype'] == 'F32'}\n"
        "assert t['layer1.0.conv1.weight'] == ([2, 3, 3, 3], [i * 0.25 - 3 for i in range(54)])\n"
        "assert t['fc.bias'][0] == [5] and abs(t['fc.bias'][1][2] - 1 / 3) < 1e-7\n"
        "assert t['a \"quoted\" name'] == ([], [0]) and len(t) == 3\n";
    struct wsl_err err;
    char command[8192];

    (void)state;
    assert_int_equal(write_tensors(in_folder("py"), tensors, TENSORS, &err), 0);
    write_bytes(in_folder("py.py"), script, strlen(script));
    snprintf(command, sizeof command, "python3 %s %s", in_folder("py.py"), in_folder("py"));
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_round_trip),
        cmocka_unit_test(missing_and_misshapen_tensors_are_named),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(half_precision_is_read),
        cmocka_unit_test(mutated_headers_never_crash),
        cmocka_unit_test(checkpoint_round_trip),
        cmocka_unit_test(bad_infos_are_refused),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(keep_removes_the_oldest_only),
        cmocka_unit_test(another_jobs_checkpoints_are_left_alone),
        cmocka_unit_test(checkpoints_without_an_identity),
        cmocka_unit_test(a_trial_leaves_nothing),
        cmocka_unit_test(a_full_disk_takes_the_place_of_older_ones),
        cmocka_unit_test(a_second_writer_is_told),
        cmocka_unit_test(a_full_disk_leaves_the_older_checkpoint),
        cmocka_unit_test(python_reads_it),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
