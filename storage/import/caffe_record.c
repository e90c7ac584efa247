/* SPDX-License-Identifier: Apache-2.0
 *
 * Schemas: Datum of caffe.proto (channels 1, height 2, width 3, data 4, label 5, encoded 7; planes
 * in the order of OpenCV, blue first); TensorProtos of caffe2.proto (protos 1) with TensorProto
 * (dims 1, float_data 3, int32_data 4, byte_data 5, string_data 6, int64_data 10), where the first
 * tensor is the image and the second its labels, as Caffe2's ImageInput reads them.
 */
#include "storage/import/caffe_record.h"

#include "base/protowire.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { SIDE_MAX = 65500 };

/* Bytes of the file through a small window: an image is stepped over, not read. */
struct cursor {
    int fd;
    uint64_t at, end;
    uint64_t window_at, window_size;
    uint8_t window[512];
};

struct field {
    uint64_t number;
    int wire;
    uint64_t value;        /* of a varint or fixed number */
    uint64_t offset, size; /* of bytes */
};

/* The bytes from c->at on, at least `want` of them or all up to the end; NULL when they cannot be
 * read. */
static const uint8_t *header(struct cursor *c, uint64_t want, size_t *ret_count)
{
    uint64_t left = c->end - c->at, at = c->at - c->window_at;

    want = want < left ? want : left;
    if (c->at < c->window_at || at > c->window_size || c->window_size - at < want) {
        uint64_t size = left < sizeof c->window ? left : sizeof c->window;
        ssize_t n;

        do
            n = pread(c->fd, c->window, size, (off_t)c->at);
        while (n < 0 && errno == EINTR);
        if (n < 0 || (uint64_t)n < want)
            return NULL;
        c->window_at = c->at;
        c->window_size = (uint64_t)n;
        at = 0;
    }
    *ret_count = (size_t)(c->window_size - at < left ? c->window_size - at : left);
    return c->window + at;
}

static bool take_varint(struct cursor *c, uint64_t *ret)
{
    size_t count;
    const uint8_t *p = header(c, WSL_VARINT_MAX, &count);
    int used = p ? wsl_varint_read(p, count, ret) : 0;

    if (used <= 0)
        return false;
    c->at += (uint64_t)used;
    return true;
}

static bool take_fixed(struct cursor *c, size_t size, uint64_t *ret)
{
    size_t count;
    const uint8_t *p = header(c, size, &count);
    struct wsl_wire wire;

    if (!p)
        return false;
    wire = wsl_wire_of(p, count);
    if (!wsl_wire_take_fixed(&wire, size, ret))
        return false;
    c->at += size;
    return true;
}

/* 1, 0 at the end, -1 for what is no protobuf. */
static int take_field(struct cursor *c, struct field *ret)
{
    uint64_t key;

    if (c->at == c->end)
        return 0;
    if (!take_varint(c, &key) || key >> 3 == 0)
        return -1;
    ret->number = key >> 3;
    ret->wire = (int)(key & 7);
    switch (ret->wire) {
    case WSL_WIRE_VARINT:
        return take_varint(c, &ret->value) ? 1 : -1;
    case WSL_WIRE_FIXED64:
        return take_fixed(c, 8, &ret->value) ? 1 : -1;
    case WSL_WIRE_FIXED32:
        return take_fixed(c, 4, &ret->value) ? 1 : -1;
    case WSL_WIRE_BYTES:
        if (!take_varint(c, &ret->size) || ret->size > c->end - c->at)
            return -1;
        ret->offset = c->at;
        c->at += ret->size;
        return 1;
    default:
        return -1;
    }
}

static void add_label(struct caffe_record *r, int64_t label)
{
    if (r->label_count < CAFFE_LABELS)
        r->labels[r->label_count++] = label;
}

static const char *set_raw(struct caffe_record *r, uint64_t channels, enum source_form form,
                           uint64_t width, uint64_t height)
{
    if (channels != 1 && channels != 3)
        return "a raw image of neither 1 nor 3 channels";
    if (width < 1 || width > SIDE_MAX || height < 1 || height > SIDE_MAX)
        return "a raw image of an impossible size";
    if (r->size != channels * width * height)
        return "a raw image whose bytes are not width x height x channels";
    r->form = channels == 1 ? SOURCE_PIXELS_GREY : form;
    r->width = (uint32_t)width;
    r->height = (uint32_t)height;
    return NULL;
}

static const char *parse_datum(struct cursor *c, struct caffe_record *ret)
{
    uint64_t channels = 0, height = 0, width = 0, encoded = 0;
    struct field f;
    int r;

    while ((r = take_field(c, &f)) == 1) {
        if (f.number == 4 && f.wire == WSL_WIRE_BYTES) {
            ret->offset = f.offset;
            ret->size = f.size;
        } else if (f.wire != WSL_WIRE_VARINT) {
            continue;
        } else if (f.number == 1) {
            channels = f.value;
        } else if (f.number == 2) {
            height = f.value;
        } else if (f.number == 3) {
            width = f.value;
        } else if (f.number == 5) {
            ret->label_count = 0;
            add_label(ret, (int64_t)f.value);
        } else if (f.number == 7) {
            encoded = f.value;
        }
    }
    if (r < 0)
        return "no Datum: its fields do not fit";
    if (ret->size == 0)
        return "a Datum without bytes (float_data cannot be used)";
    return encoded ? NULL : set_raw(ret, channels, SOURCE_PLANES_BGR, width, height);
}

/* ---- Caffe2 ---- */

struct tensor {
    uint64_t dims[4];
    int dim_count;
    uint64_t bytes_offset, bytes_size; /* byte_data */
    uint64_t text_offset, text_size;   /* string_data[0] */
    int64_t numbers[CAFFE_LABELS];
    int number_count;
};

static bool add_number(struct tensor *t, int64_t value)
{
    if (t->number_count < CAFFE_LABELS)
        t->numbers[t->number_count++] = value;
    return true;
}

static bool add_float(struct tensor *t, uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;

    memcpy(&value, &low, sizeof value);
    return value == rintf(value) && fabsf(value) < 1e9f && add_number(t, (int64_t)value);
}

static bool add_dim(struct tensor *t, uint64_t value)
{
    if (t->dim_count == 4)
        return false;
    t->dims[t->dim_count++] = value;
    return true;
}

/* Numbers come packed or one by one. */
static bool add_numbers(struct cursor *c, const struct field *f, struct tensor *t)
{
    struct cursor packed = {.fd = c->fd, .at = f->offset, .end = f->offset + f->size};
    bool is_float = f->number == 3, is_dim = f->number == 1;
    uint64_t value = f->value;
    bool good = true;

    if (f->wire != WSL_WIRE_BYTES)
        return is_dim     ? add_dim(t, value)
               : is_float ? add_float(t, value)
                          : add_number(t, (int64_t)value);
    while (good && packed.at < packed.end && t->number_count < CAFFE_LABELS) {
        good = is_float ? take_fixed(&packed, 4, &value) : take_varint(&packed, &value);
        if (good)
            good = is_dim     ? add_dim(t, value)
                   : is_float ? add_float(t, value)
                              : add_number(t, (int64_t)value);
    }
    return good;
}

static bool parse_tensor(struct cursor *c, struct tensor *t)
{
    bool good = true;
    struct field f;
    int r = 0;

    while (good && (r = take_field(c, &f)) == 1) {
        if (f.number == 1 || f.number == 3 || f.number == 4 || f.number == 10) {
            good = add_numbers(c, &f, t);
        } else if (f.number == 5 && f.wire == WSL_WIRE_BYTES) {
            t->bytes_offset = f.offset;
            t->bytes_size = f.size;
        } else if (f.number == 6 && f.wire == WSL_WIRE_BYTES && t->text_size == 0) {
            t->text_offset = f.offset;
            t->text_size = f.size;
        }
    }
    return good && r == 0;
}

static const char *use_tensors(const struct tensor tensors[2], int count, struct caffe_record *ret)
{
    const struct tensor *image = &tensors[0];

    for (int i = 0; count > 1 && i < tensors[1].number_count; i++)
        add_label(ret, tensors[1].numbers[i]);
    if (image->text_size > 0) {
        ret->offset = image->text_offset;
        ret->size = image->text_size;
        return NULL;
    }
    ret->offset = image->bytes_offset;
    ret->size = image->bytes_size;
    if (ret->size == 0)
        return "a TensorProtos whose first tensor has no bytes";
    if (image->dim_count != 3)
        return "a raw image whose tensor has not height, width and channels";
    return set_raw(ret, image->dims[2], SOURCE_PIXELS_BGR, image->dims[1], image->dims[0]);
}

static const char *parse_tensors(struct cursor *c, struct caffe_record *ret)
{
    struct tensor tensors[2] = {0};
    struct field f;
    int count = 0, r;

    while ((r = take_field(c, &f)) == 1) {
        struct cursor inner = {.fd = c->fd, .at = f.offset, .end = f.offset + f.size};

        if (f.number != 1 || f.wire != WSL_WIRE_BYTES || count == 2)
            continue;
        if (!parse_tensor(&inner, &tensors[count++]))
            return "no TensorProtos: a tensor's fields do not fit";
    }
    if (r < 0 || count == 0)
        return "no TensorProtos: its fields do not fit";
    return use_tensors(tensors, count, ret);
}

const char *wsl_caffe_record_parse(int fd, uint64_t offset, uint64_t size, struct caffe_record *ret)
{
    struct cursor c = {.fd = fd, .at = offset, .end = offset + size};
    const uint8_t *first;
    size_t count;

    *ret = (struct caffe_record){.form = SOURCE_FILE};
    if (size == 0)
        return "an empty value";
    first = header(&c, 1, &count);
    if (!first)
        return "it cannot be read";
    /* Field 1 of TensorProtos is a run of bytes, field 1 of Datum a number. */
    return *first == (1 << 3 | WSL_WIRE_BYTES) ? parse_tensors(&c, ret) : parse_datum(&c, ret);
}
