/* SPDX-License-Identifier: Apache-2.0
 *
 * A page of figures in a grid. Images are made as small as they are shown and lie in the page, so
 * that it is one file that can be sent on.
 */
#include "storage/export/contact_sheet.h"

#include "kernels/image/image.h"
#include "storage/export/html.h"

#include <stdlib.h>
#include <string.h>

/* The page may not load or run anything, even if an escape were forgotten. */
static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'\">\n";

struct sheet {
    const struct wsl_contact_sheet_setup *setup;
    struct wsl_buf *out;
    struct wsl_buf jpeg; /* the current image, as it is stored */
    struct wsl_buf small;
};

/* ---- images ---- */

/* The image in s->small, no larger than it is shown. */
static int shrink(struct sheet *s, const struct wsl_image *image, struct wsl_err *err)
{
    const int side = s->setup->side;
    struct wsl_image small = {0};
    int r;

    if (image->width <= side && image->height <= side)
        return wsl_image_encode_jpeg(image, s->setup->quality, &s->small, err);
    small.width = image->width >= image->height ? side : side * image->width / image->height;
    small.height = image->height >= image->width ? side : side * image->height / image->width;
    small.width += small.width == 0;
    small.height += small.height == 0;
    small.pixels = malloc((size_t)small.width * (size_t)small.height * 3);
    if (!small.pixels)
        return wsl_fail(err, WSL_ENOMEM, "no memory for an image");
    r = wsl_image_resize(image,
                         &(struct wsl_image_crop){
                             {0, 0, image->width, image->height}, small.width, small.height, false},
                         small.pixels, err);
    if (r == 0)
        r = wsl_image_encode_jpeg(&small, s->setup->quality, &s->small, err);
    wsl_image_free(&small);
    return r;
}

static int load_image(struct sheet *s, const struct wsl_record *record, struct wsl_err *err)
{
    const struct wsl_image_limits limits = {.side_max = 2 * s->setup->side};
    struct wsl_image image = {0};
    int r;

    wsl_buf_clear(&s->jpeg);
    wsl_buf_clear(&s->small);
    if (wsl_buf_reserve(&s->jpeg, record->jpeg_size) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for an image");
    r = wsl_record_copy(record, s->jpeg.data, err);
    if (r == 0)
        r = wsl_image_decode(s->jpeg.data, record->jpeg_size, &limits, &image, err);
    if (r < 0)
        return r;
    r = shrink(s, &image, err);
    wsl_image_free(&image);
    return r;
}

/* ---- the page ---- */

static int add_head(struct sheet *s)
{
    const struct wsl_contact_sheet_setup *setup = s->setup;
    const char *split = setup->split == WSL_SPLIT_TRAIN ? "train" : "heldout";
    int r = wsl_buf_add_text(s->out, head);

    if (r == 0)
        r = wsl_buf_add_text(s->out, "<title>");
    if (r == 0)
        r = wsl_html_add_text(s->out, wsl_dataset_name(setup->dataset));
    if (r == 0)
        r = wsl_buf_add_format(
            s->out,
            "</title>\n<style>\n"
            "body { font: 13px/1.4 system-ui, sans-serif; margin: 1em; }\n"
            "main { display: grid; gap: 12px; grid-template-columns: repeat(%d, %dpx); }\n"
            "figure { margin: 0; overflow-wrap: anywhere; }\n"
            ".box { display: flex; align-items: center; justify-content: center; height: %dpx; "
            "overflow: hidden; background: #eee; }\n"
            ".box img { max-width: 100%%; max-height: 100%%; }\n"
            ".bad { background: #aaa; }\n"
            "b { font-variant-numeric: tabular-nums; }\n"
            "</style>\n</head>\n<body>\n<h1>",
            setup->columns, setup->side, setup->side);
    if (r == 0)
        r = wsl_html_add_text(s->out, wsl_dataset_name(setup->dataset));
    return r == 0 ? wsl_buf_add_format(s->out, "</h1>\n<p>%zu images of the %s split</p>\n<main>\n",
                                       setup->count, split)
                  : r;
}

static int add_box(struct sheet *s, const struct wsl_record *record, const char *why)
{
    int r = wsl_buf_add_format(s->out, "<figure title=\"");

    if (r == 0)
        r = wsl_html_add_text(s->out, why ? why : record->source);
    if (r == 0)
        r = wsl_buf_add_text(s->out, why ? "\"><div class=\"box bad\">unreadable</div>"
                                         : "\"><div class=\"box\"><img alt=\"\" src=\"data:image/"
                                           "jpeg;base64,");
    if (r == 0 && !why)
        r = wsl_html_add_base64(s->out, s->small.data, s->small.size);
    return r == 0 && !why ? wsl_buf_add_text(s->out, "\"></div>") : r;
}

/* Each tag in an element of its own direction: names of several scripts stand beside each other. */
static int add_caption(struct sheet *s, uint64_t index, const struct wsl_record *record)
{
    int r = wsl_buf_add_format(s->out, "\n<figcaption><b>%llu</b>", (unsigned long long)index);

    for (int i = 0; r == 0 && i < record->tag_count; i++) {
        r = wsl_buf_add_text(s->out, i == 0 ? " <bdi>" : ", <bdi>");
        if (r == 0)
            r = wsl_html_add_text(s->out,
                                  wsl_dataset_tag(s->setup->dataset, record->tags[i])->name);
        if (r == 0)
            r = wsl_buf_add_text(s->out, "</bdi>");
    }
    return r == 0 ? wsl_buf_add_text(s->out, "</figcaption></figure>\n") : r;
}

/* What is wrong with one image is shown; what is wrong with the request, or memory, ends it. */
static int add_figure(struct sheet *s, uint64_t index, struct wsl_err *err)
{
    struct wsl_record record = {0};
    struct wsl_err why;
    int r = wsl_dataset_read(s->setup->dataset, s->setup->split, index, &record, &why), code;

    if (r == 0)
        r = load_image(s, &record, &why);
    else
        record.tag_count = 0;
    if (r == WSL_ENOMEM || r == WSL_EINVAL)
        return wsl_fail(err, r, "%s", why.text);
    code = add_box(s, &record, r < 0 ? why.text : NULL);
    if (code == 0)
        code = add_caption(s, index, &record);
    return code < 0 ? wsl_fail(err, code, "the sheet is too large: show fewer or smaller images")
                    : 0;
}

int wsl_contact_sheet_make(const struct wsl_contact_sheet_setup *setup, struct wsl_buf *out,
                           struct wsl_err *err)
{
    struct sheet s = {.setup = setup, .out = out};
    int r;

    if (setup->count < 1 || setup->count > 1024 || setup->columns < 1 || setup->columns > 64 ||
        setup->side < 32 || setup->side > 1024 || setup->quality < 1 || setup->quality > 100)
        return wsl_fail(err, WSL_EINVAL, "a sheet of %zu images in %d columns of %d pixels",
                        setup->count, setup->columns, setup->side);
    if (add_head(&s) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a sheet");
    r = 0;
    for (size_t i = 0; r == 0 && i < setup->count; i++)
        r = add_figure(&s, setup->records[i], err);
    if (r == 0 && wsl_buf_add_text(out, "</main>\n</body>\n</html>\n") < 0)
        r = wsl_fail(err, WSL_ENOMEM, "no memory for a sheet");
    wsl_buf_free(&s.jpeg);
    wsl_buf_free(&s.small);
    return r;
}
