/* SPDX-License-Identifier: Apache-2.0
 *
 * Headers, where the rows begin, and what to do with the samples; loops.c does the work. The
 * format: ITU-T T.81. What is returned as false or 0 here is never an error: libjpeg decides.
 */
#include "kernels/image/jpeg/fast.h"

#include "kernels/cpu_level.h"
#include "kernels/image/pixels.h"
#include "kernels/image/resize_passes.h"
#include "kernels/image/scratch.h"

#include <stddef.h>
#include <string.h>

enum {
    SOF0 = 0xc0,
    DHT = 0xc4,
    RST0 = 0xd0,
    SOI = 0xd8,
    EOI = 0xd9,
    SOS = 0xda,
    DQT = 0xdb,
    DRI = 0xdd,
    APP0 = 0xe0,
    APP14 = 0xee,
    COM = 0xfe,
};

enum { ROWS_MAX = 8192, PLANE_BORDER = 16, SIZE_MAX_BITS = 10 };

struct file {
    const uint8_t *at, *end; /* what is still to be read of the headers, later of the scan */
    int width, height;
    int restart_interval;
    bool has_jfif, has_adobe;
    int adobe_transform;
    uint8_t ids[3], quant_of[3];
    bool has_frame;
    bool has_quants[4];
    int16_t quants[4][64];
    struct wsl_jpeg_huffman huffman[2][4]; /* dc, ac */
    struct wsl_jpeg_scan scan;
    int rows; /* of MCUs */
    struct window {
        int x, y, width, height;
    } window; /* pixels wanted */
    struct wsl_image_scratch *scratch;
    uint8_t *samples; /* memory of the planes, and behind them room for two lines of the first */
    size_t samples_size;
    uint8_t *clean; /* entropy-coded bytes without stuffing */
    const struct wsl_jpeg_loops *loops;
};

static int u16_at(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

/* ---- tables ---- */

static bool take_quants(struct file *f, const uint8_t *p, const uint8_t *end)
{
    for (; end - p >= 65; p += 65) {
        if (p[0] > 3) /* 16 bits, or no such table */
            return false;
        for (int i = 0; i < 64; i++)
            f->quants[p[0]][f->loops->places[i]] = p[1 + i];
        f->has_quants[p[0]] = true;
    }
    return p == end;
}

/* For all bits that begin with `code` and from which its coefficient's sign is seen. */
static void fill_entries(struct wsl_jpeg_huffman *t, uint32_t code, uint32_t length, uint8_t symbol)
{
    uint32_t half, *entry = t->lookup + (code << (WSL_JPEG_LOOKUP_BITS - length));

    if (length == WSL_JPEG_LOOKUP_BITS) {
        if ((symbol & 15) == 0)
            *entry = wsl_jpeg_entry(t, code, length, symbol, 0);
        return;
    }
    half = 1u << (WSL_JPEG_LOOKUP_BITS - length - 1);
    for (uint32_t first_bit = 0; first_bit < 2; first_bit++) {
        uint32_t value = wsl_jpeg_entry(t, code, length, symbol, first_bit);

        for (uint32_t i = 0; i < half; i++)
            *entry++ = value;
    }
}

static bool make_huffman(struct wsl_jpeg_huffman *t, const uint8_t *counts, const uint8_t *symbols,
                         int total)
{
    unsigned code = 0;
    int k = 0;

    memset(t->lookup, 0, sizeof t->lookup);
    memset(t->symbols, 0, sizeof t->symbols);
    memcpy(t->symbols, symbols, (size_t)total);
    for (int length = 1; length <= 16; length++, code <<= 1) {
        int n = counts[length - 1];

        t->max_code[length] = -1;
        if (n == 0)
            continue;
        if (code + (unsigned)n > 1u << length)
            return false;
        t->offset[length] = k - (int)code;
        for (int i = 0; i < n; i++, code++, k++) {
            if ((symbols[k] & 15) > SIZE_MAX_BITS + t->is_dc || (t->is_dc && symbols[k] > 15))
                return false; /* 8-bit images have no such coefficients */
            if (length <= WSL_JPEG_LOOKUP_BITS)
                fill_entries(t, code, (uint32_t)length, symbols[k]);
        }
        t->max_code[length] = (int32_t)((code << (16 - length)) - 1);
    }
    t->max_code[17] = INT32_MAX;
    t->is_there = true;
    return true;
}

static bool take_huffman(struct file *f, const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 17) {
        struct wsl_jpeg_huffman *t = &f->huffman[p[0] >> 4 & 1][p[0] & 3];
        int total = 0;

        for (int i = 1; i <= 16; i++)
            total += p[i];
        if ((p[0] & ~0x13) != 0 || total > 256 || end - p < 17 + total)
            return false;
        t->is_dc = p[0] < 0x10;
        if (!make_huffman(t, p + 1, p + 17, total))
            return false;
        p += 17 + total;
    }
    return p == end;
}

/* ---- headers ---- */

static bool take_frame(struct file *f, const uint8_t *p, const uint8_t *end)
{
    if (f->has_frame || end - p != 15 || p[0] != 8 || p[5] != 3)
        return false;
    f->height = u16_at(p + 1);
    f->width = u16_at(p + 3);
    for (int i = 0; i < 3; i++) {
        struct wsl_jpeg_component *c = &f->scan.components[i];

        f->ids[i] = p[6 + 3 * i];
        c->h = p[7 + 3 * i] >> 4;
        c->v = p[7 + 3 * i] & 15;
        f->quant_of[i] = p[8 + 3 * i];
        if (f->quant_of[i] > 3)
            return false;
    }
    f->has_frame = true;
    return true;
}

static bool take_scan(struct file *f, const uint8_t *p, const uint8_t *end)
{
    if (!f->has_frame || end - p != 10 || p[0] != 3 || p[7] != 0 || p[8] != 63 || p[9] != 0)
        return false;
    for (int i = 0; i < 3; i++) {
        struct wsl_jpeg_component *c = &f->scan.components[i];
        int dc = p[2 + 2 * i] >> 4, ac = p[2 + 2 * i] & 15;

        if (p[1 + 2 * i] != f->ids[i] || dc > 3 || ac > 3 || !f->has_quants[f->quant_of[i]])
            return false;
        c->dc = &f->huffman[0][dc];
        c->ac = &f->huffman[1][ac];
        if (!c->dc->is_there || !c->ac->is_there)
            return false;
        memcpy(c->quants, f->quants[f->quant_of[i]], sizeof c->quants);
    }
    return true;
}

static bool take_segment(struct file *f, int marker, const uint8_t *p, const uint8_t *end)
{
    switch (marker) {
    case SOF0:
        return take_frame(f, p, end);
    case DHT:
        return take_huffman(f, p, end);
    case DQT:
        return take_quants(f, p, end);
    case DRI:
        f->restart_interval = end - p == 2 ? u16_at(p) : 0;
        return end - p == 2;
    case APP0:
        f->has_jfif |= end - p >= 14 && memcmp(p, "JFIF", 5) == 0;
        return true;
    case APP14:
        if (end - p >= 12 && memcmp(p, "Adobe", 5) == 0) {
            f->has_adobe = true;
            f->adobe_transform = p[11];
        }
        return true;
    default: /* comments and other programs' data; other kinds of JPEG */
        return marker == COM || (marker > APP0 && marker < APP14) || marker == APP14 + 1;
    }
}

/* Up to the scan's first byte. */
static bool take_headers(struct file *f)
{
    if (f->end - f->at < 4 || f->at[0] != 0xff || f->at[1] != SOI)
        return false;
    f->at += 2;
    for (;;) {
        const uint8_t *p = f->at;
        int marker, length;

        if (f->end - p < 4 || p[0] != 0xff)
            return false;
        marker = p[1];
        length = u16_at(p + 2);
        if (length < 2 || f->end - p < 2 + length)
            return false;
        f->at = p + 2 + length;
        if (marker == SOS)
            return take_scan(f, p + 4, f->at);
        if (!take_segment(f, marker, p + 4, f->at))
            return false;
    }
}

/* The cases in which libjpeg takes the three components for YCbCr. */
static bool is_ycbcr(const struct file *f)
{
    if (f->has_jfif)
        return true;
    if (f->has_adobe)
        return f->adobe_transform == 1;
    return f->ids[0] == 1 && f->ids[1] == 2 && f->ids[2] == 3;
}

static bool is_ordinary(struct file *f)
{
    const struct wsl_jpeg_component *c = f->scan.components;
    int side = 8 * c[0].h;

    if (!is_ycbcr(f) || c[0].h != c[0].v || c[0].h < 1 || c[0].h > 2 || c[1].h != 1 ||
        c[1].v != 1 || c[2].h != 1 || c[2].v != 1)
        return false;
    /* Narrower ones libjpeg widens in another way. */
    if (f->width < 8 || f->height < 1)
        return false;
    f->scan.columns = (f->width + side - 1) / side;
    f->rows = (f->height + side - 1) / side;
    return f->rows <= ROWS_MAX &&
           (f->restart_interval == 0 || f->restart_interval == f->scan.columns);
}

/* ---- planes ---- */

/* The MCUs that have a stretch of pixels and what widening their colours reads. */
static void cover(int first, int count, int side, int limit, int *ret_first, int *ret_end)
{
    int from = first - 2 < 0 ? 0 : (first - 2) / side;
    int end = (first + count + 2 + side - 1) / side;

    *ret_first = from;
    *ret_end = end < limit ? end : limit;
}

static int open_planes(struct file *f)
{
    struct wsl_jpeg_scan *s = &f->scan;
    int side = 8 * s->components[0].h;
    size_t at[3];

    cover(f->window.x, f->window.width, side, s->columns, &s->first_column, &s->end_column);
    cover(f->window.y, f->window.height, side, f->rows, &s->first_row, &s->end_row);
    for (int i = 0; i < 3; i++) {
        struct wsl_jpeg_component *c = &s->components[i];

        c->stride = (size_t)(s->end_column - s->first_column) * (size_t)c->h * 8 + 2 * PLANE_BORDER;
        at[i] = f->samples_size + PLANE_BORDER;
        f->samples_size += (size_t)(s->end_row - s->first_row) * (size_t)c->v * 8 * c->stride;
    }
    f->samples = wsl_image_scratch_take(f->scratch, WSL_SCRATCH_SAMPLES,
                                        f->samples_size + 2 * s->components[0].stride);
    if (!f->samples)
        return WSL_ENOMEM;
    for (int i = 0; i < 3; i++)
        s->components[i].plane = f->samples + at[i];
    return 0;
}

/* ---- entropy-coded bytes ---- */

/* Copies up to the next marker; f->at is then at its 0xff. False at the file's end. */
static bool clean_up(struct file *f, uint8_t *out, size_t *ret_size)
{
    uint8_t *to = out;

    for (;;) {
        const uint8_t *p = memchr(f->at, 0xff, (size_t)(f->end - f->at));

        if (!p || f->end - p < 2)
            return false;
        memcpy(to, f->at, (size_t)(p - f->at));
        to += p - f->at;
        f->at = p;
        if (p[1] != 0)
            break;
        *to++ = 0xff;
        f->at = p + 2;
    }
    memset(to, 0, WSL_JPEG_PADDING);
    *ret_size = (size_t)(to - out);
    return true;
}

/* To the next marker's 0xff. */
static bool pass_over(struct file *f)
{
    for (;;) {
        const uint8_t *p = memchr(f->at, 0xff, (size_t)(f->end - f->at));

        if (!p || f->end - p < 2)
            return false;
        f->at = p;
        if (p[1] != 0)
            return true;
        f->at = p + 2;
    }
}

/* Every marker is looked at, those behind the part too: one more or less and rows would be taken
 * for others. */
static bool decode_restarted(struct file *f)
{
    struct wsl_jpeg_scan *s = &f->scan;

    for (int row = 0; row < f->rows; row++) {
        struct wsl_jpeg_bits bits = {.bytes = f->clean};

        if (row < s->first_row || row >= s->end_row) {
            if (!pass_over(f))
                return false;
        } else if (!clean_up(f, f->clean, &bits.size) || !f->loops->rows(s, &bits, row, row + 1)) {
            return false;
        }
        if (f->at[1] != (row + 1 < f->rows ? RST0 + row % 8 : EOI))
            return false;
        f->at += 2;
    }
    return true;
}

static bool decode_in_one(struct file *f)
{
    struct wsl_jpeg_bits bits = {.bytes = f->clean};

    return clean_up(f, f->clean, &bits.size) && f->at[1] == EOI &&
           f->loops->rows(&f->scan, &bits, 0, f->scan.end_row);
}

/* ---- pixels ---- */

/* Samples beyond the image's edges: the last one again, as libjpeg has it. */
static void extend_colours(struct file *f, const struct wsl_jpeg_component *c)
{
    int first = f->scan.first_column * 8, last = (f->width + 1) / 2 - 1 - first;
    int columns = (f->scan.end_column - f->scan.first_column) * 8;
    int rows = (f->scan.end_row - f->scan.first_row) * 8;

    for (int y = 0; y < rows; y++) {
        uint8_t *line = c->plane + (size_t)y * c->stride;

        line[-1] = line[0];
        if (last < columns)
            line[last + 1] = line[last];
        else
            line[columns] = line[columns - 1]; /* is not needed; only defined */
    }
}

static const uint8_t *line_of(const struct wsl_jpeg_component *c, int row)
{
    return c->plane + (size_t)row * c->stride;
}

/* The colours of image row y from column x of the planes on, `width` of them; in *line where they
 * have to be widened. */
static const uint8_t *colour_line(const struct file *f, const struct wsl_jpeg_component *c, int y,
                                  int x, int width, uint8_t *line)
{
    int top = f->scan.first_row * 8, last = (f->height + 1) / 2 - 1;
    int near = y / 2, far = y & 1 ? near + 1 : near - 1; /* the nearest, the second nearest */

    if (f->scan.components[0].h == 1)
        return line_of(c, y - top) + x;
    far = far < 0 ? 0 : far > last ? last : far;
    f->loops->widen(line_of(c, near - top) + x / 2, line_of(c, far - top) + x / 2,
                    (x + width + 1) / 2 - x / 2, line);
    return line + x % 2;
}

static int make_pixels(struct file *f, struct wsl_image *ret)
{
    const struct wsl_jpeg_component *c = f->scan.components;
    const struct window *w = &f->window;
    int side = 8 * c[0].h, x = w->x - f->scan.first_column * side;
    uint8_t *lines = f->samples + f->samples_size;
    uint8_t *out;

    out = wsl_image_scratch_take(f->scratch, WSL_SCRATCH_PIXELS,
                                 (size_t)w->width * (size_t)w->height * 3);
    if (!out)
        return WSL_ENOMEM;
    *ret = (struct wsl_image){out, w->width, w->height};
    for (int i = 1; c[0].h == 2 && i < 3; i++)
        extend_colours(f, &c[i]);
    for (int y = w->y; y < w->y + w->height; y++, out += (size_t)w->width * 3)
        f->loops->to_rgb(line_of(&c[0], y - f->scan.first_row * side) + x,
                         colour_line(f, &c[1], y, x, w->width, lines),
                         colour_line(f, &c[2], y, x, w->width, lines + c[0].stride), w->width, out);
    return 0;
}

const struct wsl_jpeg_loops *wsl_jpeg_choose(const char *cap)
{
    static const struct wsl_jpeg_loops *const all[WSL_CPU_LEVELS] = {
        &wsl_jpeg_loops_v1, &wsl_jpeg_loops_v1, &wsl_jpeg_loops_v3, &wsl_jpeg_loops_v4};

    return all[wsl_cpu_level(cap)];
}

/* False unless the part is inside the image. */
static bool set_window(struct file *f, const struct wsl_image_crop *crop)
{
    struct window *w = &f->window;
    const struct wsl_rect *area = &crop->area;

    if (wsl_image_check_size(f->width, f->height, NULL, NULL) < 0 ||
        wsl_image_check_area(f->width, f->height, *area, NULL) < 0)
        return false;
    wsl_resize_reach(area->x, area->width, crop->width, f->width, &w->x, &w->width);
    wsl_resize_reach(area->y, area->height, crop->height, f->height, &w->y, &w->height);
    return true;
}

/* 1, 0 or WSL_ENOMEM as wsl_jpeg_fast(). */
static int decode(struct file *f, const struct wsl_image_crop *crop, struct wsl_image *ret)
{
    int r;

    if (!take_headers(f) || !is_ordinary(f) || !set_window(f, crop))
        return 0;
    r = open_planes(f);
    if (r < 0)
        return r;
    f->clean = wsl_image_scratch_take(f->scratch, WSL_SCRATCH_BYTES,
                                      (size_t)(f->end - f->at) + WSL_JPEG_PADDING);
    if (!f->clean)
        return WSL_ENOMEM;
    if (!(f->restart_interval ? decode_restarted(f) : decode_in_one(f)))
        return 0;
    r = make_pixels(f, ret);
    return r < 0 ? r : 1;
}

static void clear(struct file *f)
{
    memset(f, 0, offsetof(struct file, huffman));
    memset(&f->scan, 0, sizeof *f - offsetof(struct file, scan));
    for (int i = 0; i < 8; i++)
        f->huffman[i / 4][i % 4].is_there = false;
}

int wsl_jpeg_fast_with(const struct wsl_jpeg_loops *loops, struct wsl_image_scratch *scratch,
                       const uint8_t *bytes, size_t size, struct wsl_image_crop *crop,
                       struct wsl_image *ret)
{
    struct file *f = wsl_image_scratch_take(scratch, WSL_SCRATCH_TABLES, sizeof *f);
    int r;

    if (!f)
        return WSL_ENOMEM;
    clear(f);
    f->at = bytes;
    f->end = bytes + size;
    f->scratch = scratch;
    f->loops = loops;
    r = decode(f, crop, ret);
    if (r == 1) {
        crop->area.x -= f->window.x;
        crop->area.y -= f->window.y;
    }
    return r;
}

int wsl_jpeg_fast(struct wsl_image_scratch *scratch, const uint8_t *bytes, size_t size,
                  struct wsl_image_crop *crop, struct wsl_image *ret, struct wsl_err *err)
{
    int r = wsl_jpeg_fast_with(wsl_jpeg_choose(NULL), scratch, bytes, size, crop, ret);

    return r < 0 ? wsl_fail(err, r, "no memory to decode a JPEG") : r;
}
