/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads safetensors files: the header is checked whole before the first value is copied, the data
 * are converted on the way out of the map.
 */
#include "storage/checkpoint/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are little-endian");

enum {
    TENSORS_MAX = 100000,
    DIMS_MAX = 8,
    HEADER_MAX = 16 << 20,
    VALUES_MAX = TENSORS_MAX * 16, /* of the header's JSON: what bounds the memory it takes */
};

static const struct dtype {
    const char *name;
    size_t size;
} dtypes[] = {{"F32", 4}, {"F16", 2},     {"BF16", 2},    {"F64", 8}, {"I64", 8},
              {"U64", 8}, {"I32", 4},     {"U32", 4},     {"I16", 2}, {"U16", 2},
              {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U8", 1},  {"BOOL", 1}};

struct tensor {
    const char *name; /* the JSON's */
    const struct dtype *dtype;
    int dims;
    int64_t shape[DIMS_MAX];
    uint64_t begin, end; /* in the data */
};

struct wsl_safetensors {
    char *path;
    int fd;
    uint8_t *map;
    size_t map_size;
    const uint8_t *data;
    uint64_t data_size;
    json_t *header;
    struct tensor *tensors; /* by name */
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int damaged(const struct wsl_safetensors *file, const char *name, const char *what,
                   struct wsl_err *err)
{
    return wsl_fail(err, WSL_ECORRUPT, "%s: tensor %.100s: %s", file->path, name, what);
}

static int parse_shape(const struct wsl_safetensors *file, const json_t *shape, struct tensor *t,
                       uint64_t *ret_bytes, struct wsl_err *err)
{
    uint64_t bytes = t->dtype->size;

    if (!json_is_array(shape) || json_array_size(shape) > DIMS_MAX)
        return damaged(file, t->name, "its shape is not a list of at most 8 sizes", err);
    t->dims = (int)json_array_size(shape);
    for (int i = 0; i < t->dims; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);

        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return damaged(file, t->name, "its shape has something other than sizes", err);
        t->shape[i] = json_integer_value(size);
        if (__builtin_mul_overflow(bytes, (uint64_t)t->shape[i], &bytes))
            return damaged(file, t->name, "its shape is too large to be true", err);
    }
    *ret_bytes = bytes;
    return 0;
}

static int parse_tensor(const struct wsl_safetensors *file, const char *name, const json_t *value,
                        struct tensor *t, struct wsl_err *err)
{
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    const json_t *offsets = json_object_get(value, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    uint64_t bytes = 0;
    int r;

    t->name = name;
    if (!dtype)
        return damaged(file, name, "has no dtype", err);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, dtype) == 0)
            t->dtype = &dtypes[i];
    if (!t->dtype)
        return wsl_fail(err, WSL_EUNSUPPORTED, "%s: tensor %.100s: dtype %.20s is not known",
                        file->path, name, dtype);
    r = parse_shape(file, json_object_get(value, "shape"), t, &bytes, err);
    if (r < 0)
        return r;
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return damaged(file, name, "its data_offsets are not a begin and an end", err);
    t->begin = (uint64_t)json_integer_value(begin);
    t->end = (uint64_t)json_integer_value(end);
    if (t->end > file->data_size)
        return damaged(file, name, "its data lies beyond the end of the file (truncated?)", err);
    if (t->end - t->begin != bytes)
        return damaged(file, name, "its data_offsets do not fit its shape", err);
    return 0;
}

/* The format wants the data covered exactly once: no overlap, no hole, nothing behind it. */
static int check_places(struct wsl_safetensors *file, struct wsl_err *err)
{
    uint64_t at = 0;

    qsort(file->tensors, file->count, sizeof *file->tensors, by_place);
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *t = &file->tensors[i];

        if (t->begin < at)
            return damaged(file, t->name, "its data overlaps another tensor's", err);
        if (t->begin > at)
            return damaged(file, t->name, "there is a hole before its data", err);
        at = t->end;
    }
    if (at != file->data_size)
        return wsl_fail(err, WSL_ECORRUPT, "%s: %llu bytes after the last tensor", file->path,
                        (unsigned long long)(file->data_size - at));
    return 0;
}

/* JSON that is small as text may be large when parsed ("{},{},{},"): count before parsing. */
static bool header_is_modest(const char *text, size_t size)
{
    size_t objects = 0, values = 0;

    for (size_t i = 0; i < size; i++) {
        objects += text[i] == '{';
        values += text[i] == ',' || text[i] == '[';
    }
    return objects <= TENSORS_MAX + 2 && values <= VALUES_MAX;
}

static int parse_header(struct wsl_safetensors *file, const char *text, size_t size,
                        struct wsl_err *err)
{
    json_error_t why;
    const char *name;
    json_t *value;
    int r;

    if (!header_is_modest(text, size))
        return wsl_fail(err, WSL_ELIMIT, "%s: more than the %d tensors that are read", file->path,
                        TENSORS_MAX);
    file->header = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!file->header || !json_is_object(file->header))
        return wsl_fail(err, WSL_ECORRUPT, "%s: the header is not a JSON object: %.100s",
                        file->path, file->header ? "another value" : why.text);
    file->tensors = calloc(json_object_size(file->header) + 1, sizeof *file->tensors);
    if (!file->tensors)
        return wsl_fail(err, WSL_ENOMEM, "%s: out of memory", file->path);
    json_object_foreach(file->header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        r = parse_tensor(file, name, value, &file->tensors[file->count++], err);
        if (r < 0)
            return r;
    }
    r = check_places(file, err);
    if (r < 0)
        return r;
    qsort(file->tensors, file->count, sizeof *file->tensors, by_name);
    return 0;
}

static int map_file(struct wsl_safetensors *file, struct wsl_err *err)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map;
    int r = 0;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot open %s", file->path);
    file->fd = fd;
    if (fstat(fd, &st) < 0)
        r = wsl_fail_errno(err, "cannot read %s", file->path);
    else if (!S_ISREG(st.st_mode))
        r = wsl_fail(err, WSL_EINVAL, "%s is not a file", file->path);
    else if (st.st_size < 8)
        r = wsl_fail(err, WSL_ECORRUPT, "%s: %lld bytes are too few for a safetensors file",
                     file->path, (long long)st.st_size);
    if (r == 0) {
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            r = wsl_fail_errno(err, "cannot map %s", file->path);
        } else {
            file->map = map;
            file->map_size = (size_t)st.st_size;
        }
    }
    return r;
}

static int open_file(struct wsl_safetensors *file, struct wsl_err *err)
{
    uint64_t header_size;
    int r = map_file(file, err);

    if (r < 0)
        return r;
    memcpy(&header_size, file->map, 8);
    if (header_size > file->map_size - 8)
        return wsl_fail(err, WSL_ECORRUPT,
                        "%s: a header of %llu bytes in a file of %zu (truncated, or not a "
                        "safetensors file)",
                        file->path, (unsigned long long)header_size, file->map_size);
    if (header_size > HEADER_MAX)
        return wsl_fail(err, WSL_ELIMIT, "%s: a header of %llu bytes, at most %d are read",
                        file->path, (unsigned long long)header_size, HEADER_MAX);
    file->data = file->map + 8 + header_size;
    file->data_size = file->map_size - 8 - header_size;
    return parse_header(file, (const char *)file->map + 8, (size_t)header_size, err);
}

int wsl_safetensors_open(struct wsl_safetensors **ret, const char *path, struct wsl_err *err)
{
    struct wsl_safetensors *file = calloc(1, sizeof *file);
    int r;

    if (file) {
        file->fd = -1;
        file->path = strdup(path);
    }
    if (!file || !file->path) {
        free(file);
        return wsl_fail(err, WSL_ENOMEM, "cannot open %s: out of memory", path);
    }
    r = open_file(file, err);
    if (r < 0) {
        wsl_safetensors_close(file);
        return r;
    }
    *ret = file;
    return 0;
}

void wsl_safetensors_close(struct wsl_safetensors *file)
{
    if (!file)
        return;
    if (file->map)
        munmap(file->map, file->map_size);
    if (file->fd >= 0)
        close(file->fd);
    json_decref(file->header);
    free(file->tensors);
    free(file->path);
    free(file);
}

size_t wsl_safetensors_count(const struct wsl_safetensors *file)
{
    return file->count;
}

const char *wsl_safetensors_name(const struct wsl_safetensors *file, size_t i)
{
    return i < file->count ? file->tensors[i].name : NULL;
}

const char *wsl_safetensors_dtype(const struct wsl_safetensors *file, size_t i)
{
    return i < file->count ? file->tensors[i].dtype->name : NULL;
}

static const struct tensor *find(const struct wsl_safetensors *file, const char *name,
                                 struct wsl_err *err)
{
    struct tensor key = {.name = name};
    const struct tensor *t = NULL;

    if (file->count > 0)
        t = bsearch(&key, file->tensors, file->count, sizeof *file->tensors, by_name);
    if (!t)
        wsl_fail(err, WSL_ENOENT, "%s has no tensor %s", file->path, name);
    return t;
}

/* "[64, 3, 7, 7]" */
static void shape_text(int dims, const int64_t *shape, char text[200])
{
    size_t n = (size_t)snprintf(text, 200, "[");

    for (int i = 0; i < dims && n < 170; i++)
        n += (size_t)snprintf(text + n, 200 - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(text + n, 200 - n, "]");
}

static float float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16 to binary32, exact. */
static float float_of_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 31, fraction = half & 0x3ff;

    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0)
        return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    /* zero or subnormal: fraction * 2^-24 */
    return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
}

static bool is_read(const struct tensor *t)
{
    return strcmp(t->dtype->name, "F32") == 0 || strcmp(t->dtype->name, "F16") == 0 ||
           strcmp(t->dtype->name, "BF16") == 0;
}

/* `count` values of a type that is read. */
static void convert(const struct tensor *t, const uint8_t *data, uint64_t count, float *values)
{
    bool half = strcmp(t->dtype->name, "F16") == 0;

    if (t->dtype->size == 4) {
        memcpy(values, data, count * 4);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t bits;

        memcpy(&bits, data + 2 * i, 2); /* need not be aligned */
        values[i] = half ? float_of_half(bits) : float_of_bits((uint32_t)bits << 16);
    }
}

/* What was copied need not stay in this process' memory too; the kernel keeps it as long as there
 * is room. */
static void let_go(const struct wsl_safetensors *file, const struct tensor *t)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *begin = file->map + ((size_t)(file->data - file->map) + t->begin) / page * page;

    madvise(begin, (size_t)(file->data + t->end - begin), MADV_DONTNEED);
}

int wsl_safetensors_read(const struct wsl_safetensors *file, const struct wsl_named_tensor *want,
                         struct wsl_err *err)
{
    const struct tensor *t = find(file, want->name, err);
    char has[200], needs[200];

    if (!t)
        return WSL_ENOENT;
    if (t->dims != want->dims ||
        memcmp(t->shape, want->shape, (size_t)t->dims * sizeof t->shape[0]) != 0) {
        shape_text(t->dims, t->shape, has);
        shape_text(want->dims, want->shape, needs);
        return wsl_fail(err, WSL_EINVAL, "%s: tensor %s is %s, the model needs %s", file->path,
                        want->name, has, needs);
    }
    if (!is_read(t))
        return wsl_fail(err, WSL_EUNSUPPORTED,
                        "%s: tensor %s has dtype %s; F32, F16 and BF16 are read", file->path,
                        want->name, t->dtype->name);
    if (t->end > t->begin) {
        convert(t, file->data + t->begin, (t->end - t->begin) / t->dtype->size, want->values);
        let_go(file, t);
    }
    return 0;
}

static bool is_bad(float value, bool nonnegative)
{
    return !isfinite(value) || (nonnegative && value < 0);
}

/* Not through the map, whose pages would have to be given back one by one. */
static int read_part(const struct wsl_safetensors *file, uint64_t at, void *part, uint64_t size,
                     struct wsl_err *err)
{
    uint64_t done = 0;

    while (done < size) {
        ssize_t n = pread(file->fd, (char *)part + done, size - done,
                          (off_t)((uint64_t)(file->data - file->map) + at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return wsl_fail_errno(err, "cannot read %s", file->path);
        if (n == 0)
            return wsl_fail(err, WSL_ECORRUPT, "%s became shorter while it was read", file->path);
        done += (uint64_t)n;
    }
    return 0;
}

int wsl_safetensors_find_bad(const struct wsl_safetensors *file, size_t i, bool nonnegative,
                             struct wsl_bad_value *ret, struct wsl_err *err)
{
    enum { PART = 1 << 14 };
    const struct tensor *t = &file->tensors[i];
    uint64_t count = (t->end - t->begin) / t->dtype->size;
    uint8_t bytes[PART * sizeof(float)];
    float values[PART];

    if (!is_read(t))
        return wsl_fail(err, WSL_EUNSUPPORTED, "%s: tensor %.100s has dtype %s", file->path,
                        t->name, t->dtype->name);
    for (uint64_t at = 0; at < count; at += PART) {
        uint64_t n = count - at < PART ? count - at : PART;
        unsigned bad = 0;
        int r = read_part(file, t->begin + at * t->dtype->size, bytes, n * t->dtype->size, err);

        if (r < 0)
            return r;
        convert(t, bytes, n, values);
        for (uint64_t k = 0; k < n; k++) /* without a branch: vector instructions do it */
            bad |= is_bad(values[k], nonnegative);
        for (uint64_t k = 0; bad && k < n; k++)
            if (is_bad(values[k], nonnegative)) {
                *ret = (struct wsl_bad_value){at + k, count, values[k]};
                return 1;
            }
    }
    return 0;
}

int wsl_safetensors_shape(const struct wsl_safetensors *file, const char *name, int *ret_dims,
                          int64_t ret_shape[4], struct wsl_err *err)
{
    const struct tensor *t = find(file, name, err);

    if (!t)
        return WSL_ENOENT;
    if (t->dims > 4)
        return wsl_fail(err, WSL_EUNSUPPORTED,
                        "%s: tensor %s has %d dimensions, at most 4 are read", file->path, name,
                        t->dims);
    *ret_dims = t->dims;
    for (int i = 0; i < 4; i++)
        ret_shape[i] = i < t->dims ? t->shape[i] : 1;
    return 0;
}
