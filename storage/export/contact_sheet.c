/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/export/contact_sheet.h"

#include "kernels/image/image.h"
#include "storage/export/font.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 8, LINES = 3, LINE = FONT_HEIGHT + 2, PAPER = 255, INK = 0, BLANK = 160 };

#define PIXELS_MAX ((uint64_t)1 << 28)

struct sheet {
    const struct wsl_contact_sheet_setup *setup;
    struct wsl_image image;
    uint8_t *fitted; /* side x side x 3 */
};

static void fill(struct wsl_image *image, int x, int y, int width, int height, uint8_t grey)
{
    for (int row = 0; row < height; row++)
        memset(image->pixels + ((size_t)(y + row) * (size_t)image->width + (size_t)x) * 3, grey,
               (size_t)width * 3);
}

/* The image as large as it fits into a square, centred. */
static int put_image(struct sheet *s, const struct wsl_record *record, int x, int y,
                     struct wsl_err *err)
{
    const int side = s->setup->side;
    const struct wsl_image_limits limits = {.side_max = 2 * side};
    uint8_t *copy = malloc(record->jpeg_size);
    struct wsl_image image = {0};
    int width, height, left, top;
    int r = copy ? wsl_record_copy(record, copy, err)
                 : wsl_fail(err, WSL_ENOMEM, "no memory for an image");

    if (r == 0)
        r = wsl_image_decode(copy, record->jpeg_size, &limits, &image, err);
    free(copy);
    if (r < 0)
        return r;
    width = image.width >= image.height ? side : side * image.width / image.height;
    height = image.height >= image.width ? side : side * image.height / image.width;
    width = width > 0 ? width : 1;
    height = height > 0 ? height : 1;
    r = wsl_image_resize(
        &image, &(struct wsl_image_crop){{0, 0, image.width, image.height}, width, height, false},
        s->fitted, err);
    wsl_image_free(&image);
    left = x + (side - width) / 2;
    top = y + (side - height) / 2;
    for (int row = 0; r == 0 && row < height; row++)
        memcpy(s->image.pixels + ((size_t)(top + row) * (size_t)s->image.width + (size_t)left) * 3,
               s->fitted + (size_t)row * (size_t)width * 3, (size_t)width * 3);
    return r;
}

/* The tags in lines of the cell's width, broken between tags. */
static void put_tags(struct sheet *s, const struct wsl_record *record, int x, int y)
{
    const int right = x + s->setup->side;
    int at = x, line = 0;

    for (int i = 0; i < record->tag_count && line < LINES - 1; i++) {
        const char *name = wsl_dataset_tag(s->setup->dataset, record->tags[i])->name;
        char text[300];
        int width;

        snprintf(text, sizeof text, "%s%s", name, i + 1 < record->tag_count ? "," : "");
        width = (int)strlen(text) * FONT_ADVANCE;
        if (at > x && at + width > right) {
            at = x;
            line++;
        }
        if (line < LINES - 1)
            wsl_font_draw(&s->image, at, y + line * LINE, right, text, INK);
        at += width + FONT_ADVANCE;
    }
}

static int put_cell(struct sheet *s, size_t number, struct wsl_err *err)
{
    const struct wsl_contact_sheet_setup *setup = s->setup;
    const int pitch = setup->side + GAP;
    int x = GAP + (int)(number % (size_t)setup->columns) * pitch;
    int y = GAP + (int)(number / (size_t)setup->columns) * (pitch + LINES * LINE);
    struct wsl_record record;
    struct wsl_err why;
    char title[64];
    int r = wsl_dataset_read(setup->dataset, setup->split, setup->records[number], &record, &why);

    if (r == 0) {
        r = put_image(s, &record, x, y, &why);
        put_tags(s, &record, x, y + setup->side + 2 + LINE);
    }
    if (r == WSL_ENOMEM || r == WSL_EINVAL) {
        if (err)
            *err = why;
        return r;
    }
    if (r < 0)
        fill(&s->image, x, y, setup->side, setup->side, BLANK);
    snprintf(title, sizeof title, "%llu%s", (unsigned long long)setup->records[number],
             r < 0 ? " unreadable" : "");
    wsl_font_draw(&s->image, x, y + setup->side + 2, x + setup->side, title, INK);
    return 0;
}

int wsl_contact_sheet_make(const struct wsl_contact_sheet_setup *setup, struct wsl_buf *out,
                           struct wsl_err *err)
{
    struct sheet s = {.setup = setup};
    uint64_t width, height;
    int r = 0;

    if (setup->count < 1 || setup->count > 1024 || setup->columns < 1 || setup->columns > 64 ||
        setup->side < 32 || setup->side > 1024)
        return wsl_fail(err, WSL_EINVAL, "a sheet of %zu images in %d columns of %d pixels",
                        setup->count, setup->columns, setup->side);
    width = GAP + (uint64_t)setup->columns * (uint64_t)(setup->side + GAP);
    height = GAP + (setup->count + (size_t)setup->columns - 1) / (size_t)setup->columns *
                       (uint64_t)(setup->side + GAP + LINES * LINE);
    if (width * height > PIXELS_MAX || width > 65500 || height > 65500)
        return wsl_fail(err, WSL_ELIMIT,
                        "the sheet would have %llu x %llu pixels: show fewer or smaller images",
                        (unsigned long long)width, (unsigned long long)height);
    s.image = (struct wsl_image){malloc(width * height * 3), (int)width, (int)height};
    s.fitted = malloc((size_t)setup->side * (size_t)setup->side * 3);
    if (!s.image.pixels || !s.fitted) {
        r = wsl_fail(err, WSL_ENOMEM, "no memory for a sheet");
    } else {
        memset(s.image.pixels, PAPER, width * height * 3);
        for (size_t i = 0; r == 0 && i < setup->count; i++)
            r = put_cell(&s, i, err);
        if (r == 0)
            r = wsl_image_encode_jpeg(&s.image, setup->quality, out, err);
    }
    wsl_image_free(&s.image);
    free(s.fitted);
    return r;
}
